"""A topic in memory, and a publisher into memory.

They ship for tests and for whoever embeds this package without a broker; only the process that holds them sees them.

Belongs here: a log that can have gaps, lose its beginning, grow partitions and be made again, as Kafka's can. Does not:
a client (`kafka_reading.py`), a broker for other processes (`embedded.py`).
"""

from __future__ import annotations

import time
import uuid
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.resources.topics.base import (
    MESSAGES_PER_CHUNK,
    Headers,
    Messages,
    Outgoing,
    OutgoingTuple,
    Publisher,
    Topic,
    Watermarks,
    in_chunks,
)
from churn_pipeline.resources.topics.bookmarks import Bookmark, bookmarks_of, is_published


@dataclass(frozen=True)
class _Stored:
    offset: int
    timestamp: int
    value: bytes | None
    headers: Headers

    def __len__(self) -> int:
        return len(self.value or b"")


@dataclass
class _Partition:
    low: int = 0
    end: int = 0
    #: In the order of their offsets, which have gaps.
    messages: list[_Stored] = field(default_factory=list)


class MemoryTopic(Topic):
    """A topic that holds what was appended to it.

    Args:
        name: the topic's.
        partitions: how many it has at first.

    Attributes:
        fail_with: raised by every question and before every chunk that is read, while it is set.
    """

    def __init__(self, name: str, partitions: int = 1) -> None:
        self.name = name
        self.fail_with: Exception | None = None
        self._partitions: list[_Partition] = []
        self.recreate(partitions)

    def append(
        self,
        value: bytes | None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
        headers: Headers = (),
    ) -> int:
        """Add a message; its offset.

        Args:
            value: None is a tombstone.
            key: messages of one key come into one partition, unless `partition` says which.
            timestamp: milliseconds since 1970, UTC; None: now.
        """
        if partition is None:
            partition = zlib.crc32(key or b"") % len(self._partitions)
        log = self._partitions[partition]
        at = time.time_ns() // 1_000_000 if timestamp is None else timestamp
        log.messages.append(_Stored(log.end, at, value, headers))
        log.end += 1
        return log.end - 1

    def append_gap(self, partition: int = 0, offsets: int = 1) -> None:
        """Add offsets that hold no message, as transaction markers, aborted messages and compaction leave them."""
        self._partitions[partition].end += offsets

    def delete_before(self, partition: int, offset: int) -> None:
        """Lose what is older than `offset`, as retention does."""
        log = self._partitions[partition]
        log.low = max(log.low, min(offset, log.end))
        log.messages = [m for m in log.messages if m.offset >= log.low]

    def add_partition(self) -> int:
        """Add an empty partition; its number."""
        self._partitions.append(_Partition())
        return len(self._partitions) - 1

    def recreate(self, partitions: int | None = None) -> None:
        """Delete the topic and make it again, empty and with another id."""
        self._topic_id = str(uuid.uuid4())
        self._partitions = [_Partition() for _ in range(partitions or len(self._partitions))]

    def watermarks(self) -> Watermarks:
        """Where the log begins and ends now; see `Topic.watermarks`."""
        self._fail()
        logs = dict(enumerate(self._partitions))
        return Watermarks(
            self._topic_id, {p: log.low for p, log in logs.items()}, {p: log.end for p, log in logs.items()}
        )

    def offsets_at(self, at: datetime) -> dict[int, int]:
        """First offsets not older than `at`; see `Topic.offsets_at`."""
        self._fail()
        asked = at.timestamp() * 1000
        return {
            p: next((m.offset for m in log.messages if m.timestamp >= asked), log.end)
            for p, log in enumerate(self._partitions)
        }

    def read(
        self, ranges: Sequence[OffsetRange], chunk: int = MESSAGES_PER_CHUNK, *, headers: bool = False
    ) -> Iterator[Messages]:
        """Exactly the messages of the ranges; see `Topic.read`."""
        wanted = [r for r in ranges if r.offsets]
        self.watermarks().check_holds(wanted)
        for r in wanted:
            held = [m for m in self._partitions[r.partition].messages if r.start <= m.offset < r.end]
            for part in in_chunks([held], chunk):
                self._fail()
                offsets, timestamps = [m.offset for m in part], [m.timestamp for m in part]
                values, asked = [m.value for m in part], [m.headers for m in part] if headers else None
                yield Messages(r.topic, r.partition, offsets, timestamps, values, asked)

    def _fail(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with


class MemoryPublisher(Publisher):
    """Keeps what was published, and how far.

    Attributes:
        messages: all that was published, in order.
        bookmarks: topic that was read → partition → what was committed last.
        fail_with: raised in place of committing, while it is set: nothing of the batch is kept.
    """

    def __init__(self) -> None:
        self.messages: list[Outgoing] = []
        self.bookmarks: dict[str, dict[int, Bookmark]] = defaultdict(dict)
        self.fail_with: Exception | None = None

    def publish(self, batch: OffsetBatch, messages: Iterable[OutgoingTuple]) -> int | None:
        """Publish unless that was done before; see `Publisher.publish`."""
        before = self.bookmarks[batch.topic]
        if is_published(batch, before):
            return None
        sent = [Outgoing._make(message) for message in messages]
        if self.fail_with is not None:
            raise self.fail_with
        self.messages += sent
        before.update(bookmarks_of(batch, before))
        return len(sent)
