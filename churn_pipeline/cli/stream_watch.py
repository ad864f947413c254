"""What can be seen of a topic while it is scored: how far it came, and what arrived in the topics of results.

Belongs here: asking topics, tables and the record of alerts, as anybody outside can. Does not: whether that is enough,
and words for people (`demo_stream.py`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from confluent_kafka import Consumer

    from churn_pipeline.batches import OffsetBatch
    from churn_pipeline.deployments import Deployment, Settings
    from churn_pipeline.ledger import ScoredBatch
    from churn_pipeline.resources.alert_log import SentAlert

#: Header of a result: the message that it was made of.
_SOURCE = "source"

_OWN: dict[str, Any] = {
    "group.id": "demo-stream",
    "isolation.level": "read_committed",
    "auto.offset.reset": "earliest",
    "enable.auto.commit": False,
}
_AT_ONCE, _LONGEST_WAIT = 1_000, 0.05


@dataclass
class Arrived:
    """What came to one topic of results.

    Attributes:
        sources: the message that a result was made of → how often one of it came.
    """

    sources: Counter[bytes] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        """Results, each counted once."""
        return len(self.sources)

    @property
    def repeated(self) -> int:
        """Results that came though they had come before."""
        return self.sources.total() - self.count


class Results:
    """Counts what a plain consumer receives of predictions and dead letters, from the beginning of both topics.

    Attributes:
        reasons: why messages are dead letters → how many, each counted once.
    """

    def __init__(self, consumer: Consumer, settings: Settings) -> None:
        self.predictions, self.dead_letters = Arrived(), Arrived()
        self.reasons: Counter[str] = Counter()
        self._consumer = consumer
        self._of = {settings.kafka_predictions: self.predictions, settings.kafka_dead_letters: self.dead_letters}

    @property
    def accounted(self) -> int:
        """Messages of the customer topic that have a result of either kind."""
        return len(self.predictions.sources.keys() | self.dead_letters.sources.keys())

    @property
    def contradictory(self) -> int:
        """Messages that have a result of both kinds, which none may have."""
        return len(self.predictions.sources.keys() & self.dead_letters.sources.keys())

    def receive(self) -> None:
        """Count all that has come since."""
        while messages := self._consumer.consume(_AT_ONCE, _LONGEST_WAIT):
            for message in messages:
                # An error, such as that of a broker that is busy, is the client's to repair; it tries again.
                if message.error() is None:
                    self._count(str(message.topic()), dict(message.headers() or ()), message.value() or b"")

    def _count(self, topic: str, headers: dict[str, Any], value: bytes) -> None:
        arrived, source = self._of[topic], headers[_SOURCE]
        if arrived is self.dead_letters and source not in arrived.sources:
            self.reasons[json.loads(value)["error_message"]] += 1
        arrived.sources[source] += 1


@contextmanager
def results_of(settings: Settings) -> Iterator[Results]:
    """Receive results while the block runs.

    Raises:
        BrokerUnreachable, TopicRefused
    """
    from confluent_kafka import OFFSET_BEGINNING, TopicPartition

    from churn_pipeline.resources.topics.embedded import PARTITIONS

    topics = (settings.kafka_predictions, settings.kafka_dead_letters)
    with settings.connection().consumer("for the results of a batch", _OWN, {}) as consumer:
        for topic in topics:
            consumer.list_topics(topic, timeout=settings.timeout())  # the embedded broker makes a topic of that
        consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for t in topics for p in range(PARTITIONS)])
        yield Results(consumer, settings)


@dataclass(frozen=True)
class Sight:
    """A stream at one moment.

    Attributes:
        sent: messages in the customer topic.
        lag: of these, messages that are in no finished batch.
        unfinished: the batch under way.
        batches: those in the ledger, the oldest first; the last one may be `unfinished` still, and be publishing.
        alerted: ids of batches whose completion people were told of.
        alerts: all that were sent, the oldest first.
    """

    sent: int = 0
    lag: int = 0
    unfinished: OffsetBatch | None = None
    batches: tuple[ScoredBatch, ...] = ()
    alerted: frozenset[str] = frozenset()
    alerts: tuple[SentAlert, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether nothing waits, and every batch is done and people know."""
        told = all(row.batch.id in self.alerted for row in self.batches)
        return not self.lag and self.unfinished is None and told

    @property
    def newest(self) -> str:
        """The newest batch and its state, in a few words."""
        done = {row.batch.id for row in self.batches}
        if self.unfinished:
            return f"{_short(self.unfinished.id)} {'publishing' if self.unfinished.id in done else 'being scored'}"
        if not self.batches:
            return "none yet"
        newest = self.batches[-1].batch.id
        return f"{_short(newest)} {'alerted' if newest in self.alerted else 'published'}"


def look(deployment: Deployment) -> Sight:
    """Ask the customer topic, the tables and the record of alerts.

    Raises:
        BrokerUnreachable, TopicMissing, TopicRefused
    """
    from churn_pipeline.io_managers.scored_batches import Ledger

    state = deployment.topic_batches(deployment.settings.kafka_topic).look()
    alerts, rows = deployment.alerts(), tuple(reversed(Ledger(deployment.table_store()).all()))
    sent = tuple(alert for alert in reversed(alerts.log.recent(limit=1_000)) if alert.channels)
    keys = {alert.key for alert in sent}
    told = frozenset(row.batch.id for row in rows if alerts.completion(row).key in keys)
    messages = sum(state.marks.end.values())
    return Sight(messages, sum(state.lag.values()), state.unfinished, rows, told, sent)


def _short(batch_id: str) -> str:
    """What tells batches of one topic apart."""
    return batch_id.rpartition("-")[2]
