"""What the kernel says of some of a batch's customers, left in files of both tables that nobody sees yet.

Only the files' names, and sums, go to whoever shows the files of all parts in one commit.

Belongs here: scoring a stream into those files. Does not: rows (`prediction_rows.py`), where customers come from
(`predictions.py`, `prediction_parts.py`, `scored_ahead.py`), the commit (`io_managers/`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from churn_pipeline.assets.prediction_rows import PredictionRows, Summary, constants_of, unscored_schema
from churn_pipeline.batches import Batch
from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.base import Rows, TableStore
from churn_pipeline.io_managers.spill import Spill
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.proof import Comparison
from churn_pipeline.progress import Progress
from churn_pipeline.resources.inference.local import LocalEngine


@dataclass(frozen=True)
class ScoredPart:
    """What became of a part.

    Attributes:
        predictions, left: files of `churn_predictions` and `unscored_customers` (see `Rows.files`).
        unscored: rows in `left`.
        canary: of its first customers.
        seconds: from its first customer to its last file.
    """

    predictions: Sequence[Any]
    left: Sequence[Any]
    summary: Summary
    unscored: int
    canary: Comparison | None
    seconds: float

    def __add__(self, other: ScoredPart) -> ScoredPart:
        """This part, and the one that follows it; seconds of both."""
        canaries = [part.canary for part in (self, other) if part.canary]
        return ScoredPart(
            [*self.predictions, *other.predictions],
            [*self.left, *other.left],
            self.summary + other.summary,
            self.unscored + other.unscored,
            sum(canaries[1:], canaries[0]) if canaries else None,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True)
class PredictionFiles:
    """Writes what is said of a batch, or of a part of it.

    Attributes:
        backend: what scores.
        most: reasons up, and down, on each row, at most.
        scored_at: when this began, UTC; stands on every row.
    """

    store: TableStore
    batch: Batch
    model: ModelVersion
    contract: Contract
    backend: str
    most: int
    scored_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def write(self, scored: Iterable[pa.RecordBatch]) -> ScoredPart:
        """Write what the kernel says of the part's customers."""
        started = time.monotonic()
        with Spill(unscored_schema(self.contract)) as unscored:
            constants = constants_of(self.model, self.backend, self.scored_at)
            rows = PredictionRows(self.contract, constants, self.most, unscored)
            predictions = self.store.stage("churn_predictions", Rows(self.batch, rows.schema, rows.of(scored)))
            left = self.store.stage("unscored_customers", Rows(self.batch, unscored.schema, unscored.stream()))
        return ScoredPart(predictions, left, rows.summary, unscored.rows, None, time.monotonic() - started)


@dataclass(frozen=True)
class Scorer:
    """Scores customers in this process."""

    files: PredictionFiles
    engine: LocalEngine
    progress: Progress

    def __call__(self, customers: Iterable[pa.RecordBatch]) -> ScoredPart:
        """Score a stream of them.

        Raises:
            ScoringError
        """
        found = self.files.write(self._scored(customers))
        return replace(found, canary=self.engine.canary)

    def _scored(self, customers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in self.engine.score(customers, self.files.model, self.files.most):
            self.progress.advance("score", batch.num_rows)
            yield batch
