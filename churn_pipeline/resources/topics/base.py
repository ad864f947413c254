"""A topic: what a message log must be able to do, and how it can fail.

Belongs here: the ports (`Topic`, `Publisher`), the values that cross them, their errors. Does not: a client
(`kafka_reading.py`, `kafka_publishing.py`), what is in a message (`resources/customer_sources/`), which offsets come
next (`offset_planning.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import NamedTuple, TypeVar

from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.errors import SourceError

#: Most messages in one `Messages`: few enough for their bytes to be in the processor's cache while they are decoded.
MESSAGES_PER_CHUNK = 8_192

#: A chunk ends with the message that makes it this large, however few they are.
BYTES_PER_CHUNK = 32 * 1024**2

#: Names and values; a name may come twice, and a value be missing.
Headers = Sequence[tuple[str, bytes | None]]

T = TypeVar("T", bound=Sized)


class BrokerUnreachable(SourceError):
    """No broker answered in time: down, frozen, elsewhere, or refusing this client."""


class TopicMissing(SourceError):
    """The cluster has no such topic, or this client may not see it."""


class MessagesLost(SourceError):
    """Offsets of a range are not in the log any more: retention, or a topic that was made again."""


class TopicRefused(SourceError):
    """The cluster answered and does not allow what was asked: a permission, a password, a certificate."""


class PublishingFailed(SourceError):
    """A transaction was not committed as far as this client knows; the next attempt asks the broker, and publishes
    all of it or, if the commit was only not heard of, nothing."""


@dataclass(frozen=True)
class Watermarks:
    """Where a topic's log begins and ends, partition by partition.

    Attributes:
        topic_id: changes when the topic is deleted and made again; None where the broker has none.
        low: oldest offset kept.
        end: offset after the last one that readers of committed messages can see.
    """

    topic_id: str | None
    low: Mapping[int, int]
    end: Mapping[int, int]

    def check_holds(self, ranges: Iterable[OffsetRange]) -> None:
        """See that the log still has every offset of the ranges.

        Raises:
            MessagesLost: it does not; says which.
        """
        for r in ranges:
            if r.partition not in self.end or self.end[r.partition] < r.end:
                raise MessagesLost(
                    f"{r} was asked for, and the committed messages of {r.topic}/{r.partition} end at "
                    f"{self.end.get(r.partition, 0)}. The topic was made again, or a transaction is still open: wait "
                    "for that, or plan the batch again."
                )
            if self.low[r.partition] > r.start:
                gone = f"{r.start}-{min(self.low[r.partition], r.end)}"
                raise MessagesLost(
                    f"{r.topic}/{r.partition}: offsets {gone} were deleted before they were read. Raise the topic's "
                    "retention."
                )


@dataclass(frozen=True)
class Messages:
    """n messages of one partition, in the order of their offsets.

    Attributes:
        timestamps: milliseconds since 1970, UTC; -1 where a message has none.
        values: as they are in the log; None is a tombstone.
        headers: of each message, if they were asked for.
    """

    topic: str
    partition: int
    offsets: Sequence[int]
    timestamps: Sequence[int]
    values: Sequence[bytes | None]
    headers: Sequence[Headers] | None = None


def in_chunks(arriving: Iterable[Sequence[T]], chunk: int) -> Iterator[list[T]]:
    """Messages cut as `Topic.read` promises, however they arrive; the length of each is its bytes."""
    waiting: list[T] = []
    size = 0
    for messages in arriving:
        waiting += messages
        size += sum(map(len, messages))
        while len(waiting) >= chunk or size >= BYTES_PER_CHUNK:
            sizes = list(accumulate(map(len, waiting[:chunk])))
            cut = min(bisect_left(sizes, BYTES_PER_CHUNK) + 1, len(sizes))
            yield waiting[:cut]
            size -= sizes[cut - 1]
            del waiting[:cut]
    if waiting:
        yield waiting


class Topic(ABC):
    """One topic to read. An instance may be used again and again; it keeps no position between calls."""

    name: str

    @abstractmethod
    def watermarks(self) -> Watermarks:
        """Where the log begins and ends now, of partitions added a moment ago too.

        Raises:
            BrokerUnreachable: within the timeout the topic was made with, whatever the broker does.
            TopicMissing, TopicRefused
        """

    @abstractmethod
    def offsets_at(self, at: datetime) -> dict[int, int]:
        """Per partition, the first offset whose message is not older than `at`; the log's end where there is none.

        Raises:
            BrokerUnreachable, TopicMissing, TopicRefused
        """

    @abstractmethod
    def read(
        self, ranges: Sequence[OffsetRange], chunk: int = MESSAGES_PER_CHUNK, *, headers: bool = False
    ) -> Iterator[Messages]:
        """Exactly the committed messages of the ranges: a partition after the other, each in order.

        Offsets that hold no message (transaction markers, aborted messages, compaction gaps) are passed over, at the
        end of a range too. Every `Messages` but a partition's last has `chunk` messages, or fewer that are
        `BYTES_PER_CHUNK` together, so that two readings of one log give the same chunks.

        Args:
            headers: read them too; they cost time.

        Raises:
            MessagesLost: a range begins before what the log keeps, or ends past its end.
            BrokerUnreachable: nothing moved for as long as the topic was made to wait; one that is back before that
                is read on.
            TopicMissing, TopicRefused
        """


class Outgoing(NamedTuple):
    """One message to publish; messages of one key keep their order."""

    topic: str
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]] | None = None


#: The same as a plain tuple, which is made faster.
OutgoingTuple = tuple[str, bytes | None, bytes, list[tuple[str, bytes]] | None]


class Publisher(ABC):
    """Publishes what a batch gave, together with the offsets that it read, in one transaction."""

    @abstractmethod
    def publish(self, batch: OffsetBatch, messages: Iterable[OutgoingTuple]) -> int | None:
        """Publish unless that was done before.

        Args:
            messages: read once, and only if the batch was not published.

        Returns:
            Messages published; None if the broker says that this batch was published before.

        Raises:
            PublishingFailed: see there.
            BrokerUnreachable, TopicMissing, TopicRefused
        """
