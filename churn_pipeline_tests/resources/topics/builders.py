"""Logs to hold the ports against, and batches of their offsets.

Belongs here: one way to fill, shorten and look into a topic, whatever keeps it. Does not: how a broker runs
(`kafka/apache_kafka.py`).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.resources.topics.base import Messages, Outgoing, Publisher, Topic
from churn_pipeline.resources.topics.bookmarks import Bookmark
from churn_pipeline.resources.topics.connection import KafkaConnection
from churn_pipeline.resources.topics.kafka_publishing import KafkaPublisher
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline.resources.topics.memory import MemoryPublisher, MemoryTopic

#: Of every topic here: the embedded broker knows no other number.
PARTITIONS = 4


def ranges(topic: str, offsets: Mapping[int, tuple[int, int]]) -> list[OffsetRange]:
    """Partition → `(start, end)` as ranges."""
    return [OffsetRange(topic, partition, start, end) for partition, (start, end) in offsets.items()]


def batch(topic: str, offsets: Mapping[int, tuple[int, int]], topic_id: str | None = "first") -> OffsetBatch:
    """A batch of a topic's offsets."""
    return OffsetBatch(topic, topic_id, tuple(ranges(topic, offsets)), datetime(2026, 3, 1, tzinfo=UTC))


def outgoing(topic: str, *values: bytes) -> list[Outgoing]:
    """Messages with a key and no headers."""
    return [Outgoing(topic, b"customer", value) for value in values]


def failing(error: Exception, *messages: Outgoing) -> Iterator[Outgoing]:
    """Messages, and then an error in place of the next one."""
    yield from messages
    raise error


def numbered(count: int) -> list[bytes]:
    """b"0", b"1", …"""
    return [str(n).encode() for n in range(count)]


def values(read: Iterable[Messages]) -> list[bytes | None]:
    """All values that were read, in order."""
    return [value for messages in read for value in messages.values]


def offsets(read: Iterable[Messages]) -> list[int]:
    """All offsets that were read, in order."""
    return [offset for messages in read for offset in messages.offsets]


def everything(topic: Topic) -> list[bytes | None]:
    """What readers of committed messages see of a topic, a partition after the other."""
    marks = topic.watermarks()
    return values(topic.read(ranges(topic.name, {p: (marks.low[p], end) for p, end in marks.end.items()})))


def produce(
    bootstrap: str, topic: str, messages: Iterable[bytes | None], partition: int = 0, timestamp: int = 0
) -> None:
    """Put messages into a partition, each acknowledged; timestamp 0 is now."""
    producer = Producer({"bootstrap.servers": bootstrap, "message.max.bytes": 20_000_000})
    for value in messages:
        producer.produce(topic, value, partition=partition, timestamp=timestamp)
    assert producer.flush(30) == 0


def committed(bootstrap: str, topic: str, group: str) -> Bookmark | None:
    """What a group committed for partition 0, once no transaction is about to change it."""
    with _consumer(bootstrap, group, "read_committed") as consumer:
        (found,) = consumer.committed([TopicPartition(topic, 0)], timeout=20)
    return Bookmark.read(found.offset, found.metadata) if found.offset >= 0 else None


def wait_for(bootstrap: str, topic: str, partitions: int = 1) -> str:
    """Wait until the broker itself has so many partitions: the controller says that it made them before. The topic."""
    deadline = time.monotonic() + 20
    with _consumer(bootstrap, "looker") as consumer:
        while True:
            found = consumer.list_topics(topic, timeout=10).topics[topic].partitions.values()
            if len([p for p in found if p.leader >= 0]) >= partitions:
                return topic
            assert time.monotonic() < deadline, f"{topic} has not {partitions} partitions"


def settle(bootstrap: str, topic: str) -> None:
    """Wait until no transaction holds up readers: a commit is answered before the partitions have its marker."""
    deadline = time.monotonic() + 20
    with _consumer(bootstrap, "looker", "read_committed") as stable, _consumer(bootstrap, "looker") as all_of_it:
        for partition in stable.list_topics(topic, timeout=10).topics[topic].partitions:
            asked = TopicPartition(topic, partition)
            while stable.get_watermark_offsets(asked, 10) != all_of_it.get_watermark_offsets(asked, 10):
                assert time.monotonic() < deadline, f"a transaction of {topic}/{partition} stays open"


@contextmanager
def _consumer(bootstrap: str, group: str, isolation: str = "read_uncommitted") -> Iterator[Consumer]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "isolation.level": isolation})
    try:
        yield consumer
    finally:
        consumer.close()


class Log(ABC):
    """A topic with `PARTITIONS` partitions, a publisher of what is in it, and what that published."""

    topic: Topic
    publisher: Publisher
    #: What the publisher publishes to.
    output = "predictions"

    @abstractmethod
    def append(self, *messages: bytes | None, partition: int = 0, timestamp: int = 0) -> None:
        """Add messages; timestamp in milliseconds since 1970, 0 is now."""

    @abstractmethod
    def lose_oldest(self) -> None:
        """Fill the log of partition 0 and lose some of its beginning, but not all."""

    @abstractmethod
    def commit_as_another(self, partition: int, offset: int) -> None:
        """What a plain consumer of the same group does."""

    @abstractmethod
    def published(self) -> list[bytes | None]:
        """Values that readers of committed messages see in `output`."""


class MemoryLog(Log):
    """In memory."""

    def __init__(self) -> None:
        self.topic: MemoryTopic = MemoryTopic("customers", PARTITIONS)
        self.publisher: MemoryPublisher = MemoryPublisher()

    def append(self, *messages: bytes | None, partition: int = 0, timestamp: int = 0) -> None:
        for value in messages:
            self.topic.append(value, partition=partition, timestamp=timestamp or None)

    def lose_oldest(self) -> None:
        self.append(*numbered(10))
        self.topic.delete_before(0, 4)

    def commit_as_another(self, partition: int, offset: int) -> None:
        self.publisher.bookmarks[self.topic.name][partition] = Bookmark(offset)

    def published(self) -> list[bytes | None]:
        return [message.value for message in self.publisher.messages]


class BrokerLog(Log):
    """On a broker, where topic and output exist already."""

    def __init__(self, bootstrap: str, topic: str, output: str) -> None:
        self._bootstrap = bootstrap
        wait_for(bootstrap, topic, PARTITIONS)
        wait_for(bootstrap, output)
        self._connection = KafkaConnection(bootstrap)
        self._group = f"publishers-{topic}"
        self.output = output
        self.topic = KafkaTopic(self._connection, topic)
        self.publisher = KafkaPublisher(self._connection, self._group)

    def append(self, *messages: bytes | None, partition: int = 0, timestamp: int = 0) -> None:
        produce(self._bootstrap, self.topic.name, messages, partition, timestamp)

    def lose_oldest(self) -> None:
        # More than the embedded broker keeps; a real one is told to.
        self.append(*[b"x" * 50_000] * 200)
        if self.topic.watermarks().low[0] == 0:
            admin = AdminClient({"bootstrap.servers": self._bootstrap})
            (told,) = admin.delete_records([TopicPartition(self.topic.name, 0, 4)]).values()
            told.result()

    def commit_as_another(self, partition: int, offset: int) -> None:
        with _consumer(self._bootstrap, self._group) as consumer:
            consumer.commit(offsets=[TopicPartition(self.topic.name, partition, offset)], asynchronous=False)

    def published(self) -> list[bytes | None]:
        settle(self._bootstrap, self.output)
        return everything(KafkaTopic(self._connection, self.output))
