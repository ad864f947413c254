"""What `doctor` looks at in Kafka: the cluster, the topics of this deployment, lag, what was published, permissions.

Belongs here: which questions are asked, in which order, and for how long. Does not: asking one
(`resources/topics/kafka_examination.py`), what an answer means (`kafka_verdicts.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial

from churn_pipeline.batches import TOPIC_SCHEME
from churn_pipeline.cli import kafka_verdicts
from churn_pipeline.cli.findings import Finding, found_by
from churn_pipeline.cli.kafka_verdicts import Role
from churn_pipeline.deployments import Deployment, Settings
from churn_pipeline.errors import ChurnPipelineError
from churn_pipeline.io_managers.topic_batches import NothingToScore, TopicState
from churn_pipeline.resources.topics.base import TopicMissing, TopicRefused
from churn_pipeline.resources.topics.connection import Deadline
from churn_pipeline.resources.topics.kafka_examination import (
    Cluster,
    examine_cluster,
    examine_group,
    examine_topic,
)

#: All questions together may take so many times as long as one of them.
_PATIENCE = 3


def kafka_findings(deployment: Deployment) -> list[Finding]:
    """Look at Kafka, if any setting names it; a broker that does not answer is waited for once."""
    settings = deployment.settings
    reads, writes = list(_read_topics(settings)), list(_written_topics(settings))
    if not (settings.kafka_servers or reads or writes):
        return [Finding("kafka", "ok", "Not used: KAFKA_BOOTSTRAP_SERVERS is not set.")]
    try:
        deadline = Deadline(_PATIENCE * settings.timeout())
        bounded = Deployment(lambda: _within(settings, deadline))
        cluster = examine_cluster(bounded.settings.connection())
    except ChurnPipelineError as error:
        return [Finding("kafka", "fault", "", str(error))]
    return _Examination(bounded, cluster, reads, writes).findings()


def _within(settings: Settings, deadline: Deadline) -> Settings:
    """The settings with no more time than is left."""
    return replace(settings, kafka_timeout=f"{min(settings.timeout(), deadline.left):.3f}")


def _read_topics(settings: Settings) -> Iterator[Role]:
    named = {settings.kafka_topic: "CHURN_KAFKA_TOPIC"} if settings.kafka_topic else {}
    if settings.source.startswith(TOPIC_SCHEME):
        named.setdefault(settings.source.removeprefix(TOPIC_SCHEME), "CHURN_SOURCE")
    return (kafka_verdicts.customers(name, setting) for name, setting in named.items())


def _written_topics(settings: Settings) -> Iterator[Role]:
    if settings.kafka_predictions:
        yield kafka_verdicts.predictions(settings.kafka_predictions)
    if settings.kafka_dead_letters:
        yield kafka_verdicts.dead_letters(settings.kafka_dead_letters)


class _Examination:
    """What a cluster that answered is asked; each answer may be needed for more than one finding."""

    def __init__(self, deployment: Deployment, cluster: Cluster, reads: list[Role], writes: list[Role]) -> None:
        self._deployment = deployment
        self._cluster = cluster
        self._reads = reads
        self._writes = writes
        self._found = [kafka_verdicts.of_cluster(cluster)]
        # Topic, and consumer group → what may be done there. One that cannot be asked about is left out.
        self._topics: dict[Role, Collection[str] | None] = {}
        self._groups: dict[str, Collection[str] | None] = {}
        self._states: dict[str, TopicState] = {}

    def findings(self) -> list[Finding]:
        """All findings, the cluster first."""
        for role in (*self._reads, *self._writes):
            self._look(role.subject, partial(self._topic, role))
        for role in self._reads:
            if self._can_be_read(role):
                self._look("lag", partial(self._lag, role.name))
            if self._writes and role in self._topics:
                self._look("publishing", partial(self._publishing, role.name))
        if not self._cluster.is_embedded and (self._topics or self._groups):
            self._found.append(kafka_verdicts.of_permissions(self._topics, self._groups, self._transactional_ids()))
        return self._found

    def _look(self, subject: str, look: Callable[[], Finding]) -> None:
        self._found.append(found_by(subject, look, self._found))

    def _topic(self, role: Role) -> Finding:
        partitions = self._cluster.topics.get(role.name, {})
        if self._cluster.is_embedded and not partitions:
            return kafka_verdicts.of_missing_topic(role, self._cluster)
        try:
            answers = examine_topic(self._deployment.settings.connection(), self._cluster, role.name)
        except TopicMissing:
            return kafka_verdicts.of_missing_topic(role, self._cluster)
        except TopicRefused:
            self._topics[role] = frozenset()
            raise
        self._topics[role] = answers.allowed
        return kafka_verdicts.of_topic(role, partitions, answers)

    def _can_be_read(self, role: Role) -> bool:
        partitions = self._cluster.topics.get(role.name, {})
        return bool(partitions) and all(part.has_leader for part in partitions.values())

    def _lag(self, topic: str) -> Finding:
        batches = self._deployment.topic_batches(topic)
        state = self._states[topic] = batches.look()
        with suppress(NothingToScore):
            batches.next()  # Writes nothing, and raises what keeps the next batch from being planned.
        return kafka_verdicts.of_lag(state)

    def _publishing(self, topic: str) -> Finding:
        settings = self._deployment.settings
        # A client that may not see the topic may still be told what it may do with the group.
        group, partitions = settings.kafka_group, sorted(self._cluster.topics.get(topic, [0]))
        try:
            answers = examine_group(settings.connection(), self._cluster, group, topic, partitions)
        except TopicRefused:
            self._groups[group] = frozenset()
            raise
        self._groups[group] = answers.allowed
        return kafka_verdicts.of_publishing(group, answers, self._states.get(topic))

    def _transactional_ids(self) -> list[str]:
        group = self._deployment.settings.kafka_group
        return [f"{group}:{role.name}" for role in self._reads] if self._writes else []
