"""What a cluster says of itself, of a topic and of a consumer group, and what it allows this client there.

Belongs here: questions that change nothing, each answered within the connection's timeout. Does not: what is good or
bad about the answers (`cli/examination_kafka.py`), watermarks to plan by (`kafka_reading.py`).

Who asks for permissions asks the broker what it would allow: trying would change something. It does not tell this of a
transactional id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from churn_pipeline.resources.topics.bookmarks import Bookmark
from churn_pipeline.resources.topics.connection import Deadline, KafkaConnection, insist
from churn_pipeline.resources.topics.embedded import is_embedded

if TYPE_CHECKING:
    from confluent_kafka import Consumer
    from confluent_kafka.admin import (  # type: ignore[attr-defined]  # Public by its documentation.
        AdminClient,
        ClusterMetadata,
        TopicMetadata,
    )


@dataclass(frozen=True)
class Partition:
    """Who keeps a partition.

    Attributes:
        has_leader: without one nobody can read or write it.
        replicas, in_sync: copies that there should be, and copies that are up to date.
    """

    has_leader: bool
    replicas: int
    in_sync: int


@dataclass(frozen=True)
class Cluster:
    """A cluster that answered.

    Attributes:
        brokers: `host:port` of each.
        controller: one of them, or None where the cluster does not say.
        topics: those that this client may see, and their partitions; Kafka's own are left out.
    """

    cluster_id: str
    brokers: tuple[str, ...]
    controller: str | None
    topics: Mapping[str, Mapping[int, Partition]]

    @property
    def is_embedded(self) -> bool:
        """Whether it is librdkafka's in-process one, which knows neither permissions nor settings."""
        return is_embedded(self.cluster_id)


@dataclass(frozen=True)
class TopicAnswers:
    """What was said of a topic.

    Attributes:
        low, end: partition → oldest offset kept, and end of the committed ones; a partition without a leader is left
            out.
        settings: such as `retention.ms`; empty where this client may not know them.
        allowed: operations that this client may do, as Kafka writes them, such as `READ`; None where everything is.
    """

    low: Mapping[int, int]
    end: Mapping[int, int]
    settings: Mapping[str, str] = field(default_factory=dict)
    allowed: Collection[str] | None = None


@dataclass(frozen=True)
class GroupAnswers:
    """What was said of a consumer group.

    Attributes:
        bookmarks: partition → what the group committed last; a partition for which it never did is left out.
        members: clients that are subscribed to a topic in the name of this group.
        allowed: see `TopicAnswers`.
    """

    bookmarks: Mapping[int, Bookmark]
    members: int = 0
    allowed: Collection[str] | None = None


def examine_cluster(connection: KafkaConnection) -> Cluster:
    """Ask who is there.

    Raises:
        ConnectionSettingsWrong, BrokerUnreachable, TopicRefused
    """
    with connection.admin("its brokers and topics") as admin:
        # Of all topics: asking for one by name would make it on the embedded broker.
        seen: ClusterMetadata = admin.list_topics(timeout=connection.timeout_seconds)
    brokers = {number: f"{broker.host}:{broker.port}" for number, broker in sorted(seen.brokers.items())}
    topics = {name: _partitions(topic) for name, topic in seen.topics.items() if not name.startswith("__")}
    return Cluster(str(seen.cluster_id), tuple(brokers.values()), brokers.get(seen.controller_id), topics)


def examine_topic(connection: KafkaConnection, cluster: Cluster, name: str) -> TopicAnswers:
    """Ask about a topic, and never make it.

    Raises:
        BrokerUnreachable, TopicMissing
        TopicRefused: this client may not even see it.
    """
    deadline = Deadline(connection.timeout_seconds)
    with connection.admin(f"topic {name!r}") as admin:
        allowed = None if cluster.is_embedded else _allowed_on_topic(admin, name, deadline)
        settings = {} if cluster.is_embedded else _settings(admin, name, deadline)
        led = [p for p, partition in sorted(cluster.topics.get(name, {}).items()) if partition.has_leader]
        low = _offsets(admin, name, led, "earliest", deadline)
        end = _offsets(admin, name, led, "latest", deadline)
    return TopicAnswers(low, end, settings, allowed)


