"""`prediction_messages` and `dead_letters`: what a batch of a topic gave, published to topics; and the end of a batch.

Belongs here: which rows are published where, and saying that a batch is done. Does not: what is in a message
(`contract/messages.py`), the transaction (`resources/topics/`), when the next batch is planned
(`io_managers/topic_batches.py`).
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from operator import add
from typing import Any

import dagster as dg
import pyarrow as pa

from churn_pipeline.assets.customers import OpenSource
from churn_pipeline.batches import OffsetBatch
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.messages import DeadLetters, Message, Place, prediction_columns, prediction_messages
from churn_pipeline.io_managers.base import TableHandle
from churn_pipeline.io_managers.replayed_messages import ReplayedMessages, Retry, retries_of
from churn_pipeline.read_ahead import read_ahead
from churn_pipeline.resources.topics.base import OutgoingTuple, Publisher, Topic
from churn_pipeline.resources.topics.reading_again import read_again


@dataclass(frozen=True)
class Publication:
    """Where the outcome of a topic's batches goes; a deployment that publishes nothing names neither topic.

    Attributes:
        publisher: None if no topic is named.
        predictions, dead_letters: topics; empty: not published.
        group: consumer group that remembers what was published.
        open_topic: opens the topic that a batch was read from, for messages that no table has.
    """

    publisher: Publisher | None = None
    predictions: str = ""
    dead_letters: str = ""
    group: str = ""
    open_topic: Callable[[str], Topic] | None = None


@dg.multi_asset(
    name="publish_batch",
    description="Publish what a batch of a topic gave, where settings ask for it, and say that the batch is done.",
    group_name="published",
    ins={
        name: dg.AssetIn()
        for name in ("current_churn_scores", "churn_predictions", "rejected_customers", "unscored_customers")
    },
    outs={
        "prediction_messages": dg.AssetOut(
            is_required=False,
            dagster_type=dg.Nothing,
            description="A message for each scored customer of a topic's batch, keyed by customer.",
            owners=["team:retention"],
            kinds={"kafka"},
            code_version="1",
        ),
        "dead_letters": dg.AssetOut(
            is_required=False,
            dagster_type=dg.Nothing,
            description="A message for each one of a topic's batch that was rejected or not scored, with the reason.",
            owners=["team:data-engineering"],
            kinds={"kafka"},
            code_version="1",
        ),
    },
)
def published(
    context: dg.AssetExecutionContext,
    current_churn_scores: TableHandle,
    churn_predictions: TableHandle,
    rejected_customers: TableHandle,
    unscored_customers: TableHandle,
    contract: dg.ResourceParam[Contract],
    customer_source: dg.ResourceParam[OpenSource],
    publication: dg.ResourceParam[Publication],
) -> Iterator[dg.MaterializeResult[None]]:
    """Publish what a batch of a topic gave, and say that the batch is done: the last step of a run."""
    del current_churn_scores  # only after the merge: who reads a message finds the score in the table
    batch = churn_predictions.batch
    assert batch is not None
    # What was scored again was published when it was scored first.
    if publication.publisher and isinstance(batch, OffsetBatch) and not batch.again:
        started = time.monotonic()
        tables = (churn_predictions, rejected_customers, unscored_customers)
        with closing(_outgoing(batch, *tables, contract, publication)) as messages:
            count = publication.publisher.publish(batch, messages)
        seconds = time.monotonic() - started
        if count is None:
            context.log.info("Batch %s was published by an earlier attempt.", batch.id)
        else:
            letters = rejected_customers.rows + unscored_customers.rows
            yield from _result("prediction_messages", publication.predictions, batch, churn_predictions.rows, seconds)
            yield from _result("dead_letters", publication.dead_letters, batch, letters, seconds)
    customer_source(batch.source).finish(batch)


def _outgoing(
    batch: OffsetBatch,
    predictions: TableHandle,
    rejected: TableHandle,
    unscored: TableHandle,
    contract: Contract,
    publication: Publication,
) -> Generator[OutgoingTuple]:
    """Every message of the batch; a customer's predictions in the order of the log."""
    if topic := publication.predictions:
        for rows in _rows(predictions, prediction_columns(contract)):
            # No line of Python is run for a message here: there are many.
            yield from map(add, repeat((topic,)), prediction_messages(rows, contract, batch.id))
    if (topic := publication.dead_letters) and rejected.rows + unscored.rows:
        failed_at = datetime.fromisoformat(str(predictions.notes["scored_at"]))
        letters = _dead_letters(batch, rejected, unscored, contract, publication, failed_at)
        yield from map(add, repeat((topic,)), letters)


def _dead_letters(
    batch: OffsetBatch,
    rejected: TableHandle,
    unscored: TableHandle,
    contract: Contract,
    publication: Publication,
    failed_at: datetime,
) -> Iterator[Message]:
    """The letters of the batch, of messages that were replayed with how often and from where."""
    source = publication.open_topic(batch.topic) if publication.open_topic else None
    replays = ReplayedMessages(rejected.store, batch.topic).within(batch)
    columns = [contract.id.column, "source_partition", "source_position"]

    def retries_and_letters(places: list[Place]) -> tuple[dict[Place, Retry], DeadLetters]:
        retries = retries_of(replays, source, batch.topic_id, places) if source and replays else {}
        counts = {place: retry.count for place, retry in retries.items()}
        return retries, DeadLetters(contract, batch.id, publication.group, failed_at, retry_counts=counts)

    for rows in _rows(rejected, [*columns, "raw", "failures"]):
        places = _places(rows)
        retries, letters = retries_and_letters(places)
        yield from _traced(letters.of_rejected(rows), places, retries)
    for rows in _rows(unscored, [*columns, "error_type"]):
        places = _places(rows)
        retries, letters = retries_and_letters(places)
        # They kept the contract, so no table has them as they were. What retention took meanwhile is left out: the
        # letter still has the place and the reason, and the table the record.
        again = read_again(source, batch.topic_id, places) if source else ()
        originals = {m.place: m.value for m in again if m.value is not None}
        yield from _traced(letters.of_unscored(rows, originals), places, retries)


def _traced(letters: Iterable[Message], places: list[Place], retries: Mapping[Place, Retry]) -> Iterator[Message]:
    """The letters of these places; one of a message that was replayed leads to its first failure."""
    for (key, value, headers), place in zip(letters, places, strict=True):
        retry = retries.get(place)
        yield key, value, [*headers, retry.trace()] if retry else headers


def _places(rows: pa.RecordBatch) -> list[Place]:
    partitions, offsets = (rows.column(name).to_pylist() for name in ("source_partition", "source_position"))
    return [(int(p.rpartition("/")[2]), offset) for p, offset in zip(partitions, offsets, strict=True)]


def _rows(handle: TableHandle, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with closing(read_ahead(handle.stream(columns))) as ahead:
        yield from ahead


def _result(
    asset: str, topic: str, batch: OffsetBatch, messages: int, seconds: float
) -> Iterator[dg.MaterializeResult[None]]:
    if topic:
        metadata: dict[str, Any] = {
            "topic": topic,
            "batch": batch.id,
            "messages": messages,
            "messages_per_second": round(messages / seconds, 1) if seconds else 0.0,
        }
        yield dg.MaterializeResult(asset_key=asset, metadata=metadata, data_version=dg.DataVersion(batch.id))
