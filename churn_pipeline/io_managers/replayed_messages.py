"""`replayed_messages`: which messages that failed were sent to their topic again, each at most once.

The row is written before the message is sent. So of two commands that replay the same messages the second finds them
claimed, and of one that dies the next finds what it had begun: the rows keep key and bytes until they are sent. In this
table `batch_id` is the replay.

Belongs here: the table, what it says of a topic's messages, and the headers that lead from a replayed message to its
first failure. Does not: which messages are replayed, and sending them (`replays.py`).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self
from uuid import uuid4

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.contract.definition import ARROW_TYPES
from churn_pipeline.contract.messages import Place
from churn_pipeline.io_managers.base import Rows, TableHandle, TableStore
from churn_pipeline.resources.topics.base import Headers, Outgoing, Topic, Watermarks
from churn_pipeline.resources.topics.reading_again import read_again

TABLE = "replayed_messages"

SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("topic_id", pa.string()),
        ("partition", pa.int64()),
        ("offset", pa.int64()),
        ("first_failure", pa.string()),
        ("retry_count", pa.int64()),
        ("rules", pa.list_(pa.string())),
        ("failed_batch_id", pa.string()),
        ("claimed_at", ARROW_TYPES["timestamp"]),
        ("is_sent", pa.bool_()),
        ("sent_to_id", pa.string()),
        ("log_before", pa.string()),
        ("log_after", pa.string()),
        ("key", pa.binary()),
        ("value", pa.binary()),
    ]
)

#: Header of a replayed message: which replay sent it.
REPLAY = "replay"

_FIRST_FAILURE = "first_failure"
_RETRY_COUNT = "retry_count"

#: Anybody can send headers of these names, so only what we could have written counts.
_PLACE = re.compile(rb"[A-Za-z0-9._-]{1,249}/\d{1,10}/\d{1,19}")
_COUNT = re.compile(rb"\d{1,9}")


@dataclass(frozen=True)
class Retry:
    """What a replayed message says of its past.

    Attributes:
        first_failure: where it was when it failed first, as `topic/partition/offset`.
        count: how many times it was replayed, this time among them.
    """

    first_failure: str
    count: int = 1

    def again(self) -> Retry:
        """The same after one more replay."""
        return Retry(self.first_failure, self.count + 1)

    def trace(self) -> tuple[str, bytes]:
        """The header that leads to the first failure, of the message and of its dead letter."""
        return _FIRST_FAILURE, self.first_failure.encode()

    def headers(self, replay_id: str) -> list[tuple[str, bytes]]:
        """To send with the message."""
        return [self.trace(), (_RETRY_COUNT, str(self.count).encode()), (REPLAY, replay_id.encode())]

    @classmethod
    def read(cls, headers: Headers) -> Self | None:
        """From a message's headers; None if no replay sent it."""
        given = dict(headers)
        first, count = given.get(_FIRST_FAILURE) or b"", given.get(_RETRY_COUNT) or b""
        if REPLAY not in given or not _PLACE.fullmatch(first) or not _COUNT.fullmatch(count):
            return None
        return cls(first.decode(), int(count))


@dataclass(frozen=True)
class FailedMessage:
    """A message to replay.

    Attributes:
        topic_id: of the log where it failed.
        batch_id: of the batch that it failed in.
        key: the customer's id; None where it could not be read.
        retry: what it will say of its past.
    """

    topic_id: str | None
    place: Place
    batch_id: str
    rules: tuple[str, ...]
    key: bytes | None
    value: bytes
    retry: Retry