def examine_group(
    connection: KafkaConnection, cluster: Cluster, group: str, topic: str, partitions: Iterable[int]
) -> GroupAnswers:
    """Ask about a consumer group and what it committed for a topic's partitions.

    Raises:
        BrokerUnreachable, TopicMissing
        TopicRefused: this client may not even see it.
    """
    deadline = Deadline(connection.timeout_seconds)
    members, allowed = 0, None
    if not cluster.is_embedded:
        # First: who may not see the group is told so here, where asking for its offsets would only time out.
        with connection.admin(f"consumer group {group!r}") as admin:
            members, allowed = _members(admin, group, deadline)
    # Uncommitted: while a batch is published, the offsets before it are the answer, at once. Not by the admin client,
    # which librdkafka 2.16 crashes with the whole process where the broker asked has stopped keeping the group.
    own = {"group.id": group, "isolation.level": "read_uncommitted", "enable.auto.commit": False}
    with connection.consumer(f"the offsets that group {group!r} committed", own, {}) as consumer:
        return GroupAnswers(_bookmarks(consumer, topic, partitions, deadline), members, allowed)


def _partitions(topic: TopicMetadata) -> dict[int, Partition]:
    return {p: Partition(part.leader >= 0, len(part.replicas), len(part.isrs)) for p, part in topic.partitions.items()}


def _allowed_on_topic(admin: AdminClient, name: str, deadline: Deadline) -> Collection[str] | None:
    from confluent_kafka import TopicCollection

    asked = admin.describe_topics(
        TopicCollection([name]), include_authorized_operations=True, request_timeout=deadline.left
    )
    return _names(asked[name].result().authorized_operations)


def _members(admin: AdminClient, group: str, deadline: Deadline) -> tuple[int, Collection[str] | None]:
    # A cluster that was just started has to agree first who keeps the group.
    found = insist(
        lambda seconds: admin.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=seconds
        )[group].result(),
        deadline,
    )
    return len(found.members), _names(found.authorized_operations)


def _bookmarks(consumer: Consumer, topic: str, partitions: Iterable[int], deadline: Deadline) -> dict[int, Bookmark]:
    from confluent_kafka import KafkaException, TopicPartition

    asked = [TopicPartition(topic, p) for p in partitions]
    found = insist(lambda seconds: consumer.committed(asked, timeout=seconds), deadline)
    if failed := [part.error for part in found if part.error is not None]:
        raise KafkaException(failed[0])
    return {p.partition: Bookmark.read(p.offset, p.metadata) for p in found if p.offset >= 0}


def _names(operations: Iterable[object] | None) -> Collection[str] | None:
    """Operations by Kafka's names; a broker too old to tell leaves them out."""
    return None if operations is None else frozenset(str(getattr(o, "name", o)) for o in operations)


def _settings(admin: AdminClient, name: str, deadline: Deadline) -> dict[str, str]:
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

    topic = ConfigResource(ResourceType.TOPIC, name)
    try:
        found = admin.describe_configs([topic], request_timeout=deadline.left)[topic].result()
    except KafkaException as error:
        if error.args[0].name() != "TOPIC_AUTHORIZATION_FAILED":
            raise
        return {}  # Who may read a topic need not be allowed to know its settings.
    return {entry.name: entry.value for entry in found.values() if entry.value is not None}


def _offsets(
    admin: AdminClient, name: str, partitions: Iterable[int], which: Literal["earliest", "latest"], deadline: Deadline
) -> dict[int, int]:
    from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
    from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

    asked = {TopicPartition(name, p): getattr(OffsetSpec, which)() for p in partitions}
    if not asked:
        return {}
    answers = admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=deadline.left)
    found = {part.partition: answer.result().offset for part, answer in answers.items()}
    if silent := [p for p, offset in found.items() if offset < 0]:
        # An offset below 0 is no answer, though no error came with it.
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no offsets of {name}/{silent[0]}"))
    return found
