"""Dead letters, sent to their topic again: what was mended meanwhile is scored, the rest fails again and says so.

A replay changes no table of scores: the messages come back as new ones of the topic, and the ordinary sensor and run
score them.

Belongs here: the order in which dead letters are claimed, sent and noted. Does not: which of them can be
(`io_managers/failed_messages.py`), the table (`io_managers/replayed_messages.py`), the transaction
(`resources/topics/`), words for people (`cli/replay_dead_letters.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from churn_pipeline.batches import OffsetRange
from churn_pipeline.contract.definition import nearest
from churn_pipeline.deployments import Deployment
from churn_pipeline.io_managers.base import TableStore
from churn_pipeline.io_managers.failed_messages import FailedMessages, Letters, Wanted
from churn_pipeline.io_managers.replayed_messages import REPLAY, FailedMessage, Replay, ReplayedMessages
from churn_pipeline.resources.topics.base import MessagesLost, Publisher, PublishingFailed, Topic
from churn_pipeline.resources.topics.connection import Deadline
from churn_pipeline.resources.topics.kafka_publishing import KafkaPublisher
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline.runs import BatchUnknown

#: A replay ends with the message that makes it this many, or this many bytes: it is held in memory.
MOST_MESSAGES = 100_000
MOST_BYTES = 64 * 1024**2

#: How long readers may take to see what was committed.
_SETTLING_SECONDS = 5.0
_WAIT_SECONDS = 0.1


class ReplayNotSent(PublishingFailed):
    """A replay is claimed, and it is not known to be in the topic; the next command finishes it."""


@dataclass(frozen=True)
class Selection:
    """What was found for a wish, batch by batch, the oldest first; batches without such letters are left out."""

    wanted: Wanted
    batches: tuple[Letters, ...]

    @property
    def to_send(self) -> int:
        """Messages to send."""
        return sum(letters.to_send for letters in self.batches)


class Replays:
    """Replays of one topic's dead letters.

    Args:
        publisher_of: makes the publisher for the replay of an id, with a consumer group that no other replay has.
        id_column: the contract's.
        message_bytes: larger messages would be rejected unread.
    """

    def __init__(
        self,
        topic: Topic,
        store: TableStore,
        publisher_of: Callable[[str], Publisher],
        *,
        id_column: str,
        message_bytes: int,
    ) -> None:
        self._topic = topic
        self._failed = FailedMessages(topic, store, id_column=id_column, message_bytes=message_bytes)
        self._table = ReplayedMessages(store, topic.name)
        self._publisher_of = publisher_of

    def find(self, wanted: Wanted) -> Selection:
        """Count what would be sent; nothing is written.

        Raises:
            BatchUnknown: the batch that is named is none of this topic's.
            BrokerUnreachable, TopicMissing, TopicRefused
        """
        rows, counted = self._failed.batches(), list[Letters]()
        known = [row.batch.id for row in rows]
        if wanted.batch_id is not None and wanted.batch_id not in known:
            raise BatchUnknown(
                f"The ledger has no batch {wanted.batch_id!r} of topic {self._topic.name}"
                f"{nearest(wanted.batch_id, known)}. churn-pipeline batches lists those that are done."
            )
        for _ in self._failed.messages([row for row in rows if wanted.takes(row)], wanted, counted):
            pass
        return Selection(wanted, tuple(found for found in counted if found.to_send or found.left_out))

    def unfinished(self) -> list[Replay]:
        """Replays that were claimed and are not known to be sent: whoever began them died, or is at it."""
        return [replay for replay in self._table.replays() if not replay.is_sent]

    def finish(self) -> Iterator[Replay]:
        """Send what was claimed and not sent, and note what was sent and not noted.

        Raises:
            ReplayNotSent: see there.
        """
        for replay in self.unfinished():
            # The bookmark of a group is forgotten in time, the log remembers; and what it shows need not be sent.
            if (after := self._log_after(replay)) is None:
                self._send(replay)
            else:
                self._table.note_sent(replay, after)
            yield replay

    def replay(self, selection: Selection) -> Iterator[Replay]:
        """Claim and send what was found, as far as nobody else has claimed it meanwhile.

        Raises:
            ReplayNotSent: see there.
        """
        found = {letters.batch_id for letters in selection.batches if letters.to_send}
        rows = [row for row in self._failed.batches() if row.batch.id in found]
        messages = self._failed.messages(rows, selection.wanted, [])
        while portion := _portion(messages):
            replay = Replay.begin(self._topic.name, self._topic.watermarks(), len(portion), datetime.now(UTC))
            if self._table.claim(replay, portion):
                self._send(replay)
                yield replay
            else:
                # Somebody else was faster with some of them: see what is left.
                messages.close()
                messages = self._failed.messages(rows, selection.wanted, [])

    def _send(self, replay: Replay) -> None:
        """Publish a claimed replay, unless that was done, and note it."""
        try:
            with closing(self._table.outgoing(replay)) as messages:
                self._publisher_of(replay.id).publish(replay, messages)
        except PublishingFailed as error:
            reason = str(error).partition(". ")[0]
            raise ReplayNotSent(
                f"Replay {replay.id} ({replay.messages:,} messages) is claimed, and is not known to be sent: {reason}. "
                "Remove the cause and run churn-pipeline replay-dead-letters again, which first finishes this replay; "
                "nothing is sent twice."
            ) from error
        deadline = Deadline(_SETTLING_SECONDS)
        while (after := self._log_after(replay)) is None and not deadline.over:
            time.sleep(_WAIT_SECONDS)
        self._table.note_sent(replay, after)

    def _log_after(self, replay: Replay) -> Mapping[int, int] | None:
        """Partition → end of the log behind the replay's last message; None if it does not show all of them."""
        marks = self._topic.watermarks()
        before = replay.log_before if marks.topic_id == replay.topic_id else {}
        starts = {p: max(low, before.get(p, 0)) for p, low in marks.low.items()}
        ranges = [OffsetRange(self._topic.name, p, starts[p], end) for p, end in marks.end.items() if starts[p] < end]
        count, after = 0, dict.fromkeys(marks.end, 0)
        try:
            for messages in self._topic.read(ranges, headers=True):
                for offset, headers in zip(messages.offsets, messages.headers or (), strict=True):
                    if (REPLAY, replay.id.encode()) in headers:
                        count += 1
                        after[messages.partition] = offset + 1
        except MessagesLost:
            return None
        return after if count >= replay.messages else None


def replays_of(deployment: Deployment, topic: str) -> Replays:
    """Replays of a topic of a deployment."""
    settings = deployment.settings
    connection, group = settings.connection(), settings.kafka_group
    return Replays(
        KafkaTopic(connection, topic, group),
        deployment.table_store(),
        lambda replay_id: KafkaPublisher(connection, f"{group}.{replay_id}"),
        id_column=deployment.contract().id.column,
        message_bytes=settings.message_limits().bytes,
    )


def _portion(messages: Iterator[FailedMessage]) -> list[FailedMessage]:
    """The next ones, as many as a replay may have."""
    taken, size = list[FailedMessage](), 0
    for message in messages:
        taken.append(message)
        size += len(message.value)
        if len(taken) == MOST_MESSAGES or size >= MOST_BYTES:
            break
    return taken
