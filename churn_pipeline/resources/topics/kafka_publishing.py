"""What a batch gave, published to Kafka together with the offsets that it read, in one transaction.

Belongs here: the transaction, and what its failure means. Does not: getting in (`connection.py`), the rule by which a
batch counts as published (`bookmarks.py`), what is in a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from churn_pipeline.batches import OffsetBatch
from churn_pipeline.resources.topics.base import OutgoingTuple, Publisher
from churn_pipeline.resources.topics.bookmarks import Bookmark, bookmarks_of, is_published
from churn_pipeline.resources.topics.connection import Deadline, KafkaConnection, insist
from churn_pipeline.resources.topics.embedded import is_embedded
from churn_pipeline.resources.topics.kafka_errors import is_fenced, is_refusal, not_published

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

_USUAL: dict[str, Any] = {
    # Predictions are much alike: less to send, and more of them a second.
    "compression.type": "lz4",
    # As Java's clients do it: a customer is in the partition that others have for it, in the topic it came from too.
    "partitioner": "murmur2_random",
    # Only the topic's own limit counts, not the client's 1 MB; a message has to fit into the queue.
    "message.max.bytes": 48 * 1024**2,
    # Holds memory flat: 1 GB by default.
    "queue.buffering.max.kbytes": 64 * 1024,
    # How long a topic that is not there is waited for: it may have been made a moment ago.
    "topic.metadata.propagation.max.ms": 5_000,
    # By default a transaction that follows another of the same id waits 100 ms for the first one's markers.
    "retry.backoff.ms": 20,
    "reconnect.backoff.max.ms": 1_000,
}
#: A transaction may last as long; one whose publisher died holds up readers as long, or until the batch is tried again.
_TRANSACTION_MS = 300_000
_WAIT_SECONDS = 0.1


class KafkaPublisher(Publisher):
    """Publishes to Apache Kafka: readers of committed messages see what a batch gave once, and whole.

    Every batch has a transaction of a client of its own, whose transactional id is `GROUP:TOPIC`. Whoever publishes for
    the same group and topic later ends the transaction of whoever does so now: so two publishers at once publish once.

    The embedded broker only pretends transactions, so there the offsets are committed after the messages, and a batch
    whose publisher died in between comes twice.

    Args:
        connection: the cluster.
        group: consumer group whose committed offsets say what was published. Nobody else should commit to it.
        patience_seconds: how long a broker that gives nothing is waited for: before the transaction, for each message,
            and for the end of the transaction.
    """

    def __init__(
        self, connection: KafkaConnection, group: str = "churn-pipeline", patience_seconds: float = 60.0
    ) -> None:
        self._connection = connection
        self._group = group
        self._patience = patience_seconds

    def publish(self, batch: OffsetBatch, messages: Iterable[OutgoingTuple]) -> int | None:
        """Publish unless that was done before; see `Publisher.publish`."""
        failures, ready = _Failures(), Deadline(self._patience)
        with self._consumer() as consumer:
            embedded = is_embedded(insist(lambda seconds: _cluster_id(consumer, batch.topic, seconds), ready))
            with self._producer(batch, failures, {} if embedded else self._transactional(batch)) as producer:
                if not embedded:
                    # First: it fences an older publisher, while whose transaction is open the offsets cannot be read.
                    insist(producer.init_transactions, ready)
                before = _committed(consumer, batch, ready)
                if is_published(batch, before):
                    return None
                offsets = _offsets(batch.topic, bookmarks_of(batch, before))
                committed = self._without_transaction if embedded else self._in_transaction
                with self._explained(batch, failures), committed(producer, consumer, offsets, failures):
                    return _send(producer, messages)

    def _consumer(self) -> AbstractContextManager[Consumer]:
        # Without read_committed the offsets of a transaction that is about to be committed are passed over.
        own = {"group.id": self._group, "enable.auto.commit": False, "isolation.level": "read_committed"}
        return self._connection.consumer(f"the offsets that group {self._group!r} committed", own, {})

    def _producer(
        self, batch: OffsetBatch, failures: _Failures, transactional: Mapping[str, Any]
    ) -> AbstractContextManager[Producer]:
        patience = round(self._patience * 1000)
        own = {
            "message.timeout.ms": patience,
            # Sending offsets heeds this one in place of the timeout that it is given.
            "socket.timeout.ms": patience,
            "delivery.report.only.error": True,
            "on_delivery": failures.not_delivered,
        }
        return self._connection.producer(f"a transaction for batch {batch.id}", {**own, **transactional}, _USUAL)

    def _transactional(self, batch: OffsetBatch) -> dict[str, Any]:
        return {
            "transactional.id": f"{self._group}:{batch.topic}",
            # No message may wait longer than the transaction.
            "transaction.timeout.ms": max(_TRANSACTION_MS, round(self._patience * 1000)),
        }

    @contextmanager
    def _in_transaction(
        self, producer: Producer, consumer: Consumer, offsets: list[TopicPartition], failures: _Failures
    ) -> Iterator[None]:
        """What is sent and the offsets are committed together, or neither is."""
        producer.begin_transaction()
        with ExitStack() as unless_committed:
            # Readers need not wait for the transaction's timeout, whatever went wrong.
            unless_committed.callback(self._abort, producer, failures)
            yield
            end, group = Deadline(self._patience), consumer.consumer_group_metadata()
            insist(lambda seconds: producer.send_offsets_to_transaction(offsets, group, seconds), end)
            insist(producer.commit_transaction, end)
            unless_committed.pop_all()

    @contextmanager
    def _without_transaction(
        self, producer: Producer, consumer: Consumer, offsets: list[TopicPartition], failures: _Failures
    ) -> Iterator[None]:
        """The offsets are committed once everything was delivered, for the embedded broker."""
        yield
        producer.flush()  # Ends: a message that nobody takes expires.
        failures.check()
        consumer.commit(offsets=offsets, asynchronous=False)

    @contextmanager
    def _explained(self, batch: OffsetBatch, failures: _Failures) -> Iterator[None]:
        """What the client raises, as `PublishingFailed`; but what refuses this client stays the client's own error."""
        from confluent_kafka import KafkaException

        try:
            yield
        except KafkaException as error:
            reason = failures.reason(error.args[0])
            if is_refusal(reason):
                raise KafkaException(reason) from None
            raise not_published(reason, batch.id, self._connection.bootstrap_servers) from None

    def _abort(self, producer: Producer, failures: _Failures) -> None:
        from confluent_kafka import KafkaException

        try:
            # What was not delivered is reported before the abort drops the rest.
            producer.poll(0)
            producer.abort_transaction(self._connection.timeout_seconds)
        except KafkaException as error:
            # Nobody answers, or what became of the commit is not known: the next attempt, or the timeout, ends it.
            failures.not_aborted(error.args[0])


