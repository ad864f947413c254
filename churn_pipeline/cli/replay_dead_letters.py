"""`churn-pipeline replay-dead-letters`: messages that failed, sent to their topic again.

Belongs here: the command, what it asks, and what it says. Does not: which messages there are
(`io_managers/failed_messages.py`), sending them (`replays.py`).
"""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.scoring import Moment, contract_option, deployment_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from churn_pipeline.contract.definition import Contract
    from churn_pipeline.io_managers.replayed_messages import Replay
    from churn_pipeline.replays import Selection


@click.command("replay-dead-letters", cls=Command, json=True)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="NAME",
    help="Only what broke this rule, such as above_maximum; unscored: what the model could not score. May be repeated.",
)
@click.option("--since", type=Moment(), metavar="TIME", help="Only what failed at this time or later.")
@click.option("--until", type=Moment(), metavar="TIME", help="Only what failed before this time.")
@click.option("--batch", "batch_id", metavar="ID", help="Only what failed in this batch.")
@click.option("--topic", metavar="NAME", help="Topic the messages came from; by default CHURN_KAFKA_TOPIC.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent; write and send nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@contract_option
def replay_dead_letters(
    rules: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    batch_id: str | None,
    topic: str | None,
    dry_run: bool,
    yes: bool,
    contract: str | None,
) -> Answer:
    """Send dead letters to their topic again.

    For after a change of contract or model: the messages go to the topic they came from, as they were, and the next
    batch scores them. Each is replayed once; one that fails again is a dead letter of its own, with retry_count and
    the place of its first failure, and can be replayed in turn. Interrupted, the same command goes on.

    Try one batch or rule first: if too much of the next batch fails again, CHURN_REJECT_LIMIT stops it, and what comes
    after it waits.
    """
    deployment = deployment_of(contract=contract, kafka_topic=topic)
    name = deployment.settings.kafka_topic
    if not name:
        raise click.UsageError("No topic is named. Name it with --topic, or in CHURN_KAFKA_TOPIC.")

    from churn_pipeline.cli.progress_bar import progress_bar
    from churn_pipeline.io_managers.failed_messages import Wanted
    from churn_pipeline.replays import replays_of

    replays = replays_of(deployment, name)
    with progress_bar("Looking for dead letters"):
        selection = replays.find(Wanted(frozenset(rules), since, until, batch_id))
        begun = replays.unfinished()
    found = _found(name, selection, begun, deployment.contract())
    finished: list[Replay] = []
    sent: list[Replay] = []
    if dry_run or not (selection.to_send or begun):
        more = ["Nothing was written or sent: a dry run."] if dry_run and (selection.to_send or begun) else []
        return Answer([*found, *more], _value(name, selection, begun, finished, sent))
    if not yes and at_terminal() and not _confirmed(found, selection.to_send):
        return Answer(["Nothing was sent."], _value(name, selection, begun, finished, sent))
    with progress_bar(f"Sending to {name}"):
        finished += replays.finish()
        sent += replays.replay(selection)
    return Answer([*found, *_done(name, finished, sent)], _value(name, selection, [], finished, sent))


def at_terminal() -> bool:
    """Whether a person is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _confirmed(found: list[RenderableType], messages: int) -> bool:
    """Show what was found, on standard error, and ask."""
    from rich.console import Console

    from churn_pipeline.cli import report

    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    for part in found:
        console.print(part, soft_wrap=isinstance(part, str))
    try:
        what = f"Send {report.count(messages, 'message')}" if messages else "Finish what was begun"
        return click.confirm(f"{what}?", err=True)
    except click.Abort:
        return False


def _found(topic: str, selection: Selection, begun: list[Replay], contract: Contract) -> list[RenderableType]:
    from churn_pipeline.cli import report

    parts: list[RenderableType] = []
    if begun:
        messages = report.count(sum(replay.messages for replay in begun), "message")
        parts += [f"{report.count(len(begun), 'replay')} of {messages} was begun and is to be finished first.", ""]
    if not selection.batches:
        return [*parts, f"No dead letter of topic {topic} is like that: there is nothing to replay."]
    columns = {"Batch": "left", "Failed (UTC)": "left", "To send": "right", "Left out": "left"}
    rows = [
        (letters.batch_id, report.moment(letters.failed_at), f"{letters.to_send:,}", _counted(letters.left_out))
        for letters in selection.batches
    ]
    parts.append(report.table(columns, rows))
    if not selection.to_send:
        return [*parts, "", "None of them can be sent: there is nothing to replay."]
    by_rule = [(rule, f"{n:,}") for rule, n in _rules(selection).most_common()]
    size = report.size(sum(letters.bytes for letters in selection.batches))
    parts += ["", report.table({"Rule": "left", "To send": "right"}, by_rule), ""]
    parts.append(f"{report.count(selection.to_send, 'message')} ({size}) to send to topic {topic}.")
    if contract.event_time is None:
        parts.append(
            "The contract names no event time: a replayed record is as new as its replay, and its score replaces one "
            "that the customer got meanwhile."
        )
    return parts


def _done(topic: str, finished: list[Replay], sent: list[Replay]) -> list[RenderableType]:
    from churn_pipeline.cli import report

    parts: list[RenderableType] = [""]
    for replays, what in ((finished, "finished"), (sent, "sent")):
        parts += [f"{report.count(r.messages, 'message')} {what} as {r.id}." for r in replays]
    if not sent and not finished:
        return [*parts, "Nothing was sent: somebody else has replayed these meanwhile."]
    return [*parts, f"The next batch of topic {topic} scores them."]


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{n:,} {what}" for what, n in counts.most_common())


def _rules(selection: Selection) -> Counter[str]:
    return sum((letters.rules for letters in selection.batches), Counter[str]())


def _value(
    topic: str, selection: Selection, begun: list[Replay], finished: list[Replay], sent: list[Replay]
) -> dict[str, Any]:
    def of(replays: list[Replay]) -> dict[str, int]:
        return {replay.id: replay.messages for replay in replays}

    return {
        "topic": topic,
        "to_send": selection.to_send,
        "rules": dict(_rules(selection)),
        "batches": [
            {
                "batch_id": letters.batch_id,
                "failed_at": letters.failed_at.isoformat(),
                "to_send": letters.to_send,
                "bytes": letters.bytes,
                "rules": dict(letters.rules),
                "left_out": dict(letters.left_out),
            }
            for letters in selection.batches
        ],
        "unfinished": of(begun),
        "finished": of(finished),
        "sent": of(sent),
    }
