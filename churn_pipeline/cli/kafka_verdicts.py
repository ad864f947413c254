"""What answers of a Kafka cluster mean to the person who runs this: fine, worth a look, or a fault, and what to do.

Belongs here: judging answers. Does not: asking (`examination_kafka.py`, `resources/topics/kafka_examination.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from churn_pipeline.checks import topic_checks
from churn_pipeline.cli.findings import Finding, Status, span
from churn_pipeline.cli.report import count, size
from churn_pipeline.contract.definition import nearest
from churn_pipeline.contract.messages import DEAD_LETTER_BYTES
from churn_pipeline.io_managers.topic_batches import TopicState
from churn_pipeline.resources.topics.bookmarks import is_published
from churn_pipeline.resources.topics.embedded import LIMITS
from churn_pipeline.resources.topics.kafka_examination import Cluster, GroupAnswers, Partition, TopicAnswers

#: Who finds out on a Monday what broke on Friday evening needs more; less than this is hardly meant.
_SHORTEST_RETENTION_MS = 24 * 3600 * 1000
#: Headers of a dead letter are counted too.
_HEADERS_BYTES = 100_000
_PARTITIONS_SHOWN = 6

_LATE = {
    "customer_messages_are_scored_in_time": "See that something scores it: sensor customer_batches, or "
    "churn-pipeline score kafka:TOPIC. Raise CHURN_KAFKA_BATCH_MESSAGES to catch up faster.",
    "customer_messages_have_head_room": "Score it now, or raise its retention, before messages are deleted unread.",
}


@dataclass(frozen=True)
class Role:
    """What a topic is for.

    Attributes:
        setting: the environment variable that names it.
        needs: the operation that this client must be allowed, as Kafka writes it.
        threats: a topic's settings → what is wrong with them, and what to set.
    """

    subject: str
    name: str
    setting: str
    needs: str
    threats: Callable[[Mapping[str, str]], list[str]]


def customers(name: str, setting: str) -> Role:
    """The topic that customer records come in by."""
    return Role("customer topic", name, setting, "READ", _threats_to_customers)


def predictions(name: str) -> Role:
    """The topic that scores go to."""
    return Role("predictions topic", name, "CHURN_KAFKA_PREDICTIONS_TOPIC", "WRITE", lambda _: [])


def dead_letters(name: str) -> Role:
    """The topic that messages go to which were not scored."""
    return Role("dead letter topic", name, "CHURN_KAFKA_DEAD_LETTER_TOPIC", "WRITE", _threats_to_dead_letters)


def of_cluster(cluster: Cluster) -> Finding:
    """Who answered; of the embedded broker, what to know."""
    brokers = f"{count(len(cluster.brokers), 'broker')}, {', '.join(cluster.brokers)}"
    if cluster.is_embedded:
        limits = "\n".join(f"- {limit}" for limit in LIMITS)
        found = f"{cluster.cluster_id}: the embedded broker at {', '.join(cluster.brokers)}. Its limits:\n{limits}"
        return Finding("kafka", "look", found, "Use Apache Kafka where no message may be lost or come twice.")
    led = f"; controller {cluster.controller}" if cluster.controller else ""
    return Finding("kafka", "ok", f"Cluster {cluster.cluster_id}: {brokers}{led}.")


def of_missing_topic(role: Role, cluster: Cluster) -> Finding:
    """A topic that is not there."""
    found = f"There is no topic {role.name!r}{nearest(role.name, list(cluster.topics))}."
    if cluster.is_embedded:
        return Finding(role.subject, "look", found, "It is made with its first message.")
    return Finding(role.subject, "fault", found, f"Create it, or correct {role.setting}.")


def of_topic(role: Role, partitions: Mapping[int, Partition], answers: TopicAnswers) -> Finding:
    """A topic's partitions and what it keeps."""
    low, end = answers.low, answers.end
    shown = ", ".join(f"{p}/{low[p]}-{end[p]}" for p in sorted(end)[:_PARTITIONS_SHOWN])
    more = ", …" if len(end) > _PARTITIONS_SHOWN else ""
    copies = min((part.replicas for part in partitions.values()), default=0)
    found = (
        f"{role.name}: {count(len(partitions), 'partition')} ({shown}{more}), {count(copies, 'replica')} each; "
        f"{count(sum(end[p] - low[p] for p in end), 'message')} kept{_how_long(answers.settings)}."
    )
    leaderless = [p for p, part in partitions.items() if not part.has_leader]
    behind = [p for p, part in partitions.items() if part.has_leader and part.in_sync < part.replicas]
    fixes = role.threats(answers.settings)
    if behind:
        fixes.insert(0, f"{_some(behind)} lacking copies that are up to date: see that every broker runs.")
    if leaderless:
        fixes.insert(0, f"{_some(leaderless)} without a leader: start the brokers that keep them.")
    status: Status = "fault" if leaderless else "look" if fixes else "ok"
    return Finding(role.subject, status, found, " ".join(fixes))


