"""Sending messages at a rate, none of them lost in silence.

Belongs here: the pace, acknowledgements, and the topic that must be there first. Does not: what is sent
(`demo_messages.py`), publishing results (`kafka_publishing.py`), where somebody notes how far it came (the caller).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from churn_pipeline.contract.definition import nearest
from churn_pipeline.errors import SourceError
from churn_pipeline.resources.topics.base import TopicMissing
from churn_pipeline.resources.topics.connection import Deadline, KafkaConnection
from churn_pipeline.resources.topics.demo_messages import DemoMessage
from churn_pipeline.resources.topics.embedded import is_embedded

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

#: Headers of every message, and of a malformed one: its number in the stream, and what is wrong with it.
NUMBER, MALFORMED = "demo-number", "demo-malformed"

#: Acknowledgements are waited for after so many messages, bytes or seconds, whichever comes first; the client's queue,
#: which would be full at 100,000 messages or 1 GB, never is.
_WINDOW_MESSAGES = 10_000
_WINDOW_BYTES = 64 * 1024**2
_WINDOW_SECONDS = 0.5
#: Longest wait in one call of the client: it does not hear of Ctrl-C meanwhile.
_CALL_SECONDS = 0.1

_OWN: dict[str, Any] = {"acks": "all", "enable.idempotence": True}
_USUAL: dict[str, Any] = {
    "compression.type": "lz4",
    # As Java's clients do it, so that a customer's messages meet in one partition, whoever sends them.
    "partitioner": "murmur2_random",
    "reconnect.backoff.max.ms": 1_000,
}


class MessagesNotDelivered(SourceError):
    """Messages to a topic were not acknowledged: refused, or no broker took them in time."""


@dataclass
class Delivered:
    """What was acknowledged.

    Attributes:
        messages: partition → messages, malformed ones among them.
        malformed: partition → malformed messages.
        ways: what was wrong with them → messages.
    """

    messages: Counter[int] = field(default_factory=Counter)
    malformed: Counter[int] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)


def ensure_topic(connection: KafkaConnection, topic: str, create: int | None = None) -> None:
    """See that a topic is there, or make it.

    The embedded broker makes it with the first message, and cannot be told how.

    Args:
        create: partitions of a topic that is missing; None: it may not be.

    Raises:
        TopicMissing, BrokerUnreachable, TopicRefused
    """
    from confluent_kafka.cimpl import NewTopic

    deadline = Deadline(connection.timeout_seconds)
    with connection.admin(f"topic {topic!r}") as admin:
        seen = admin.list_topics(timeout=deadline.left)
        if topic in seen.topics or is_embedded(seen.cluster_id):
            return
        if create is None:
            there = [name for name in seen.topics if not name.startswith("__")]
            raise TopicMissing(
                f"Kafka at {connection.bootstrap_servers} has no topic {topic!r}{nearest(topic, there)}. Correct the "
                "name, or create it: --create PARTITIONS."
            )
        # Replicated as the cluster does it by default.
        wanted = NewTopic(topic, num_partitions=create, replication_factor=-1)
        admin.create_topics([wanted], operation_timeout=deadline.left)[topic].result(connection.timeout_seconds)


def send(
    connection: KafkaConnection,
    topic: str,
    messages: Iterable[DemoMessage],
    *,
    rate: float = 0.0,
    acknowledged: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    patience_seconds: float = 60.0,
) -> Delivered:
    """Send messages in order, and wait until a broker has each.

    Args:
        rate: messages a second; 0: as fast as they go.
        acknowledged: called with the numbers `[first, end)` of messages once all of them are acknowledged.
        stop: asked often; once true, nothing more is sent and what was sent is waited for.
        patience_seconds: how long a message may wait for a broker that takes none, such as one that is started again.

    Raises:
        MessagesNotDelivered: some were not acknowledged; of all that `acknowledged` was called for, none is missing.
        ConnectionSettingsWrong, BrokerUnreachable, TopicRefused
    """
    own = {**_OWN, "message.timeout.ms": round(patience_seconds * 1000)}
    delivered, pace = Delivered(), _Pace(rate)
    with connection.producer(f"to take messages for {topic!r}", own, _USUAL) as producer:
        window = _Window(producer, topic, delivered, acknowledged)
        for message in messages:
            while (wait := pace.wait()) > 0 and not stop():
                window.confirm_if_due()
                producer.poll(min(wait, _CALL_SECONDS))
            if stop():
                break
            window.produce(message)
            pace.sent += 1
            window.confirm_if_due()
        window.confirm()
    return delivered


class _Pace:
    """When the next message is due."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._start = time.monotonic()
        self.sent = 0

    def wait(self) -> float:
        """Seconds until then; 0 or less: now."""
        return self._start + self.sent / self._rate - time.monotonic() if self._rate else 0.0


class _Window:
    """Messages sent and not yet all acknowledged."""

    def __init__(
        self, producer: Producer, topic: str, delivered: Delivered, acknowledged: Callable[[int, int], None] | None
    ) -> None:
        self._producer, self._topic = producer, topic
        self._delivered, self._acknowledged = delivered, acknowledged
        self._numbers: list[int] = []
        self._failed: list[KafkaError] = []
        self._bytes = 0
        self._opened = time.monotonic()

    def produce(self, message: DemoMessage) -> None:
        from confluent_kafka import KafkaException

        headers: list[tuple[str, str | bytes | None]] = [(NUMBER, b"%d" % message.number)]
        if message.malformed:
            headers.append((MALFORMED, message.malformed.encode()))
        self._numbers.append(message.number)
        self._bytes += len(message.value or b"")
        try:
            self._producer.produce(
                self._topic,
                message.value,
                message.key,
                headers=headers,
                timestamp=message.timestamp or 0,
                on_delivery=partial(self._report, message.malformed),
            )
        except KafkaException as error:  # refused before it was sent: too large, or the client has given up
            self._failed.append(error.args[0])

    def confirm_if_due(self) -> None:
        full = len(self._numbers) >= _WINDOW_MESSAGES or self._bytes >= _WINDOW_BYTES
        if full or time.monotonic() - self._opened >= _WINDOW_SECONDS:
            self.confirm()

    def confirm(self) -> None:
        """Wait for what was sent, and tell of it."""
        # Every message is reported in the end, as delivered or as timed out.
        while self._producer.flush(_CALL_SECONDS):
            pass
        if self._failed:
            raise self._not_delivered()
        if self._numbers and self._acknowledged:
            self._acknowledged(self._numbers[0], self._numbers[-1] + 1)
        self._numbers.clear()
        self._bytes = 0
        self._opened = time.monotonic()

    def _report(self, malformed: str | None, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed.append(error)
            return
        partition = int(message.partition() or 0)
        self._delivered.messages[partition] += 1
        if malformed:
            self._delivered.malformed[partition] += 1
            self._delivered.ways[malformed] += 1

    def _not_delivered(self) -> MessagesNotDelivered:
        reasons = Counter(error.str().rstrip(".") for error in self._failed)
        return MessagesNotDelivered(
            f"{len(self._failed):,} of messages {self._numbers[0]:,} to {self._numbers[-1]:,} were not taken by topic "
            f"{self._topic!r}: {'; '.join(reason for reason, _ in reasons.most_common(2))}. All before them were. "
            "Correct what the broker complains of, then go on from there."
        )
