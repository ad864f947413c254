"""What `demo-stream` says: lines while messages become scores, and what came of them.

Belongs here: words, lines and tables. Does not: what is looked at (`stream_watch.py`), when it is over
(`demo_stream.py`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from churn_pipeline.cli import report
from churn_pipeline.cli.command import INTERRUPTED

if TYPE_CHECKING:
    from rich.console import RenderableType

    from churn_pipeline.cli.stream_watch import Results, Sight
    from churn_pipeline.deployments import Deployment, Settings
    from churn_pipeline.resources.topics.demo_producer import Delivered

#: Why it came to an end.
Ending = Literal["done", "interrupted", "late", "daemon ended"]

_LINE_EVERY_SECONDS = 5.0
_TOP, _REASONS, _LOG_LINES = 3, 5, 15


@dataclass(frozen=True)
class Outcome:
    """What came of a demonstration.

    Attributes:
        timeout: seconds after which it would be late.
        planned: messages that were to be sent.
        log: what Dagster's daemon said.
    """

    ending: Ending
    seconds: float
    timeout: int
    planned: int
    delivered: Delivered
    sight: Sight
    results: Results
    log: Path

    @property
    def sent(self) -> int:
        """Messages that the broker has acknowledged."""
        return self.delivered.messages.total()

    @property
    def adds_up(self) -> bool:
        """Whether each message sent has exactly one result: a prediction or a dead letter."""
        return self.results.accounted == self.sent and not self.results.contradictory

    @property
    def exit_code(self) -> int:
        """0 only if it is over and adds up."""
        return INTERRUPTED if self.ending == "interrupted" else int(not (self.ending == "done" and self.adds_up))


class Lines:
    """Lines on standard error, one whenever something happened or seconds have passed, and a clock on a terminal."""

    def __init__(self, settings: Settings) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._status = self._console.status("Starting …")
        self._settings = settings
        self._begun = time.monotonic()
        self._shown: tuple[object, ...] = ()
        self._due = 0.0
        self._alerts = 0

    def __enter__(self) -> Self:
        # Drawn over and over, it would be noise in a file.
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status.stop()

    def begin(self, rate: int, seconds: int, malformed: float, log: Path, address: str | None) -> None:
        """Say what runs, and head the lines that follow."""
        settings = self._settings
        self._say(f"Broker: embedded in this process, at {settings.kafka_servers}.")
        self._say(f"Dagster's daemon: a process of its own; it says what it does in {report.place(str(log))}.")
        if address:
            self._say(f"Dagster's UI: {address}, in some seconds.")
        self._say(
            f"Sending {report.count(rate, 'customer')} a second to topic {settings.kafka_topic} for {seconds} s, "
            f"about {report.share(malformed)} of them malformed."
        )
        self._say("")
        self._say("  time   sent    lag  scored  dead letters  alerts  newest batch", style="bold")

    def show(self, sight: Sight, results: Results) -> None:
        """Tell what is seen now."""
        seconds = time.monotonic() - self._begun
        scored, dead = results.predictions.count, results.dead_letters.count
        news = (scored, dead, len(sight.alerts), sight.newest, not sight.lag)
        if news != self._shown or seconds >= self._due:
            self._shown, self._due = news, seconds + _LINE_EVERY_SECONDS
            self._say(
                f"{seconds:4.0f} s  {sight.sent:5,}  {sight.lag:5,}  {scored:6,}  {dead:12,}  {len(sight.alerts):6,}  "
                f"{sight.newest}"
            )
        for alert in sight.alerts[self._alerts :]:
            self._say(f"        Alert: {alert.title}", style="green" if alert.level == "done" else "yellow")
        self._alerts = len(sight.alerts)
        self._status.update(f"{seconds:.0f} s: {sight.sent:,} sent, {sight.lag:,} wait to be scored")

    def stay(self, address: str) -> None:
        """Say that it is over, and what goes on."""
        self._say(f"\nOver. The UI stays at {address} until Ctrl-C; then comes the summary.")
        self._status.update("Ctrl-C ends the UI, the daemon and the broker")

    def _say(self, line: str, style: str = "") -> None:
        from rich.text import Text

        # A style given to the console would be the clock's too.
        self._console.print(Text(line, style), soft_wrap=True)


def told(outcome: Outcome, deployment: Deployment) -> Iterator[RenderableType]:
    """The summary."""
    settings, results = deployment.settings, outcome.results
    predictions, letters = results.predictions.count, results.dead_letters.count
    repeated = results.predictions.repeated + results.dead_letters.repeated
    malformed = outcome.delivered.malformed.total()
    ways = f" in {report.count(len(outcome.delivered.ways), 'way')}" if malformed else ""
    yield from ("", report.heading(_title(outcome)), "")
    yield report.facts(
        {
            "Sent": f"{report.count(outcome.sent, 'message')} to topic {settings.kafka_topic}, "
            f"{malformed:,} of them malformed{ways}",
            "Scored": f"{report.count(predictions, 'prediction')} in topic {settings.kafka_predictions}",
            "Not scored": f"{report.count(letters, 'dead letter')} in topic {settings.kafka_dead_letters}",
            "Adds up": f"{outcome.sent:,} = {predictions:,} + {letters:,}" if outcome.adds_up else None,
            "Came twice": f"{repeated or 'none'} (the embedded broker only pretends transactions; with Kafka none can)",
            "Lag": report.count(outcome.sight.lag, "message"),
            "Alerts": f"{len(outcome.sight.alerts):,}, for {report.count(len(outcome.sight.batches), 'batch')}",
            "Took": f"{outcome.seconds:.0f} s",
        }
    )
    yield from _batches(outcome)
    yield from _reasons(outcome)
    yield from _most_at_risk(deployment)
    if outcome.ending in ("late", "daemon ended"):
        yield from _last_lines(outcome.log)
    yield from _next(settings)


def value(outcome: Outcome) -> dict[str, Any]:
    """The same for programs."""
    results, sight = outcome.results, outcome.sight
    return {
        "ending": outcome.ending,
        "adds_up": outcome.adds_up,
        "sent": outcome.sent,
        "malformed": outcome.delivered.malformed.total(),
        "predictions": results.predictions.count,
        "dead_letters": results.dead_letters.count,
        "repeated": results.predictions.repeated + results.dead_letters.repeated,
        "reasons": dict(results.reasons.most_common()),
        "lag": sight.lag,
        "batches": [
            {
                "batch": row.batch.id,
                "run": row.run_id,
                "read": row.rows_read,
                "scored": row.rows_scored,
                "alerted": row.batch.id in sight.alerted,
            }
            for row in sight.batches
        ],
        "alerts": len(sight.alerts),
        "seconds": round(outcome.seconds, 1),
    }


def _title(outcome: Outcome) -> str:
    if outcome.ending == "interrupted":
        return f"Interrupted after {outcome.sent:,} of {report.count(outcome.planned, 'message')}."
    if outcome.ending == "daemon ended":
        return f"Dagster's daemon ended by itself. What it said last is below; all of it is in {outcome.log}."
    if outcome.ending == "late":
        return f"Not over after {outcome.timeout} s. On a slow machine, try --timeout {2 * outcome.timeout}."
    if not outcome.adds_up:
        return "Over, and it does not add up: a message has no result, or a prediction and a dead letter."
    return "Every message is scored or accounted for."


def _batches(outcome: Outcome) -> Iterator[RenderableType]:
    columns = {"Batch": "left", "Messages": "right", "Scored": "right", "Rejected": "right", "Took": "right",
               "Run": "left", "Alert": "left"}  # fmt: skip
    rows = [
        [
            row.batch.id,
            f"{row.rows_read:,}",
            f"{row.rows_scored:,}",
            f"{row.rows_rejected:,}",
            f"{row.seconds:.1f} s",
            row.run_id[:8],
            "sent" if row.batch.id in outcome.sight.alerted else "not yet",
        ]
        for row in outcome.sight.batches
    ]
    if rows:
        yield from ("", report.table(columns, rows))


def _reasons(outcome: Outcome) -> Iterator[RenderableType]:
    reasons = outcome.results.reasons
    if not reasons:
        return
    yield from ("", report.heading("Why messages are dead letters"))
    for reason, count in reasons.most_common(_REASONS):
        yield f"{count:5,}  {reason}"
    if others := reasons.total() - sum(n for _, n in reasons.most_common(_REASONS)):
        yield f"{others:5,}  other reasons"


def _most_at_risk(deployment: Deployment) -> Iterator[RenderableType]:
    from churn_pipeline.cli.show import as_table, most_at_risk

    contract = deployment.contract()
    handle = deployment.table_store().open("current_churn_scores")
    if handle and handle.rows:
        yield from ("", report.heading(f"The {_TOP} customers with most revenue at risk"))
        yield as_table(most_at_risk(handle, contract, _TOP), contract)


def _last_lines(log: Path) -> Iterator[RenderableType]:
    import click

    said = click.unstyle(log.read_text(encoding="utf-8", errors="replace")).splitlines()
    yield from ("", report.heading("What the daemon said last"))
    yield from (f"  {line}" for line in [line for line in said if " - DEBUG - " not in line][-_LOG_LINES:])


def _next(settings: Settings) -> Iterator[RenderableType]:
    home = report.place(str(settings.folder))
    commands = {
        f"CHURN_HOME={home} churn-pipeline show --top 20": "whom to call first",
        f"make dev CHURN_HOME={home}": "the runs in Dagster's UI",
        "docs/messages.md": "what is in the messages",
    }
    width = max(map(len, commands)) + 2
    yield from ("", report.heading("Next"))
    yield from (f"  {command:{width}}{purpose}" for command, purpose in commands.items())
