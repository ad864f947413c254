"""What scores a stream of customers: an engine that maps the kernel over record batches.

Belongs here: the port. Does not: the kernel (`kernel/`), an engine (one file each), choosing one (`choice.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import pyarrow as pa

from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.proof import Comparison


class Engine(ABC):
    """One way to run the kernel.

    Attributes:
        canary: what came of scoring the first customers twice; None before, and where nothing stands in for the
            estimator.
    """

    canary: Comparison | None

    @abstractmethod
    def score(
        self, customers: Iterable[pa.RecordBatch], model: ModelVersion, reasons: int = 0
    ) -> Iterator[pa.RecordBatch]:
        """Score record batches in order; see `kernel.score.score` for what each becomes.

        Args:
            reasons: how many up and how many down are added to each row (`reason_columns.with_reasons`); 0: no columns.
        """

    @abstractmethod
    def plan(self, model: ModelVersion) -> Plan:
        """How this engine evaluates a model version."""
