"""How far a consumer group's batches were published, as the broker keeps it with each committed offset.

Belongs here: the rule by which a batch counts as published, from committed offsets alone. Does not: asking a broker or
telling it (`kafka_publishing.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from churn_pipeline.batches import OffsetBatch

_PREFIX = "batch="
_OF = " topic_id="


@dataclass(frozen=True)
class Bookmark:
    """What the group committed last for one partition.

    Attributes:
        offset: end of the range published last.
        batch_id: that range's batch; None where somebody else committed, such as a plain consumer.
        topic_id: of the topic the range was in.
    """

    offset: int
    batch_id: str | None = None
    topic_id: str | None = None

    @property
    def metadata(self) -> str:
        """What to commit beside the offset."""
        return f"{_PREFIX}{self.batch_id}{_OF}{self.topic_id or ''}"

    @staticmethod
    def read(offset: int, metadata: str | None) -> Bookmark:
        """From what was committed; offsets below 0 stand for none."""
        if not metadata or not metadata.startswith(_PREFIX):
            return Bookmark(offset)
        batch_id, _, topic_id = metadata.removeprefix(_PREFIX).partition(_OF)
        return Bookmark(offset, batch_id, topic_id or None)


def is_published(batch: OffsetBatch, bookmarks: Mapping[int, Bookmark]) -> bool:
    """Whether a batch was published, by what the group committed for its partitions.

    It was if every partition's bookmark is either this batch's own, or another batch's of the same topic that stands at
    the end of the range or after it. All offsets of a batch are committed in one transaction with its messages, so its
    own bookmark proves them; and as the batches of a topic are published in order, one at a time, a later bookmark
    proves all that come before it. So an old batch that is scored again is not published again.

    An offset that somebody else committed proves nothing: a group may have been used by a plain consumer before.
    """
    return all(_covers(bookmarks.get(r.partition), r.end, batch) for r in batch.ranges)


def bookmarks_of(batch: OffsetBatch, before: Mapping[int, Bookmark]) -> dict[int, Bookmark]:
    """What to commit with a batch; a partition that a later batch has passed keeps its bookmark."""
    return {
        r.partition: Bookmark(r.end, batch.id, batch.topic_id)
        for r in batch.ranges
        if not _covers(before.get(r.partition), r.end, batch)
    }


def _covers(mark: Bookmark | None, end: int, batch: OffsetBatch) -> bool:
    if mark is None or mark.batch_id is None:
        return False
    return mark.batch_id == batch.id or (mark.topic_id == batch.topic_id and mark.offset >= end)
