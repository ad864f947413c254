"""Single messages of a topic, read again by their places.

Belongs here: which ranges are worth reading for a few messages, and leaving out what is gone. Does not: why somebody
wants them (`io_managers/replayed_messages.py`, `assets/published.py`), a client (`kafka_reading.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from churn_pipeline.batches import OffsetRange
from churn_pipeline.contract.messages import Place
from churn_pipeline.resources.topics.base import Headers, MessagesLost, Topic

#: Reading on over as many offsets costs less than going to another one.
_GAP = 10_000


class ReadAgain(NamedTuple):
    """A message that is still there; `value` is None for a tombstone, `headers` is empty if they were not asked for."""

    place: Place
    value: bytes | None
    headers: Headers


def read_again(
    topic: Topic, topic_id: str | None, places: Iterable[Place], *, headers: bool = False
) -> Iterator[ReadAgain]:
    """The messages at these places, in the order of the log; those that retention took are left out.

    Args:
        topic_id: of the log that has the places; none of them is in one that was made again.

    Raises:
        BrokerUnreachable, TopicMissing, TopicRefused
    """
    wanted: defaultdict[int, set[int]] = defaultdict(set)
    for partition, offset in places:
        wanted[partition].add(offset)
    if not wanted:
        return
    marks = topic.watermarks()
    if marks.topic_id != topic_id:
        return
    ranges = [
        r
        for partition in sorted(wanted.keys() & marks.end.keys())
        for r in _ranges(topic.name, partition, wanted[partition], marks.low[partition], marks.end[partition])
    ]
    # Lost all the same: retention was faster than the question where the log begins.
    with suppress(MessagesLost):
        for messages in topic.read(ranges, headers=headers):
            found = messages.headers or [()] * len(messages.offsets)
            for offset, value, own in zip(messages.offsets, messages.values, found, strict=True):
                if offset in wanted[messages.partition]:
                    yield ReadAgain((messages.partition, offset), value, own)


def _ranges(topic: str, partition: int, offsets: Iterable[int], low: int, end: int) -> list[OffsetRange]:
    """Ranges of one partition that have all offsets in `[low, end)`, and few others."""
    found: list[OffsetRange] = []
    for offset in sorted(o for o in offsets if low <= o < end):
        start = found.pop().start if found and offset - found[-1].end <= _GAP else offset
        found.append(OffsetRange(topic, partition, start, offset + 1))
    return found
