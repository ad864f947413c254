"""What a topic holds, as any consumer would see it.

Belongs here: reading everything back with a plain client. Does not: our own reading, which is tested elsewhere.
"""

from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition


@dataclass(frozen=True)
class Found:
    """A message as it was stored."""

    partition: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: dict[str, bytes]

    @property
    def number(self) -> int:
        return int(self.headers["demo-number"])

    @property
    def malformed(self) -> bytes | None:
        return self.headers.get("demo-malformed")


def messages_in(bootstrap: str, topic: str) -> list[Found]:
    """Every message, partition by partition, in order."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "fetch.message.max.bytes": 20_000_000})
    try:
        parts = [TopicPartition(topic, p, 0) for p in reader.list_topics(topic, timeout=10).topics[topic].partitions]
        left = sum(reader.get_watermark_offsets(part, timeout=10)[1] for part in parts)
        reader.assign(parts)
        found: list[Found] = []
        while len(found) < left:
            (message,) = reader.consume(1, 10) or [None]
            assert message is not None and message.error() is None, message and message.error()
            headers = dict(message.headers() or [])
            found.append(Found(message.partition(), message.key(), message.value(), message.timestamp()[1], headers))
    finally:
        reader.close()
    return sorted(found, key=lambda message: message.partition)
