"""A topic of a Kafka cluster, read by ranges of offsets.

Belongs here: where a log begins and ends, and exactly the messages in between. Does not: getting in
(`connection.py`), publishing (`kafka_publishing.py`), what is in a message (`resources/customer_sources/`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from churn_pipeline.batches import OffsetRange
from churn_pipeline.contract.definition import nearest
from churn_pipeline.resources.topics.base import (
    MESSAGES_PER_CHUNK,
    Messages,
    Topic,
    TopicMissing,
    Watermarks,
    in_chunks,
)
from churn_pipeline.resources.topics.connection import Deadline, KafkaConnection, insist
from churn_pipeline.resources.topics.embedded import is_embedded

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Message

#: More in one call cost more a message, not less.
_FETCHED = 1_000
_WAIT_SECONDS = 0.02
#: librdkafka's offset for "the end of the log", which is its answer where no message is young enough.
_END = -1

_OWN: dict[str, Any] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    # Without it a gap left by retention would be jumped without a word.
    "auto.offset.reset": "error",
    # Without it a damaged message would be passed over without a word.
    "check.crcs": True,
}
_USUAL: dict[str, Any] = {
    # By default the client sleeps for a second when its queue is full, and asks the broker to wait for half a second
    # at the end of a log.
    "fetch.queue.backoff.ms": 10,
    "fetch.wait.max.ms": 20,
    # Holds memory flat: 64 MB a client by default, and one message may have 10.
    "queued.max.messages.kbytes": 16_384,
    "reconnect.backoff.max.ms": 1_000,
}
#: Errors of a fetch that end by themselves, or else are reported when patience does.
_PASSING = (
    "_ALL_BROKERS_DOWN",
    "_PARTITION_EOF",
    "_TIMED_OUT",
    "_TRANSPORT",
    "LEADER_NOT_AVAILABLE",
    "NOT_LEADER_FOR_PARTITION",
    "OFFSET_NOT_AVAILABLE",
    "REQUEST_TIMED_OUT",
    "UNKNOWN_TOPIC_OR_PART",
)

#: How a broker too old to have ids writes one.
_NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"


class KafkaTopic(Topic):
    """A topic of Apache Kafka, or of anything that speaks its protocol.

    Args:
        connection: the cluster. `connection.timeout_seconds` holds for `watermarks` and for `offsets_at` as a whole.
        name: the topic's.
        group: consumer group that clients name; nothing is committed to it and nobody joins it.
        patience_seconds: how long `read` waits for a broker that gives nothing, such as one that is started again.
    """

    def __init__(
        self, connection: KafkaConnection, name: str, group: str = "churn-pipeline", patience_seconds: float = 60.0
    ) -> None:
        self.name = name
        self._connection = connection
        self._group = group
        self._patience = patience_seconds

    def watermarks(self) -> Watermarks:
        """Where the log begins and ends now; see `Topic.watermarks`."""
        deadline = Deadline(self._connection.timeout_seconds)
        with self._consumer(f"where topic {self.name!r} begins and ends") as consumer:
            marks, cluster_id = self._marks(consumer, deadline)
        # The embedded broker would not answer: it has no ids.
        return marks if is_embedded(cluster_id) else replace(marks, topic_id=self._topic_id(deadline))

    def offsets_at(self, at: datetime) -> dict[int, int]:
        """First offsets not older than `at`; see `Topic.offsets_at`. The embedded broker knows no times: its ends."""
        from confluent_kafka import TopicPartition

        deadline = Deadline(self._connection.timeout_seconds)
        with self._consumer(f"offsets of topic {self.name!r} at {at.isoformat()}") as consumer:
            marks, _ = self._marks(consumer, deadline)
            asked = [TopicPartition(self.name, p, math.ceil(at.timestamp() * 1000)) for p in marks.end]
            found = {}
            for part in consumer.offsets_for_times(asked, timeout=deadline.left):
                _raise(part.error)
                found[part.partition] = part.offset
        # A message of a transaction that is still open lies past the end.
        return {p: end if found[p] == _END else min(found[p], end) for p, end in marks.end.items()}

    def read(
        self, ranges: Sequence[OffsetRange], chunk: int = MESSAGES_PER_CHUNK, *, headers: bool = False
    ) -> Iterator[Messages]:
        """Exactly the committed messages of the ranges; see `Topic.read`."""
        wanted = [r for r in ranges if r.offsets]
        if not wanted:
            return
        with self._consumer(f"messages {', '.join(map(str, wanted))}") as consumer:
            marks, _ = self._marks(consumer, Deadline(self._patience))
            marks.check_holds(wanted)
            for r in wanted:
                yield from (_columns(r, part, headers) for part in in_chunks(self._messages(consumer, r), chunk))

    def _messages(self, consumer: Consumer, r: OffsetRange) -> Iterator[list[Message]]:
        """The range's messages as they arrive, until everything below its end was passed."""
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        here = TopicPartition(r.topic, r.partition, r.start)
        consumer.assign([here])
        reached, moved_at, trouble = r.start, time.monotonic(), None
        while reached < r.end:
            arrived = consumer.consume(min(_FETCHED, r.end - reached), _WAIT_SECONDS)
            fetched = [m for m in arrived if m.partition() == r.partition]
            if good := [m for m in fetched if m.error() is None and m.offset() < r.end]:  # type: ignore[operator]
                yield good
            # The position passes over what holds no message, an end on a marker or in a gap too.
            passed = [p.offset for p in consumer.position([here])]
            if len(good) < len(fetched):
                passed += [_reached(m) for m in fetched if m.error() is not None or m.offset() >= r.end]  # type: ignore[operator]
                trouble = next((m.error() for m in fetched if m.error() is not None), trouble)
            if max(passed) > reached:
                reached, moved_at, trouble = max(passed), time.monotonic(), None
            elif time.monotonic() - moved_at > self._patience:
                code = trouble.code() if trouble else KafkaError._TIMED_OUT
                reason = f"nothing came of {r} after offset {reached} for {self._patience:g} s"
                raise KafkaException(KafkaError(code, reason))

    def _marks(self, consumer: Consumer, deadline: Deadline) -> tuple[Watermarks, str]:
        """Watermarks without the topic's id, and the cluster's id."""
        from confluent_kafka import KafkaError, TopicPartition

        # Asked afresh: what a client remembers may lack a new partition for minutes.
        seen = consumer.list_topics(self.name, timeout=deadline.left)
        error, parts = seen.topics[self.name].error, seen.topics[self.name].partitions
        if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise self._missing(consumer, deadline)
        _raise(error)
        low, end = {}, {}
        for p in sorted(parts):
            # A topic that was made a moment ago is listed before all its partitions are led.
            low[p], end[p] = insist(partial(consumer.get_watermark_offsets, TopicPartition(self.name, p)), deadline)
            # An offset below 0 is no answer, though no error came with it.
            _raise(
                None
                if min(low[p], end[p]) >= 0
                else KafkaError(KafkaError._TIMED_OUT, f"no offsets of {self.name}/{p}")
            )
        return Watermarks(None, low, end), seen.cluster_id

    def _topic_id(self, deadline: Deadline) -> str | None:
        from confluent_kafka import TopicCollection

        with self._connection.admin(f"the id of topic {self.name!r}") as admin:
            asked = admin.describe_topics(TopicCollection([self.name]), request_timeout=deadline.left)
            # Waits for the answer or for the request's own timeout: one given here would be an error of another kind.
            topic_id = str(asked[self.name].result().topic_id)
        return None if topic_id == _NO_ID else topic_id

    def _missing(self, consumer: Consumer, deadline: Deadline) -> TopicMissing:
        there = [name for name in consumer.list_topics(timeout=deadline.left).topics if not name.startswith("__")]
        return TopicMissing(
            f"Kafka at {self._connection.bootstrap_servers} has no topic {self.name!r}{nearest(self.name, there)}. "
            "Create it, correct the name, or allow this client to see it."
        )

    def _consumer(self, what: str) -> AbstractContextManager[Consumer]:
        return self._connection.consumer(what, {**_OWN, "group.id": self._group}, _USUAL)


def _columns(r: OffsetRange, messages: Sequence[Message], headers: bool) -> Messages:
    return Messages(
        r.topic,
        r.partition,
        [m.offset() for m in messages],  # type: ignore[misc]
        [m.timestamp()[1] for m in messages],
        [m.value() for m in messages],
        [m.headers() or () for m in messages] if headers else None,  # type: ignore[misc]
    )


def _reached(message: Message) -> int:
    """What a message after the range, or a report in place of one, says of how far the log was passed.

    Raises:
        KafkaException: it is an error that does not end by itself.
    """
    error = message.error()
    if error is not None and error.name() not in _PASSING:
        _raise(error)
    is_place = error is None or error.code() == error._PARTITION_EOF
    return message.offset() if is_place else -1  # type: ignore[return-value]


def _raise(error: KafkaError | None) -> None:
    from confluent_kafka import KafkaException

    if error is not None:
        raise KafkaException(error)