@dataclass(frozen=True, kw_only=True)
class Replay(OffsetBatch):
    """Messages that are sent to their topic again, in one transaction.

    As a batch it names partition 0 alone, where the consumer group that it has for itself keeps the bookmark which says
    that it was sent.

    Attributes:
        topic_id: of the log they are sent to.
        planned_at: when they were claimed.
        replay_id: its id, of which there is no second one: other messages of the same batches are another replay.
        log_before: partition → end of the log when they were claimed.
        log_after: partition → end of the log behind the last of them; None while that is not known.
    """

    replay_id: str
    messages: int
    log_before: Mapping[int, int]
    log_after: Mapping[int, int] | None = None
    is_sent: bool = False

    @classmethod
    def begin(cls, topic: str, marks: Watermarks, messages: int, at: datetime) -> Self:
        """A new one, of a topic whose log ends at `marks`."""
        replay_id = f"replay-{uuid4().hex[:12]}"
        bookmark = _bookmark(topic, marks.end)
        return cls(topic, marks.topic_id, bookmark, at, replay_id=replay_id, messages=messages, log_before=marks.end)

    @property
    def id(self) -> str:
        return self.replay_id

    def may_be_in(self, batch: OffsetBatch) -> bool:
        """Whether a batch can have read any of its messages."""
        return self.topic_id == batch.topic_id and any(map(self.may_be_within, batch.ranges))

    def may_be_within(self, r: OffsetRange) -> bool:
        """Whether a range of the log that it was sent to can have any of its messages."""
        start = max(r.start, self.log_before.get(r.partition, 0))
        return start < (r.end if self.log_after is None else min(r.end, self.log_after.get(r.partition, 0)))


