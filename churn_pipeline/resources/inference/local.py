"""The local engine: the kernel in this process.

Belongs here: mapping the kernel over a stream. Does not: the kernel itself, other engines.
"""

from collections.abc import Iterable, Iterator

import pyarrow as pa

from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.score import score
from churn_pipeline.resources.inference.base import Engine
from churn_pipeline.resources.model_registry import ModelRegistry


class LocalEngine(Engine):
    """Scores with scikit-learn, one record batch after the other."""

    backend = "sklearn"

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def score(self, customers: Iterable[pa.RecordBatch], model: ModelVersion) -> Iterator[pa.RecordBatch]:
        """Score record batches in order."""
        plan = self._plan(model)
        for batch in customers:
            yield score(batch, plan)

    def tier(self, model: ModelVersion) -> str:
        """Always the estimator itself, on the reference frame."""
        return self._plan(model).tier

    def _plan(self, model: ModelVersion) -> Plan:
        return Plan(model, self._registry.load(model))
