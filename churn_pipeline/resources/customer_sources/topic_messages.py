"""Messages of a topic as customer rows.

Belongs here: the source, which reads exactly a batch's offsets. Does not: a client (`resources/topics/`), what is in a
message (`json_messages.py`), which offsets come next (given by whoever makes this).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing

from churn_pipeline.batches import TOPIC_SCHEME, Batch, OffsetBatch
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.errors import UsageError
from churn_pipeline.read_ahead import read_ahead
from churn_pipeline.resources.customer_sources.base import CustomerSource
from churn_pipeline.resources.topics.base import Messages, Topic

#: Reads messages of one partition as rows.
ReadMessages = Callable[[Messages], Iterator[SourceRows]]

#: Makes a reader for a contract, with or without its label.
MessageFormat = Callable[[Contract, bool], ReadMessages]


class LimitOnTopic(UsageError):
    """A topic was asked for its first so many rows."""


class Planner(ABC):
    """Gives each offset of a topic to one batch."""

    @abstractmethod
    def next(self) -> OffsetBatch:
        """The batch to score now: the unfinished one, or all that is new. Nothing is written."""

    @abstractmethod
    def claim(self, batch: OffsetBatch) -> None:
        """Make sure that nobody plans another batch over its offsets."""

    @abstractmethod
    def finish(self, batch: OffsetBatch) -> None:
        """Note that everything that follows from the batch is done; only then is another one planned."""


class TopicSource(CustomerSource):
    """One topic as customer source.

    Args:
        topic: what is read.
        planner: what comes next.
        read_as: how messages are written.
        may_be_sent: whether other processes may read it too: then all of this is sent to them, so that there must be no
            secret in it.
    """

    def __init__(self, topic: Topic, planner: Planner, read_as: MessageFormat, *, may_be_sent: bool = False) -> None:
        self._topic = topic
        self._planner = planner
        self._read_as = read_as
        self._may_be_sent = may_be_sent

    def describe(self) -> str:
        """`kafka:` and the topic."""
        return f"{TOPIC_SCHEME}{self._topic.name}"

    def plan(self, limit: int | None = None) -> OffsetBatch:
        """The batch to score now; see `Planner.next`.

        Raises:
            LimitOnTopic: a limit would leave out messages that are never read again.
            SourceError: nothing is new, or the topic cannot be asked.
        """
        if limit is not None:
            raise LimitOnTopic(
                f"The first {limit} rows of {self.describe()} cannot be scored alone: each offset belongs to one "
                "batch. Leave the limit out, or set CHURN_KAFKA_BATCH_MESSAGES."
            )
        return self._planner.next()

    def claim(self, batch: Batch) -> None:
        """Give the batch its offsets; see `Planner.claim`."""
        assert isinstance(batch, OffsetBatch)
        self._planner.claim(batch)

    def finish(self, batch: Batch) -> None:
        """Let the next batch be planned; see `Planner.finish`."""
        assert isinstance(batch, OffsetBatch)
        self._planner.finish(batch)

    def about(self, batch: Batch) -> int:
        """Offsets; markers and compaction can leave fewer messages."""
        assert isinstance(batch, OffsetBatch)
        return sum(r.offsets for r in batch.ranges)

    def parts(self, batch: Batch, count: int) -> list[OffsetBatch] | None:
        """Ranges of offsets; None where a secret is needed to read them."""
        assert isinstance(batch, OffsetBatch)
        return batch.divided(count) if self._may_be_sent else None

    def columns(self, batch: Batch) -> dict[str, list[str]]:  # noqa: ARG002
        """None: every message names its own."""
        return {}

    def read(self, batch: Batch, contract: Contract, *, with_label: bool = False) -> Iterator[SourceRows]:
        """Stream the messages of the batch's ranges; see `CustomerSource.read` and `Topic.read`."""
        assert isinstance(batch, OffsetBatch)
        read = self._read_as(contract, with_label)
        # Fetching waits for the broker, decoding does not.
        with closing(read_ahead(self._topic.read(batch.ranges), depth=4)) as fetched:
            for messages in fetched:
                yield from read(messages)
