"""Which offsets of a topic the next batch holds.

Belongs here: the decision, from plain numbers. Does not: asking a broker (`resources/topics/`), remembering what was
planned (`io_managers/topic_plans.py`), Dagster (`sensors/customer_batches.py`). Ranges are half-open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Self

from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.errors import SourceError, UsageError

#: What becomes of messages that were deleted before they were scored.
GapPolicy = Literal["fail", "record"]
GAP_POLICIES: tuple[GapPolicy, ...] = ("fail", "record")

#: Bytes a message is taken to have while no batch has said how many it really has.
_BYTES_PER_MESSAGE = 1_000


class StartInvalid(UsageError):
    """Where to begin reading a topic is no offset the topic has, or is written in no way that can be read."""


class RetentionGap(SourceError):
    """Messages were deleted before they were scored."""


class TopicRecreated(SourceError):
    """The topic is not the one the ledger knows: it was deleted and made again, or cut off."""


@dataclass(frozen=True)
class Start:
    """Where to begin a topic that was never read.

    Attributes:
        at: the first message that is not older, for `kind` `time`.
        offsets: partition → offset, for `kind` `offsets`; a partition without one begins at its oldest message.
    """

    kind: Literal["earliest", "latest", "time", "offsets"] = "earliest"
    at: datetime | None = None
    offsets: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `earliest`, `latest`, an ISO time (UTC if it names no zone), or `{"0": 100, "1": 250}`.

        Raises:
            StartInvalid: none of these.
        """
        if text in ("earliest", "latest"):
            return cls("earliest" if text == "earliest" else "latest")
        try:
            if text.lstrip().startswith("{"):
                return cls("offsets", offsets={int(p): int(offset) for p, offset in json.loads(text).items()})
            at = datetime.fromisoformat(text)
        except (ValueError, TypeError):
            raise StartInvalid(
                f"{text!r} does not say where to begin. Write earliest, latest, a time such as 2026-11-01T00:00:00Z, "
                'or offsets such as {"0": 100, "1": 250}.'
            ) from None
        return cls("time", at if at.tzinfo else at.replace(tzinfo=UTC))


def first_offsets(
    topic: str, start: Start, low: Mapping[int, int], end: Mapping[int, int], at_time: Mapping[int, int]
) -> dict[int, int]:
    """Partition → the offset to begin with, of a topic that was never read.

    Args:
        low, end: partition → oldest offset kept, and last stable offset.
        at_time: partition → first offset that is not older than `start.at`; only read for `time`.

    Raises:
        StartInvalid: an explicit offset is not in the log, or its partition does not exist.
    """
    if start.kind != "offsets":
        return dict({"earliest": low, "latest": end, "time": at_time}[start.kind])
    for partition, offset in start.offsets.items():
        if partition not in end:
            raise StartInvalid(f"{topic} has no partition {partition}; it has {len(end)}. Correct where to begin.")
        if not low[partition] <= offset <= end[partition]:
            raise StartInvalid(
                f"{topic}/{partition} cannot begin at offset {offset}: its log has {low[partition]}-{end[partition]}. "
                "Correct where to begin."
            )
    return {p: start.offsets.get(p, low[p]) for p in end}


def positions(batches: Iterable[OffsetBatch]) -> dict[int, int]:
    """Partition → first offset that no batch accounts for; a partition no batch has is left out."""
    found: dict[int, int] = {}
    for batch in batches:
        for r in batch.ranges:
            found[r.partition] = max(found.get(r.partition, 0), r.end)
    return found


def lost_ranges(
    topic: str, position: Mapping[int, int], low: Mapping[int, int], policy: GapPolicy
) -> tuple[OffsetRange, ...]:
    """What was deleted before it was scored, to be recorded as lost.

    Raises:
        RetentionGap: something was, and the policy is `fail`.
    """
    gaps = tuple(
        OffsetRange(topic, p, position[p], low[p]) for p in sorted(low) if p in position and low[p] > position[p]
    )
    if gaps and policy == "fail":
        said = ", ".join(f"{topic}/{g.partition}: offsets {g.start}-{g.end}" for g in gaps)
        raise RetentionGap(
            f"{said} were deleted before they were scored. Raise the topic's retention; "
            "set CHURN_KAFKA_RETENTION_GAP=record to go on and record the loss."
        )
    return gaps


def other_log(known_id: str | None, topic_id: str | None, position: Mapping[int, int], end: Mapping[int, int]) -> str:
    """Why the log is not the one that was read, in words; empty if it is.

    Args:
        known_id, topic_id: the broker's id of the topic when it was read, and now; None where the broker has none.
    """
    if known_id and topic_id and known_id != topic_id:
        return "has another id than when it was read"
    for partition, offset in sorted(position.items()):
        if partition not in end:
            return f"has no partition {partition} any more, which was read up to offset {offset}"
        if end[partition] < offset:
            return f"ends at offset {end[partition]} in partition {partition}, which was read up to offset {offset}"
    return ""


def require_same_log(topic: str, why_other: str, policy: GapPolicy) -> None:
    """Stop where the log is not the one that was read (`other_log`).

    Raises:
        TopicRecreated: it is not, and the policy is `fail`.
    """
    if why_other and policy == "fail":
        raise TopicRecreated(
            f"Topic {topic} {why_other}: it was made again or cut off. Find out what was lost; set "
            "CHURN_KAFKA_RETENTION_GAP=record to begin the new one at its oldest message and record that."
        )


def next_ranges(
    topic: str, position: Mapping[int, int], low: Mapping[int, int], end: Mapping[int, int], limit: int
) -> tuple[OffsetRange, ...]:
    """The next batch of a topic: all that is there, up to a limit.

    Args:
        position: partition → first offset not accounted for; a partition added since begins at its oldest message.
        low, end: partition → oldest offset kept, and last stable offset.
        limit: most offsets, shared over partitions by backlog, and never nothing for one that has some.

    Returns:
        One range a partition that has something, by partition; none if nothing is new.
    """
    starts = {p: max(position.get(p, low[p]), low[p]) for p in end}
    backlog = {p: end[p] - starts[p] for p in sorted(end) if end[p] > starts[p]}
    total, each = sum(backlog.values()), len(backlog)
    share = backlog
    if total > limit:
        spare = max(0, limit - each)
        share = {p: 1 + (n - 1) * spare // max(1, total - each) for p, n in backlog.items()}
    return tuple(OffsetRange(topic, p, starts[p], starts[p] + n) for p, n in share.items())


def offset_limit(messages: int, size: int, seen: tuple[int, int] | None) -> int:
    """Most offsets of a batch.

    Args:
        messages, size: most messages, and most bytes.
        seen: messages and bytes of earlier batches, which say how many bytes a message has; None before the first.
    """
    each = max(1, seen[1] // max(1, seen[0])) if seen else _BYTES_PER_MESSAGE
    return max(1, min(messages, size // each))
