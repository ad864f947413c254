"""What an alert says: a batch that is done or failed, a sensor in trouble, in the words of the person who has to act.

Belongs here: the text, from plain values alone. Does not: sending it (`alert_channels.py`), sending it once
(`alert_log.py`), deciding when (`sensors/batch_alerts.py`, `sensors/sensor_alerts.py`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from churn_pipeline.ledger import ScoredBatch

Level = Literal["done", "warning", "failed"]

#: Longest cause in an alert and longest first sentence of it in the title, in characters.
_LONGEST_CAUSE, _LONGEST_SENTENCE = 800, 200


@dataclass(frozen=True)
class Alert:
    """A message that is sent once, as plain text that also reads well in a mail or a chat.

    Attributes:
        key: what makes two alerts the same one, whatever they say.
        title: the first line: what happened and what to do, one sentence.
        lines: the details, one `Label: value` a line.
        level: `done`, `warning` (done, and someone should look) or `failed`.
        link: the page to look at, or None where there is none to open.
        page: what `link` shows.
    """

    key: str
    title: str
    lines: tuple[str, ...]
    level: Level
    link: str | None = None
    page: str = "Run"

    @property
    def body(self) -> str:
        """Everything below the first line."""
        return "\n".join([*self.lines, *([f"{self.page}: {self.link}"] if self.link else [])])

    @property
    def text(self) -> str:
        """The whole message."""
        return f"{self.title}\n\n{self.body}"


@dataclass(frozen=True)
class SensorTrouble:
    """A sensor that does not do its work, from when it last did until it does again.

    Attributes:
        kind: `failing`, or `silent` if it does not even tick.
        since: when it last worked, or was started if it never did; UTC.
    """

    sensor: str
    kind: Literal["failing", "silent"]
    since: datetime

    @property
    def key(self) -> str:
        """The same for as long as the trouble lasts, whoever looks."""
        return f"sensor/{self.sensor}/{self.kind}/{self.since.isoformat()}"


def completion_alert(row: ScoredBatch, link: str | None, unit: str, reference_share: float | None = None) -> Alert:
    """Say that a batch is done.

    Args:
        row: the batch's ledger row.
        unit: of the revenue at risk, such as `dollars a month`; empty where the contract names none.
        reference_share: share predicted to churn when the model was trained, from 0 to 1.

    Returns:
        One alert a batch and model version; a warning if nothing, or not every customer, was scored.
    """
    money = None if row.revenue_at_risk is None else _amount(row.revenue_at_risk, unit)
    lines = [
        "Status: done",
        *_left_out(row),
        f"Batch: {row.batch.id} ({row.batch.source})",
        f"Output shape: {row.output_shape[0]:,} rows, {row.output_shape[1]} columns",
        f"Rows: {row.rows_read:,} read, {row.rows_scored:,} scored, {row.rows_rejected:,} rejected, "
        f"{row.rows_unscored:,} unscored, {row.rows_duplicate:,} with an id seen before",
        f"Predicted to churn: {row.rows_churn:,}{_share(row.share_churn, reference_share)}",
        *([f"Revenue at risk: {money} (probability times amount, over all scored customers)"] if money else []),
        f"Model: {row.model_name} version {row.model_version}, threshold {row.threshold:.3g}",
        f"Backend: {row.scored_by}",
        f"Duration: {_duration(row.seconds)}",
    ]
    level: Level = "done" if row.rows_scored and not row.rows_unscored else "warning"
    key = f"completed/{row.batch.id}/{row.model_name}-{row.model_version}"
    return Alert(key, _what_to_do(row, money), tuple(lines), level, link)


def failure_alert(
    stage: str,
    cause: str,
    batch_id: str | None,
    link: str | None,
    model: str | None = None,
    source: str | None = None,
    run_id: str = "",
) -> Alert:
    """Say that scoring stopped.

    Args:
        stage: asset or step that failed.
        cause: the error's own words, which hold no customer's values and say what to do; long ones are cut.
        batch_id: None if it stopped before the batch was known.
        model: name and version, if they were known by then.
        source: what was to be read, where the batch is not known.
        run_id: tells failures without a batch apart where there is no link.

    Returns:
        One alert a batch; without a batch, one a run.
    """
    words, first = _in_one_line(cause)
    lines = [
        "Status: failed",
        f"Stage: {stage}",
        f"Cause: {words}",
        f"Batch: {batch_id or 'not known yet'}{f' ({source})' if source else ''}",
        *([f"Model: {model}"] if model else []),
        "What this batch has written so far does not count; the next attempt replaces it.",
    ]
    # Without a batch only the run tells one failure from another.
    occasion = (
        batch_id or "run-" + hashlib.sha256(f"{stage}\0{words}\0{source}\0{link}\0{run_id}".encode()).hexdigest()[:12]
    )
    title = f"Fix and run again (scoring stopped at {stage}): {first}"
    return Alert(f"failed/{occasion}", title, tuple(lines), "failed", link)


def sensor_alert(trouble: SensorTrouble, cause: str, task: str, link: str | None) -> Alert:
    """Say that a sensor does not do its work.

    Args:
        cause: of its last failed tick, in words that hold no customer's values; not read of a silent sensor.
        task: what the sensor is there for and does not do now.

    Returns:
        One alert for as long as the trouble lasts.
    """
    words, first = _in_one_line(cause)
    if trouble.kind == "failing":
        title = f"Repair what sensor {trouble.sensor} needs (each of its last ticks failed): {first}"
        what = [f"Cause: {words}", f"Failing since: {_time(trouble.since)}"]
        what_next = "It is tried again by itself; you are told once it works again."
    else:
        title = (
            f"Look at Dagster's daemon: sensor {trouble.sensor} is on and has not ticked since {_time(trouble.since)}."
        )
        what = [f"Silent since: {_time(trouble.since)}"]
        what_next = "Restart the daemon if nothing else ticks either; you are told once it ticks again."
    lines = ("Status: failed", f"Sensor: {trouble.sensor}", f"Not done meanwhile: {task}", *what, what_next)
    return Alert(trouble.key, title, lines, "failed", link, page="Sensor")


def sensor_recovery_alert(trouble: SensorTrouble, task: str, link: str | None) -> Alert:
    """Say that the trouble is over, so that nobody goes on looking for it."""
    was = "failing" if trouble.kind == "failing" else "not ticking"
    title = f"Nothing to do: sensor {trouble.sensor} works again, after {was} since {_time(trouble.since)}."
    lines = ("Status: done", f"Sensor: {trouble.sensor}", f"Done again: {task}")
    return Alert(f"{trouble.key}/over", title, lines, "done", link, page="Sensor")


def _what_to_do(row: ScoredBatch, money: str | None) -> str:
    if not row.rows_read:
        return f"Check the source: {row.batch.source} holds no customers."
    if not row.rows_scored:
        return f"Repair the records: none of {row.rows_read:,} rows could be scored."
    at_risk = f", {money} at risk" if money else ""
    if not row.rows_churn:
        return f"No calls to make: none of {_customers(row.rows_scored)} is predicted to churn{at_risk}."
    verb = "is" if row.rows_churn == 1 else "are"
    return f"Call list ready: {row.rows_churn:,} of {_customers(row.rows_scored)} {verb} predicted to churn{at_risk}."


def _left_out(row: ScoredBatch) -> list[str]:
    said = []
    if row.rows_rejected:
        said.append(f"rejected_customers ({row.rows_rejected:,} broke the contract)")
    if row.rows_unscored:
        said.append(f"unscored_customers ({row.rows_unscored:,} the model could not score)")
    return [f"Look at: {', '.join(said)}"] if said else []


def _customers(count: int) -> str:
    return f"{count:,} customer{'' if count == 1 else 's'}"


def _share(share: float | None, reference: float | None) -> str:
    if share is None:
        return ""
    before = "" if reference is None else f"; {reference:.1%} when the model was trained"
    return f" ({share:.1%}{before})".replace("%", " %")


def _amount(value: float, unit: str) -> str:
    number = f"{value:,.2f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{number} {unit}".strip()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _in_one_line(cause: str) -> tuple[str, str]:
    """The cause and its first sentence, each cut to what an alert has room for."""
    words = " ".join(cause.split()) or "no cause was given."
    first = re.split(r"(?<=[.!?])\s+(?=[A-Z])", words, maxsplit=1)[0]
    return _cut(words, _LONGEST_CAUSE), _cut(first, _LONGEST_SENTENCE)


def _cut(words: str, longest: int) -> str:
    return words if len(words) <= longest else words[: longest - 1].rstrip() + "…"