class _Failures:
    """What a client says of a failure elsewhere than in the exception, which says only that there was one."""

    def __init__(self) -> None:
        self._undelivered: list[KafkaError] = []
        self._unaborted: list[KafkaError] = []

    def not_delivered(self, error: KafkaError, message: Message) -> None:
        """For the producer to call."""
        # One is enough, and what an abort drops is no cause.
        if not self._undelivered and error.name() not in ("_PURGE_QUEUE", "_PURGE_INFLIGHT"):
            self._undelivered.append(_about(str(message.topic()), error))

    def not_aborted(self, error: KafkaError) -> None:
        """The abort failed too."""
        self._unaborted.append(error)

    def check(self) -> None:
        """Raise it if a message was not delivered."""
        from confluent_kafka import KafkaException

        if self._undelivered:
            raise KafkaException(self._undelivered[0])

    def reason(self, raised: KafkaError) -> KafkaError:
        """Why the transaction failed, given what was raised."""
        fenced = [e for e in (raised, *self._unaborted) if is_fenced(e)]
        return next(iter([*fenced, *self._undelivered]), raised)


def _send(producer: Producer, messages: Iterable[OutgoingTuple]) -> int:
    """Give all messages to the client, as fast as the broker takes them; how many there were."""
    count, produce = 0, producer.produce
    for count, (topic, key, value, headers) in enumerate(messages, 1):  # noqa: B007
        while True:
            try:
                produce(topic, value, key, headers=headers)  # type: ignore[arg-type] # it takes such a list
                break
            except BufferError:
                # Ends with a broker that gives nothing too: then messages expire, and the transaction with them.
                producer.poll(_WAIT_SECONDS)
    return count


def _cluster_id(consumer: Consumer, topic: str, seconds: float) -> str | None:
    """The cluster's id, if it has the topic: offsets of a topic that is missing would be sent again and again."""
    from confluent_kafka import KafkaException

    seen = consumer.list_topics(topic, timeout=seconds)
    if (error := seen.topics[topic].error) is not None:
        raise KafkaException(_about(topic, error))
    return seen.cluster_id


def _about(topic: str, error: KafkaError) -> KafkaError:
    """The error, saying of which topic it is."""
    from confluent_kafka import KafkaError

    return KafkaError(error.code(), f"{topic}: {error.str()}")


def _committed(consumer: Consumer, batch: OffsetBatch, deadline: Deadline) -> dict[int, Bookmark]:
    """What the consumer's group committed for the batch's partitions."""
    from confluent_kafka import TopicPartition

    asked = [TopicPartition(batch.topic, r.partition) for r in batch.ranges]
    found = insist(lambda seconds: _checked(consumer.committed(asked, timeout=seconds)), deadline)
    return {p.partition: Bookmark.read(p.offset, p.metadata) for p in found}


def _checked(found: list[TopicPartition]) -> list[TopicPartition]:
    from confluent_kafka import KafkaException

    for part in found:
        if part.error is not None:
            raise KafkaException(part.error)
    return found


def _offsets(topic: str, bookmarks: Mapping[int, Bookmark]) -> list[TopicPartition]:
    from confluent_kafka import TopicPartition

    return [TopicPartition(topic, p, mark.offset, metadata=mark.metadata) for p, mark in bookmarks.items()]