class ReplayedMessages:
    """What was replayed of one topic."""

    def __init__(self, store: TableStore, topic: str) -> None:
        self._store = store
        self._topic = topic

    def replays(self) -> list[Replay]:
        """Every replay, in the order they were claimed."""
        of_replay = ["batch_id", "sent_to_id", "claimed_at", "is_sent", "log_before", "log_after"]
        found: dict[str, Replay] = {}
        for rows in self._rows(self._store.open(TABLE), of_replay):
            for row in rows.group_by(of_replay).aggregate([([], "count_all")]).to_pylist():
                before = found[row["batch_id"]].messages if row["batch_id"] in found else 0
                found[row["batch_id"]] = self._replay(row, before + row["count_all"])
        return sorted(found.values(), key=lambda replay: (replay.planned_at, replay.id))

    def within(self, batch: OffsetBatch) -> list[Replay]:
        """The replays whose messages a batch can have read."""
        return [replay for replay in self.replays() if replay.may_be_in(batch)]

    def places(self) -> Replayed:
        """Which messages were replayed or are about to be."""
        return self._places(self._store.open(TABLE))

    def claim(self, replay: Replay, messages: Sequence[FailedMessage]) -> bool:
        """Write down what is to be replayed.

        Returns:
            False, and nothing is written, if any of the messages is part of another replay.
        """
        rows = pa.RecordBatch.from_pylist([_record(replay, message) for message in messages], SCHEMA)

        def are_free(table: TableHandle) -> bool:
            replayed = self._places(table)
            return not any(replayed.has(m.topic_id, m.place) for m in messages)

        return self._store.replace_if(TABLE, Rows(replay, SCHEMA, [rows]), f"replays:{self._topic}", are_free)

    def outgoing(self, replay: Replay) -> Generator[Outgoing]:
        """What a replay sends."""
        names = ["key", "value", "first_failure", "retry_count", "is_sent"]
        for rows in self._rows(self._store.open(TABLE, replay), names):
            for row in rows.to_pylist():
                # Whoever finished it meanwhile has cleared the bytes.
                if not row["is_sent"]:
                    retry = Retry(row["first_failure"], row["retry_count"])
                    yield Outgoing(self._topic, row["key"], row["value"], retry.headers(replay.id))

    def note_sent(self, replay: Replay, log_after: Mapping[int, int] | None) -> None:
        """Note that a replay is in the topic; its bytes are not kept any longer.

        Args:
            log_after: see `Replay`.
        """
        written = None if log_after is None else json.dumps(log_after)
        changed = {"is_sent": True, "log_after": written, "key": None, "value": None}

        def rows() -> Iterator[pa.RecordBatch]:
            for table in self._rows(self._store.open(TABLE, replay), SCHEMA.names):
                for name, value in changed.items():
                    column = pa.repeat(pa.scalar(value, SCHEMA.field(name).type), table.num_rows)
                    table = table.set_column(SCHEMA.get_field_index(name), name, column)
                yield from table.select(SCHEMA.names).to_batches()

        self._store.write(TABLE, Rows(replay, SCHEMA, rows()), "replace_batch")

    def _rows(self, handle: TableHandle | None, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The topic's rows, a stretch at a time."""
        if handle is None:
            return
        for batch in handle.stream(list(dict.fromkeys([*columns, "topic"]))):
            yield pa.Table.from_batches([batch.filter(pc.equal(batch.column("topic"), self._topic))])

    def _places(self, handle: TableHandle | None) -> Replayed:
        found: defaultdict[tuple[str | None, int], list[npt.NDArray[np.int64]]] = defaultdict(list)
        for rows in self._rows(handle, ["topic_id", "partition", "offset"]):
            for row in rows.group_by(["topic_id", "partition"]).aggregate([("offset", "list")]).to_pylist():
                found[row["topic_id"], row["partition"]].append(np.array(row["offset_list"], np.int64))
        return Replayed({of: np.sort(np.concatenate(parts)) for of, parts in found.items()})

    def _replay(self, row: Mapping[str, object], messages: int) -> Replay:
        before, after = _offsets(row["log_before"]), _offsets(row["log_after"])
        assert before is not None and isinstance(row["claimed_at"], datetime)
        topic_id = None if row["sent_to_id"] is None else str(row["sent_to_id"])
        return Replay(
            self._topic,
            topic_id,
            _bookmark(self._topic, before),
            row["claimed_at"],
            replay_id=str(row["batch_id"]),
            messages=messages,
            log_before=before,
            log_after=after,
            is_sent=bool(row["is_sent"]),
        )


class Replayed:
    """Places of messages; a few bytes each.

    Args:
        offsets: topic id and partition → offsets, sorted.
    """

    def __init__(self, offsets: Mapping[tuple[str | None, int], npt.NDArray[np.int64]]) -> None:
        self._offsets = offsets

    def has(self, topic_id: str | None, place: Place) -> bool:
        """Whether the message is among them."""
        partition, offset = place
        known = self._offsets.get((topic_id, partition))
        if known is None:
            return False
        at = int(np.searchsorted(known, offset))
        return at < len(known) and int(known[at]) == offset


def retries_of(
    replays: Sequence[Replay], topic: Topic, topic_id: str | None, places: Iterable[Place]
) -> dict[Place, Retry]:
    """Of messages in a topic, those that a replay sent and that are still there.

    Args:
        replays: whose messages they can be; see `ReplayedMessages.within`.
        topic_id: of the log that has the places.

    Raises:
        BrokerUnreachable, TopicMissing, TopicRefused
    """
    if not replays:
        return {}
    asked = (OffsetRange(topic.name, partition, offset, offset + 1) for partition, offset in places)
    among = [(r.partition, r.start) for r in asked if any(replay.may_be_within(r) for replay in replays)]
    found = ((m.place, Retry.read(m.headers)) for m in read_again(topic, topic_id, among, headers=True))
    return {place: retry for place, retry in found if retry}


def _record(replay: Replay, message: FailedMessage) -> dict[str, object]:
    partition, offset = message.place
    return {
        "topic": replay.topic,
        "topic_id": message.topic_id,
        "partition": partition,
        "offset": offset,
        "first_failure": message.retry.first_failure,
        "retry_count": message.retry.count,
        "rules": list(message.rules),
        "failed_batch_id": message.batch_id,
        "claimed_at": replay.planned_at,
        "is_sent": False,
        "sent_to_id": replay.topic_id,
        "log_before": json.dumps(replay.log_before),
        "log_after": None,
        "key": message.key,
        "value": message.value,
    }


def _bookmark(topic: str, ends: Mapping[int, int]) -> tuple[OffsetRange, ...]:
    end = ends.get(0, 0)
    return (OffsetRange(topic, 0, end, end),)


def _offsets(written: object) -> dict[int, int] | None:
    return None if written is None else {int(p): offset for p, offset in json.loads(str(written)).items()}
