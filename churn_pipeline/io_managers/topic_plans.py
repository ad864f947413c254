"""`topic_plans`: how far each topic was given to batches, written before anybody reads a batch and after it is done.

The table makes planning one decision, whoever plans: of two sensors that look at the same moment, the second one finds
what the first has planned and asks for the same batch. It has one row a topic, so that a tick reads a few hundred
bytes however many batches there were; the ledger keeps their history.

Belongs here: the table, and what it says of a topic. Does not: which offsets come next (`offset_planning.py`), asking
a broker (`topic_batches.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa

from churn_pipeline.batches import Batch, OffsetBatch, OffsetRange
from churn_pipeline.io_managers.base import Rows, TableHandle, TableStore

TABLE = "topic_plans"

SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("number", pa.int64()),
        ("topic_id", pa.string()),
        ("positions", pa.string()),
        ("batch", pa.string()),
        ("is_finished", pa.bool_()),
        ("lost", pa.string()),
    ]
)


@dataclass(frozen=True)
class TopicPlan:
    """How far a topic was given to batches.

    Attributes:
        topic_id: the log that was read; see `OffsetBatch.topic_id`.
        positions: partition → first offset that belongs to no batch.
        batch: given out last; None while there was none.
        is_finished: whether everything that follows from it is done; nothing is planned past one that is not.
        lost: messages that were deleted before they were read.
        number: counts the changes of the plan.
    """

    topic_id: str | None
    positions: Mapping[int, int]
    batch: OffsetBatch | None = None
    is_finished: bool = True
    lost: tuple[OffsetRange, ...] = ()
    number: int = field(default=0, compare=False)

    @property
    def unfinished(self) -> OffsetBatch | None:
        """The batch that was given out and is not done."""
        return None if self.is_finished else self.batch

    def with_batch(self, batch: OffsetBatch) -> TopicPlan:
        """The plan once the batch is given out."""
        positions = {**self.positions, **{r.partition: r.end for r in batch.ranges}}
        return replace(self, positions=positions, batch=batch, is_finished=False)


class TopicPlans:
    """The plan of one topic, changed by whoever was first."""

    def __init__(self, store: TableStore, topic: str) -> None:
        self._store = store
        self._topic = topic

    def current(self) -> TopicPlan | None:
        """The plan as it is; None if the topic was never read."""
        handle = self._store.open(TABLE)
        return None if handle is None else self._plan(handle)

    def replace(self, seen: TopicPlan | None, new: TopicPlan) -> bool:
        """Change the plan.

        Args:
            seen: what `current` gave.

        Returns:
            False, and nothing is written, if somebody else has changed it since.
        """
        number = seen.number if seen else 0
        rows = pa.RecordBatch.from_pylist([self._record(replace(new, number=number + 1))], SCHEMA)
        # One batch a topic, which the new row replaces.
        of_topic = OffsetBatch(self._topic, None, (), datetime.fromtimestamp(0, UTC))

        def is_as_seen(table: TableHandle) -> bool:
            found = self._plan(table)
            return (found.number if found else 0) == number

        return self._store.replace_if(TABLE, Rows(of_topic, SCHEMA, [rows]), f"topic:{self._topic}", is_as_seen)

    def finish(self, batch: OffsetBatch) -> None:
        """Note that everything that follows from the batch is done; no change if it is not the one given out last."""
        while (plan := self.current()) and plan.batch and plan.batch.id == batch.id and not plan.is_finished:
            if self.replace(plan, replace(plan, is_finished=True)):
                return

    def is_over(self, batch: OffsetBatch) -> bool:
        """Whether everything that follows from a batch is done: it was said so, or a later one was given out."""
        plan = self.current()
        if plan is None:
            return False
        if plan.topic_id != batch.topic_id:
            return True  # another log of that name is read by now
        if plan.batch and plan.batch.id == batch.id:
            return plan.is_finished
        return all(plan.positions.get(r.partition, 0) >= r.end for r in batch.ranges)

    def _plan(self, table: TableHandle) -> TopicPlan | None:
        found = [row for row in table.to_arrow(SCHEMA.names).to_pylist() if row["topic"] == self._topic]
        if not found:
            return None
        (row,) = found
        batch = Batch.from_json(json.loads(row["batch"])) if row["batch"] else None
        assert batch is None or isinstance(batch, OffsetBatch)
        positions = {int(p): offset for p, offset in json.loads(row["positions"]).items()}
        lost = tuple(self._ranges(json.loads(row["lost"])))
        return TopicPlan(row["topic_id"], positions, batch, row["is_finished"], lost, row["number"])

    def _record(self, plan: TopicPlan) -> dict[str, object]:
        return {
            "topic": self._topic,
            "number": plan.number,
            "topic_id": plan.topic_id,
            "positions": json.dumps(plan.positions),
            "batch": json.dumps(plan.batch.to_json()) if plan.batch else None,
            "is_finished": plan.is_finished,
            "lost": json.dumps([[r.partition, r.start, r.end] for r in plan.lost]),
        }

    def _ranges(self, written: list[list[int]]) -> Iterator[OffsetRange]:
        return (OffsetRange(self._topic, *values) for values in written)