def of_lag(state: TopicState) -> Finding:
    """How far scoring is behind, by the checks that the sensor makes too."""
    results = topic_checks(state)
    waiting = {p: n for p, n in state.lag.items() if n > 0}
    worst = max(waiting, key=lambda p: (waiting[p], -p), default=None)
    most = "" if worst is None or len(waiting) == 1 else f" Most, {waiting[worst]:,}, in partition {worst}."
    batch = state.unfinished
    planned = f" Batch {batch.id} was planned and is not done." if batch else ""
    fixes = [_LATE[str(result.check_name)] for result in results if not result.passed]
    said = " ".join(str(result.description) for result in results)
    return Finding("lag", "look" if fixes else "ok", f"{said}{most}{planned}", " ".join(fixes))


def of_publishing(group: str, answers: GroupAnswers, state: TopicState | None) -> Finding:
    """How far batches were published, as the group's committed offsets have it.

    Args:
        state: of the topic that the batches come from; None where it cannot be asked.
    """
    marks = answers.bookmarks
    shown = ", ".join(f"{p}/{marks[p].offset}" for p in sorted(marks)[:_PARTITIONS_SHOWN])
    more = ", …" if len(marks) > _PARTITIONS_SHOWN else ""
    found = f"Group {group}: {f'published up to {shown}{more}' if marks else 'nothing was published'}."
    fixes = []
    if answers.members or any(mark.batch_id is None for mark in marks.values()):
        fixes.append("Somebody else uses this group: set CHURN_KAFKA_GROUP to one of the pipeline's own.")
    last = state.plan.batch if state and state.plan and state.plan.is_finished else None
    if last and not is_published(last, marks):
        fixes.append(f"Batch {last.id} is scored and was not published: execute its run again if it should be.")
    return Finding("publishing", "look" if fixes else "ok", found, " ".join(fixes))


def of_permissions(
    allowed: Mapping[Role, Collection[str] | None],
    groups: Mapping[str, Collection[str] | None],
    transactional_ids: Iterable[str],
) -> Finding:
    """Whether this client may do what it has to.

    Args:
        allowed, groups: topic, and consumer group → operations that this client may do; None: everything.
        transactional_ids: those that publishing uses.
    """
    needed = [(role.needs, f"topic {role.name}", may) for role, may in allowed.items()]
    needed += [("READ", f"group {group}", may) for group, may in groups.items()]
    asked = {f"{operation.capitalize()} on {what}": may is None or operation in may for operation, what, may in needed}
    ids = ", ".join(transactional_ids)
    unknown = f" Publishing needs Write on transactional id {ids} too; Kafka does not tell of it." if ids else ""
    if missing := [permission for permission, given in asked.items() if not given]:
        found = f"This client has no {', no '.join(missing)}."
        return Finding("permissions", "fault", found, f"Give it to this user.{unknown}")
    return Finding("permissions", "ok", f"{', '.join(asked)}.{unknown}")


def _threats_to_customers(settings: Mapping[str, str]) -> list[str]:
    policy, kept = settings.get("cleanup.policy", ""), int(settings.get("retention.ms", -1))
    found = []
    if "compact" in policy:
        found.append("Compaction deletes messages before they may be scored: set cleanup.policy=delete.")
    if 0 <= kept < _SHORTEST_RETENTION_MS and policy != "compact":
        found.append(f"Messages are deleted after {span(kept / 1000)}, scored or not: raise retention.ms to days.")
    return found


def _threats_to_dead_letters(settings: Mapping[str, str]) -> list[str]:
    needed, found = DEAD_LETTER_BYTES + _HEADERS_BYTES, []
    if "compact" in settings.get("cleanup.policy", ""):
        found.append("A compacted topic refuses letters without a key: set cleanup.policy=delete.")
    if int(settings.get("max.message.bytes", needed)) < needed:
        found.append(f"A letter may be larger than it takes: raise max.message.bytes to {needed}.")
    return found


def _how_long(settings: Mapping[str, str]) -> str:
    policy, kept = settings.get("cleanup.policy"), int(settings.get("retention.ms", -1))
    most = int(settings.get("retention.bytes", -1))
    if policy is None:
        return ""
    if policy == "compact":
        return ", the newest of each key for ever"
    for_long = "for ever" if kept < 0 else f"for {span(kept / 1000)}"
    return f" {for_long}" + (f", up to {size(most)} a partition" if most >= 0 else "")


def _some(partitions: Collection[int]) -> str:
    many = "Partitions" if len(partitions) > 1 else "Partition"
    verb = "are" if len(partitions) > 1 else "is"
    shown = ", ".join(map(str, sorted(partitions)[:_PARTITIONS_SHOWN]))
    return f"{many} {shown}{', …' if len(partitions) > _PARTITIONS_SHOWN else ''} {verb}"
