"""The next batch of a topic: what the log has, held against what the tables say of it.

Belongs here: asking the topic and the tables, and fixing what was decided. Does not: the decision itself
(`offset_planning.py`), the tables (`topic_plans.py`, `scored_batches.py`), Dagster (`sensors/customer_batches.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property

from churn_pipeline import offset_planning
from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.errors import SourceError
from churn_pipeline.io_managers.base import TableStore
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.io_managers.topic_plans import TopicPlan, TopicPlans
from churn_pipeline.offset_planning import GapPolicy, Start
from churn_pipeline.resources.customer_sources.topic_messages import Planner
from churn_pipeline.resources.topics.base import Topic, Watermarks


class RangeTaken(SourceError):
    """Offsets of the batch belong to another one."""


class NothingToScore(SourceError):
    """The topic holds no message that was not scored, or none in the range that was asked for."""


@dataclass(frozen=True)
class PlanningRules:
    """How a topic is cut into batches; see the settings of the same names."""

    start: Start = field(default_factory=Start)
    retention_gap: GapPolicy = "fail"
    messages: int = 1_000_000
    bytes: int = 1_000_000_000


@dataclass(frozen=True)
class TopicState:
    """A topic at one moment.

    Attributes:
        plan: how far it was given to batches; None if it was never read.
        batch_limit: most offsets of a batch now.
    """

    marks: Watermarks
    plan: TopicPlan | None
    batch_limit: int

    @property
    def unfinished(self) -> OffsetBatch | None:
        """The batch that was planned and is not done: nothing is planned past it."""
        return self.plan.unfinished if self.plan else None

    @cached_property
    def scored(self) -> dict[int, int]:
        """Partition → first offset that is not accounted for by a finished batch."""
        unfinished = {r.partition: r.start for r in self.unfinished.ranges} if self.unfinished else {}
        return {**(self.plan.positions if self.plan else {}), **unfinished}

    @property
    def head_room(self) -> float:
        """Share of the kept messages, in the partition that is worst off, that may be deleted before any is lost.

        1 where retention has deleted nothing yet.
        """
        low, end = self.marks.low, self.marks.end
        waiting = [p for p in end if low[p] > 0 and end[p] > self.scored.get(p, low[p])]
        return min(((self.scored.get(p, low[p]) - low[p]) / (end[p] - low[p]) for p in waiting), default=1.0)

    @property
    def lag(self) -> dict[int, int]:
        """Partition → offsets that wait to be scored."""
        return {p: end - self.scored.get(p, self.marks.low[p]) for p, end in self.marks.end.items()}


class TopicBatches(Planner):
    """Cuts one topic into batches that tile its log."""

    def __init__(self, topic: Topic, store: TableStore, rules: PlanningRules) -> None:
        self.topic = topic
        self._plans = TopicPlans(store, topic.name)
        self._ledger = Ledger(store)
        self._rules = rules

    def look(self) -> TopicState:
        """Ask the topic and the tables.

        Raises:
            BrokerUnreachable, TopicMissing, TopicRefused
        """
        plan = self._plans.current()
        return TopicState(self.topic.watermarks(), plan, self._limit(plan))

    def next(self) -> OffsetBatch:
        """The batch to score now: the unfinished one, or all that is new. Nothing is written.

        Raises:
            NothingToScore: there is none.
            RetentionGap, TopicRecreated: messages are gone that were not scored.
        """
        state = self.look()
        batch = state.unfinished or self._batch(state, self._plan(state))
        if batch is None:
            raise NothingToScore(
                f"Topic {self.topic.name} holds nothing that was not scored. Score again when it does."
            )
        return batch

    def give_out(self, state: TopicState) -> OffsetBatch | None:
        """Fix the next batch, or find the one that somebody else has fixed meanwhile; None if nothing is new.

        Raises:
            RetentionGap, TopicRecreated, StartInvalid
        """
        while state.unfinished is None:
            plan = self._plan(state)
            batch = self._batch(state, plan)
            new = plan.with_batch(batch) if batch else plan
            if new == state.plan or self._plans.replace(state.plan, new):
                return batch
            # Not another look at the topic: a tick has one deadline.
            state = replace(state, plan=self._plans.current())
        return state.unfinished

    def claim(self, batch: OffsetBatch) -> None:
        """Make sure that the batch is given out, so that nobody plans another one over its offsets.

        Raises:
            RangeTaken: its offsets are not the next ones of the topic.
        """
        if batch.again:
            return  # its offsets stay those of the batches that had them first
        while True:
            seen = self._plans.current()
            if seen and seen.batch and seen.batch.id == batch.id:
                return
            if self._ledger.find(batch):
                return  # scored before, and may be again: nobody else has its offsets
            state = TopicState(self.topic.watermarks(), seen, self._limit(seen))
            plan = self._plan(state)
            starts = {p: plan.positions.get(p, low) for p, low in state.marks.low.items()}
            fits = state.unfinished is None and all(r.start == starts.get(r.partition) for r in batch.ranges)
            if not fits or batch.topic_id != plan.topic_id:
                raise RangeTaken(
                    f"Batch {batch.id} does not begin where topic {self.topic.name} was read up to. Leave its bounds "
                    "out, and the next batch is planned anew."
                )
            if self._plans.replace(seen, plan.with_batch(batch)):
                return

    def again(
        self, model: str, bounds: Mapping[int, tuple[int, int]] | None, since: datetime | None, until: datetime | None
    ) -> OffsetBatch:
        """A batch that scores messages once more, whoever has them.

        Args:
            model: version that scores, as in `Batch.again`.
            bounds: partition → first offset, and the one after the last; None: all that is kept.
            since, until: of these, messages from one time up to another.

        Raises:
            NothingToScore: there is no such message.
            MessagesLost: some are not kept any more.
        """
        marks, name = self.topic.watermarks(), self.topic.name
        lows = self.topic.offsets_at(since) if since else marks.low
        ends = self.topic.offsets_at(until) if until else marks.end
        asked = bounds or {p: (lows[p], ends[p]) for p in marks.end}
        ranges = tuple(OffsetRange(name, p, *asked[p]) for p in sorted(asked) if asked[p][1] > asked[p][0])
        if not ranges:
            raise NothingToScore(f"Topic {name} holds no message in that range. Widen it.")
        marks.check_holds(ranges)
        return OffsetBatch(name, marks.topic_id, ranges, datetime.now(UTC), model)

    def finish(self, batch: OffsetBatch) -> None:
        """Note that everything that follows from the batch is done."""
        self._plans.finish(batch)

    def _plan(self, state: TopicState) -> TopicPlan:
        """The plan as it must be before a batch is added: where reading begins, and what was lost."""
        name, marks, policy, plan = self.topic.name, state.marks, self._rules.retention_gap, state.plan
        if plan is None:
            return TopicPlan(marks.topic_id, self._accounted(marks) or self._first(marks))
        other = offset_planning.other_log(plan.topic_id, marks.topic_id, plan.positions, marks.end)
        offset_planning.require_same_log(name, other, policy)
        if other:
            return replace(plan, topic_id=marks.topic_id, positions=dict(marks.low))
        lost = offset_planning.lost_ranges(name, plan.positions, marks.low, policy)
        kept = {**plan.positions, **{r.partition: r.end for r in lost}}
        return replace(plan, positions=kept, lost=(*plan.lost, *lost))

    def _first(self, marks: Watermarks) -> dict[int, int]:
        start = self._rules.start
        at_time = self.topic.offsets_at(start.at) if start.at else {}
        return offset_planning.first_offsets(self.topic.name, start, marks.low, marks.end, at_time)

    def _accounted(self, marks: Watermarks) -> dict[int, int]:
        """What the ledger has of this log: all there is to go by where the table of plans was removed."""
        batches = (row.batch for row in self._ledger.all())
        of_topic = (b for b in batches if isinstance(b, OffsetBatch) and b.topic == self.topic.name and not b.again)
        return offset_planning.positions(b for b in of_topic if b.topic_id == marks.topic_id)

    def _batch(self, state: TopicState, plan: TopicPlan) -> OffsetBatch | None:
        marks, name = state.marks, self.topic.name
        ranges = offset_planning.next_ranges(name, plan.positions, marks.low, marks.end, state.batch_limit)
        return OffsetBatch(name, marks.topic_id, ranges, datetime.now(UTC)) if ranges else None

    def _limit(self, plan: TopicPlan | None) -> int:
        done = next(iter(self._ledger.find(plan.batch)), None) if plan and plan.batch else None
        seen = (done.rows_read, done.bytes_read) if done and done.rows_read else None
        return offset_planning.offset_limit(self._rules.messages, self._rules.bytes, seen)


@dataclass(frozen=True)
class CustomerTopic:
    """The topic that is scored as messages come.

    Attributes:
        batches: None if the deployment names no topic.
        attempts: runs of one batch before it waits for a person.
    """

    batches: TopicBatches | None
    attempts: int = 3
