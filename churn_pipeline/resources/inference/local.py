"""The local engine: the kernel in this process.

Belongs here: mapping the kernel over a stream, and the canary before it. Does not: the kernel itself, other engines.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol

import pyarrow as pa

from churn_pipeline.kernel.canary import CANARY_ROWS, check, disproved
from churn_pipeline.kernel.explanations.reason_columns import with_reasons
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.proof import Comparison
from churn_pipeline.kernel.score import score
from churn_pipeline.resources.inference.base import Engine


class PlanSource(Protocol):
    """Where plans come from; see `Plans`."""

    def of(self, version: ModelVersion) -> Plan:
        """The plan of a version."""

    def pin(self, version: ModelVersion, reason: str) -> None:
        """Let nothing but its estimator score this version from now on."""


class LocalEngine(Engine):
    """Scores in this process, one record batch after the other. One engine is one run's."""

    def __init__(self, plans: PlanSource) -> None:
        self._plans = plans
        self.canary: Comparison | None = None
        self._plan: Plan | None = None

    def score(
        self, customers: Iterable[pa.RecordBatch], model: ModelVersion, reasons: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Score record batches in order.

        Raises:
            PlanDisproved: tables and estimator differ on the first customers; the version is pinned to its estimator.
            ReasonsUnavailable: reasons are asked for, and for this model there are none.
        """
        from threadpoolctl import threadpool_limits

        plan = self.plan(model)
        # Reader and writer have the other cores: OpenMP's threads, which wait by spinning, would only be in their way.
        with threadpool_limits(1, user_api="openmp"):
            for batch in customers:
                if plan.tables is not None:
                    self._watch(batch, plan)
                scored = score(batch, plan)
                yield with_reasons(scored, plan, reasons) if reasons else scored

    def plan(self, model: ModelVersion) -> Plan:
        """The plan, made and proven when it is first asked for."""
        if self._plan is None or self._plan.model != model:
            self._plan = self._plans.of(model)
        return self._plan

    def pin(self, model: ModelVersion, reason: str) -> None:
        """Let nothing but its estimator score this version from now on."""
        self._plans.pin(model, reason)

    def _watch(self, batch: pa.RecordBatch, plan: Plan) -> None:
        """Score the first customers twice."""
        before = self.canary or Comparison(0, 0.0, 0)
        rows = batch.slice(0, CANARY_ROWS - before.rows)
        if not rows.num_rows:
            return
        found = check(rows, plan)
        if not found.holds:
            error = disproved(plan, found)
            self.pin(plan.model, f"its {plan.tier} plan differed by {found.difference:.2g} on a batch")
            raise error
        self.canary = before + found
