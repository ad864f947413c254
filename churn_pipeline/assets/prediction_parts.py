"""A batch scored in parts, on the workers of a cluster: what one worker does, and what its caller gets.

A worker opens its part of `customers` by itself, scores it as one process would score all of it, and leaves files that
nobody sees (`scored_part.py`). Whoever called shows the files of all parts in one commit. What a worker left that died,
or that was slower than another one, is swept by maintenance.

Belongs here: that function of a part. Does not: its files (`scored_part.py`), the workers (`spark/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.assets.scored_part import PredictionFiles, ScoredPart, Scorer
from churn_pipeline.io_managers.base import TableHandle, TablePart
from churn_pipeline.kernel.canary import PlanDisproved
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.rows import ARROW_TYPES, as_signature
from churn_pipeline.kernel.score import scored
from churn_pipeline.progress import Progress
from churn_pipeline.read_ahead import read_ahead
from churn_pipeline.resources.inference.local import LocalEngine
from churn_pipeline.spark.mapping import Sent, Workers
from churn_pipeline.spark.pipeline_models import PLACE, PROBABILITY, PipelineClassifier

#: Rows of a part, at most: what is lost with a worker has to be done again.
_ROWS_PER_PART = 1_000_000

_ANSWERS = pa.schema([(PLACE, pa.int64()), (PROBABILITY, pa.float64())])
_LEFT_OUT = ("RefusedByStage", "a stage of the Spark ML pipeline does not take a value of this customer")


@dataclass(frozen=True)
class _ByPlan:
    """Scores a part by a plan; runs on a worker."""

    files: PredictionFiles
    columns: Sequence[str]
    plan: Sent[Plan]

    def __call__(self, part: TablePart) -> ScoredPart:
        score = Scorer(self.files, LocalEngine(_SentPlan(self.plan.value())), Progress())
        with closing(read_ahead(part.stream(self.columns))) as ahead:
            return score(ahead)


@dataclass(frozen=True)
class _Inputs:
    """The rows of a part as a Spark ML pipeline takes them; runs on a worker."""

    model: ModelVersion

    @property
    def schema(self) -> pa.Schema:
        columns = [(item.name, ARROW_TYPES[item.type]) for item in self.model.inputs]
        return pa.schema([*columns, (PLACE, pa.int64())])

    def __call__(self, part: TablePart) -> Iterator[pa.RecordBatch]:
        done = 0
        for batch in part.stream([item.name for item in self.model.inputs]):
            places = pa.array(range(done, done := done + batch.num_rows), pa.int64())
            yield as_signature(batch, self.model.inputs).append_column(PLACE, places)


@dataclass(frozen=True)
class _ByAnswers:
    """Joins a part with what a Spark ML pipeline said of it; runs on a worker."""

    files: PredictionFiles
    columns: Sequence[str]

    def __call__(self, part: TablePart, answers: Iterator[pa.RecordBatch]) -> ScoredPart:
        found = pa.Table.from_batches(answers, _ANSWERS)
        places, probabilities = found[PLACE].to_numpy(), found[PROBABILITY].to_numpy()
        return self.files.write(self._scored(part, places, probabilities))

    def _scored(
        self, part: TablePart, places: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64]
    ) -> Iterator[pa.RecordBatch]:
        """A customer without an answer was left out by a stage of the pipeline."""
        done = 0
        for batch in part.stream(self.columns):
            first, end = np.searchsorted(places, [done, done + batch.num_rows])
            probability = np.full(batch.num_rows, np.nan)
            probability[places[first:end] - done] = probabilities[first:end]
            # Written so that NaN is none of them either.
            left = np.flatnonzero(~((probability >= 0) & (probability <= 1)))
            probability[left] = np.nan
            yield scored(batch, self.files.model, probability, dict.fromkeys(left.tolist(), _LEFT_OUT))
            done += batch.num_rows


def score_on_workers(
    workers: Workers, engine: LocalEngine, customers: TableHandle, columns: Sequence[str], files: PredictionFiles
) -> list[ScoredPart]:
    """Score a batch on workers, in parts that are in its order.

    Args:
        columns: what is read of the customers.

    Raises:
        PlanDisproved: on some worker tables and estimator differ; the version is pinned to its estimator.
        SparkJobFailed, WorkersDiffer
    """
    model = files.model
    plan = engine.plan(model)
    parts = customers.store.parts(customers, max(2 * workers.count, customers.rows // _ROWS_PER_PART))
    if isinstance(plan.estimator, PipelineClassifier):
        inputs, through = _Inputs(model), partial(plan.estimator.of_class, positive=model.positive)
        return workers.map_through(inputs, inputs.schema, through, _ByAnswers(files, columns), parts)
    try:
        return workers.map(_ByPlan(files, columns, workers.send(plan)), parts)
    except PlanDisproved:
        engine.pin(model, "its plan and its estimator differed on a worker")
        raise


class _SentPlan:
    """The plan that was sent along: it is made and proven once, and by nobody here."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def of(self, version: ModelVersion) -> Plan:
        assert version == self._plan.model
        return self._plan

    def pin(self, version: ModelVersion, reason: str) -> None:
        """Left to whoever sent the work."""
