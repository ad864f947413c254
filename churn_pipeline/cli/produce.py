"""`churn-pipeline produce`: customers of a file as messages of a topic, at a rate, some of them spoilt on purpose.

Belongs here: the command, and what it says. Does not: messages (`resources/topics/demo_messages.py`), sending
(`resources/topics/demo_producer.py`), how far it came (`checkpoint.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from churn_pipeline.cli.checkpoint import Checkpoint
from churn_pipeline.cli.command import INTERRUPTED, Answer, Command
from churn_pipeline.cli.scoring import contract_option, deployment_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from churn_pipeline.contract.definition import Contract
    from churn_pipeline.resources.topics.connection import KafkaConnection
    from churn_pipeline.resources.topics.demo_messages import CustomerRecords, DemoStream
    from churn_pipeline.resources.topics.demo_producer import Delivered

#: Customers that are made up where no file is named.
_MADE_UP = 1_000


@click.command(cls=Command, json=True)
@click.argument("file", required=False)
@click.option("--topic", metavar="NAME", help="Where to; by default CHURN_KAFKA_TOPIC.")
@click.option("--create", type=click.IntRange(min=1), metavar="PARTITIONS", help="Make the topic if it is missing.")
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help="How many messages; after the last row comes the first again, with the same ids. By default a message a row.",
)
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=100.0,
    show_default=True,
    help="Messages a second; 0: as fast as they go.",
)
@click.option(
    "--key", metavar="COLUMN", help="What messages are keyed by; '' for nothing. By default the customer's id."
)
@click.option(
    "--malformed",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Spoil this share of the messages, each in one of many ways.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same ones spoilt.")
@click.option(
    "--event-times",
    type=click.FloatRange(min=0, min_open=True),
    metavar="HOURS",
    help="Spread event times evenly over the last hours.",
)
@click.option(
    "--envelope",
    metavar="FIELD",
    help="Put each record into this field, such as data or payload.after; by default CHURN_KAFKA_ENVELOPE.",
)
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Note here how far it came, and go on from there.",
)
@contract_option
def produce(
    file: str | None,
    topic: str | None,
    create: int | None,
    rate: float,
    checkpoint: Path | None,
    contract: str | None,
    envelope: str | None,
    **what: Any,
) -> Answer:
    """Send the customers of FILE to a topic.

    FILE is CSV, Parquet or JSON Lines; without one, customers are made up. Every message is acknowledged by the broker.
    Ctrl-C ends in order. With --checkpoint, the same command goes on where it ended, even if it was killed: no
    message is left out, some may come twice.
    """
    from churn_pipeline.cli.stopping import asked_to_stop
    from churn_pipeline.resources.topics.demo_producer import ensure_topic

    deployment = deployment_of(contract=contract, kafka_topic=topic, kafka_envelope=envelope)
    settings = deployment.settings
    if not settings.kafka_topic:
        raise click.UsageError("No topic is named. Name it with --topic, or in CHURN_KAFKA_TOPIC.")
    job = _planned(settings.kafka_topic, file, deployment.contract(), settings.kafka_envelope or None, **what)
    job = job.at(job.reached.found_in(checkpoint))
    connection = settings.connection()
    if job.left:
        ensure_topic(connection, job.topic, create)
    with asked_to_stop() as asked:
        return _sent(job, connection, rate, checkpoint, asked.is_set)


@dataclass(frozen=True)
class _Job:
    """What is sent where, and how far it came.

    Attributes:
        count: messages in all, those of earlier attempts among them.
        hours: over how many the event times are spread; None: they are not.
    """

    topic: str
    stream: DemoStream
    count: int
    hours: float | None
    reached: Checkpoint

    @property
    def left(self) -> int:
        return max(0, self.count - self.reached.acknowledged)

    def at(self, reached: Checkpoint) -> _Job:
        """From there on, with the event times that the first attempt began with."""
        from churn_pipeline.resources.topics.demo_messages import EventTimes

        if self.hours is None:
            return replace(self, reached=reached)
        span = timedelta(hours=self.hours)
        times = EventTimes(reached.begun_at - span, span, self.count)
        return replace(self, reached=reached, stream=replace(self.stream, times=times))


def _planned(
    topic: str,
    file: str | None,
    contract: Contract,
    envelope: str | None,
    *,
    count: int | None,
    key: str | None,
    malformed: float,
    seed: int,
    event_times: float | None,
) -> _Job:
    from churn_pipeline.resources.topics.demo_messages import DemoStream

    records, source = _records(file, contract)
    key = contract.id.column if key is None else key
    if key and records.columns is not None and key not in records.columns:
        from churn_pipeline.contract.definition import nearest

        raise click.BadParameter(f"there is no column {key!r}{nearest(key, records.columns)}.", param_hint="--key")
    stream = DemoStream(records, contract, key or None, envelope, malformed, seed)
    # Whatever decides what message number n is.
    of = {"topic": topic, "file": source, "contract": contract.name, "key": key, "envelope": envelope,
          "malformed": malformed, "seed": seed, "event times": event_times}  # fmt: skip
    return _Job(topic, stream, count or records.count, event_times, Checkpoint(of, datetime.now(UTC)))


def _records(file: str | None, contract: Contract) -> tuple[CustomerRecords, str]:
    """Records, and what tells them from others."""
    from churn_pipeline.resources.customer_sources.files import FileSource
    from churn_pipeline.resources.topics.demo_messages import records_of_file, records_of_table

    if file is None:
        from churn_pipeline.sample import sample

        return records_of_table(sample(contract, _MADE_UP)), f"{_MADE_UP} made-up customers"
    found = FileSource(file).plan()
    if len(found.files) != 1:
        raise click.BadParameter(f"{file} stands for {len(found.files):,} files. Name one.", param_hint="FILE")
    (bound,) = found.files
    return records_of_file(Path(bound.path), found.format, contract), bound.sha256


def _sent(
    job: _Job, connection: KafkaConnection, rate: float, checkpoint: Path | None, stop: Callable[[], bool]
) -> Answer:
    from churn_pipeline.cli.progress_bar import progress_bar
    from churn_pipeline.resources.topics.demo_producer import send

    first, reached = job.reached.acknowledged, job.reached
    with progress_bar(f"Sending to {job.topic}") as progress:

        def acknowledged(begun: int, end: int) -> None:
            nonlocal reached
            reached = replace(reached, acknowledged=end)
            if checkpoint:
                reached.write(checkpoint)
            progress.advance("sent", end - begun)

        messages = islice(job.stream.since(first), job.left)
        delivered = send(connection, job.topic, messages, rate=rate, acknowledged=acknowledged, stop=stop)
    job = replace(job, reached=reached)
    return Answer(_told(job, delivered, first, checkpoint), _value(job, delivered, first), INTERRUPTED * bool(job.left))


def _told(job: _Job, delivered: Delivered, first: int, checkpoint: Path | None) -> list[RenderableType]:
    from churn_pipeline.cli import report

    sent, spoilt = delivered.messages.total(), delivered.malformed.total()
    since = f" from message {first:,} on" if first else ""
    ways = f", {spoilt:,} of them malformed in {report.count(len(delivered.ways), 'way')}" if spoilt else ""
    parts: list[RenderableType] = [f"{report.count(sent, 'message')} sent to topic {job.topic}{since}{ways}."]
    if sent:
        rows = [[str(p), f"{n:,}", f"{delivered.malformed[p]:,}"] for p, n in sorted(delivered.messages.items())]
        parts.append(report.table({"Partition": "left", "Messages": "right", "Malformed": "right"}, rows))
    if job.left:
        how = "The same command goes on there." if checkpoint else "With --checkpoint it could go on there."
        parts.append(f"Stopped after {job.reached.acknowledged:,} of {job.count:,} messages. {how}")
    elif not sent:
        parts.append(f"All {job.count:,} were acknowledged before, says {checkpoint}. Delete it to send them again.")
    return parts


def _value(job: _Job, delivered: Delivered, first: int) -> dict[str, Any]:
    partitions = {
        str(p): {"messages": n, "malformed": delivered.malformed[p]} for p, n in sorted(delivered.messages.items())
    }
    return {
        "topic": job.topic,
        "first": first,
        "end": job.reached.acknowledged,
        "count": job.count,
        "messages": delivered.messages.total(),
        "malformed": delivered.malformed.total(),
        "partitions": partitions,
        "ways": dict(sorted(delivered.ways.items())),
        "stopped": job.left > 0,
    }
