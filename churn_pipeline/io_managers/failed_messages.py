"""Messages of a topic that failed, as the tables of finished batches have them: what can be replayed.

Belongs here: which rows of `rejected_customers` and `unscored_customers` are wanted and can be sent again, and counting
them. Does not: claiming and sending them (`replays.py`), the letters that consumers read (`contract/messages.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

from churn_pipeline.batches import TOPIC_SCHEME, OffsetBatch
from churn_pipeline.contract.messages import Place
from churn_pipeline.io_managers.base import TableStore
from churn_pipeline.io_managers.replayed_messages import (
    FailedMessage,
    Replay,
    Replayed,
    ReplayedMessages,
    Retry,
    retries_of,
)
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.ledger import ScoredBatch
from churn_pipeline.resources.topics.base import Topic
from churn_pipeline.resources.topics.reading_again import read_again

#: The rule, as it were, that messages break whose customers the model could not score.
UNSCORED = "unscored"

#: Why a dead letter is not replayed.
REPLAYED, GONE, TOMBSTONE, TOO_LARGE = "replayed before", "gone from the topic", "tombstone", "too large"


@dataclass(frozen=True)
class Wanted:
    """Which dead letters to replay; what is not given leaves nothing out.

    Attributes:
        rules: that a message broke, any of them; `unscored` for those that the model could not score.
        since, until: when scoring of their batch began, `since` included.
        batch_id: of their batch.
    """

    rules: frozenset[str] = frozenset()
    since: datetime | None = None
    until: datetime | None = None
    batch_id: str | None = None

    def takes(self, row: ScoredBatch) -> bool:
        """Whether letters of a batch can be among them."""
        return (
            (self.batch_id is None or row.batch.id == self.batch_id)
            and (self.since is None or row.scored_at >= self.since)
            and (self.until is None or row.scored_at < self.until)
        )


@dataclass
class Letters:
    """The wanted dead letters of one batch, counted.

    Attributes:
        rules: rule → messages to send that broke it; one can have broken several.
        left_out: reason → messages not to send.
    """

    batch_id: str
    failed_at: datetime
    to_send: int = 0
    bytes: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


class FailedMessages:
    """What failed of one topic.

    Args:
        id_column: the contract's.
        message_bytes: larger messages would be rejected unread.
    """

    def __init__(self, topic: Topic, store: TableStore, *, id_column: str, message_bytes: int) -> None:
        self._topic = topic
        self._ledger = Ledger(store)
        self._table = ReplayedMessages(store, topic.name)
        self._id_column = id_column
        self._message_bytes = message_bytes

    def batches(self) -> list[ScoredBatch]:
        """The ledger's rows of batches that published their dead letters, the oldest first."""
        rows = [row for row in self._ledger.all() if isinstance(row.batch, OffsetBatch) and not row.batch.again]
        return [row for row in reversed(rows) if row.batch.source == f"{TOPIC_SCHEME}{self._topic.name}"]

    def messages(self, rows: list[ScoredBatch], wanted: Wanted, counted: list[Letters]) -> Generator[FailedMessage]:
        """What is to be sent of these batches; what is found of each is added to `counted`."""
        replayed, replays = self._table.places(), self._table.replays()
        for row in rows:
            assert isinstance(row.batch, OffsetBatch)
            batch, letters = row.batch, Letters(row.batch.id, row.scored_at)
            counted.append(letters)
            before = [replay for replay in replays if replay.may_be_in(batch)]
            for rejected in self._rows("rejected_customers", row, ["rules", "raw"]):
                new = _new(_candidates(rejected, self._id_column), wanted, batch, replayed, letters)
                yield from self._to_send(batch, new, before, TOMBSTONE, letters)
            for unscored in self._rows("unscored_customers", row, []):
                new = _new(_candidates(unscored, self._id_column), wanted, batch, replayed, letters)
                again = {m.place: m.value for m in read_again(self._topic, batch.topic_id, [c.place for c in new])}
                new = [c._replace(value=again.get(c.place)) for c in new]
                yield from self._to_send(batch, new, before, GONE, letters)

    def _rows(self, table: str, row: ScoredBatch, columns: list[str]) -> Iterator[pa.RecordBatch]:
        handle = self._ledger.open(table, row)
        if handle is not None and handle.rows:
            yield from handle.stream([self._id_column, "source_partition", "source_position", *columns])

    def _to_send(
        self, batch: OffsetBatch, new: list[_Candidate], replays: list[Replay], missing: str, letters: Letters
    ) -> Iterator[FailedMessage]:
        """Those that can be sent, as they will be.

        Args:
            replays: whose messages can be among these, which then have failed before.
            missing: what it means that a message has no bytes.
        """
        retries = retries_of(replays, self._topic, batch.topic_id, [c.place for c in new])
        for place, key, rules, value in new:
            if value is None or len(value) > self._message_bytes:
                letters.left_out[missing if value is None else TOO_LARGE] += 1
                continue
            before = retries.get(place)
            retry = before.again() if before else Retry(f"{self._topic.name}/{place[0]}/{place[1]}")
            letters.to_send += 1
            letters.bytes += len(value)
            letters.rules.update(set(rules))
            yield FailedMessage(batch.topic_id, place, letters.batch_id, rules, key, value, retry)


class _Candidate(NamedTuple):
    place: Place
    key: bytes | None
    rules: tuple[str, ...]
    value: bytes | None


def _candidates(rows: pa.RecordBatch, id_column: str) -> list[_Candidate]:
    """Rows of `rejected_customers` or `unscored_customers`; the latter have neither rules nor bytes of their own."""
    names = rows.schema.names
    n = rows.num_rows
    rules = rows.column("rules").to_pylist() if "rules" in names else [[UNSCORED]] * n
    values = rows.column("raw").to_pylist() if "raw" in names else [None] * n
    ids, partitions = rows.column(id_column).to_pylist(), rows.column("source_partition").cast(pa.string()).to_pylist()
    return [
        # An empty id names nobody.
        _Candidate((int(partition.rpartition("/")[2]), offset), id_.encode() if id_ else None, tuple(broken), value)
        for id_, partition, offset, broken, value in zip(
            ids, partitions, rows.column("source_position").to_pylist(), rules, values, strict=True
        )
    ]


def _new(
    found: list[_Candidate], wanted: Wanted, batch: OffsetBatch, replayed: Replayed, letters: Letters
) -> list[_Candidate]:
    """Those that are wanted and were not replayed before."""
    asked = [c for c in found if not wanted.rules or not wanted.rules.isdisjoint(c.rules)]
    new = [c for c in asked if not replayed.has(batch.topic_id, c.place)]
    if len(new) < len(asked):
        letters.left_out[REPLAYED] += len(asked) - len(new)
    return new
