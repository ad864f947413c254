"""A batch scored while it is read: its customers go to the kernel and to their own table at the same time.

The step that scores then shows files that are there already, after the checks of `customers`, and need not read that
table again. It only ever saves work: where each step of a run is a process of its own, or a step is done alone or once
more, nothing is found here, and the table is read.

Belongs here: what the steps that resolve the model, read and score leave for each other. Does not: the files
(`scored_part.py`), reading (`reading.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import pyarrow as pa

from churn_pipeline.assets.scored_part import PredictionFiles, ScoredPart, Scorer
from churn_pipeline.batches import Batch
from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.base import TableStore
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.progress import Progress
from churn_pipeline.read_along import ReadAlong
from churn_pipeline.resources.inference.choice import Choice

Count = Callable[[], int | None]


@dataclass(frozen=True)
class Expected:
    """How a run will score, known before its customers are.

    Attributes:
        most: reasons up, and down, on each row.
        choose: finds what scores, given a way to find out how many customers there are.
    """

    model: ModelVersion
    most: int
    choose: Callable[[Count], Choice]


class ScoredAhead:
    """One run's, in one process.

    Attributes:
        expected: None where no step of this process has said so, or none scores.
    """

    def __init__(self) -> None:
        self.expected: Expected | None = None
        self._begun: tuple[PredictionFiles, ReadAlong[pa.RecordBatch, ScoredPart]] | None = None

    def beside(
        self,
        customers: Generator[pa.RecordBatch],
        batch: Batch,
        rows: Count,
        contract: Contract,
        store: TableStore,
        progress: Progress,
    ) -> Generator[pa.RecordBatch]:
        """Hand on the customers of a batch; score them beside, if this run is to score them in this process."""
        self._begun, expected = None, self.expected
        if expected is None or (choice := expected.choose(rows)).workers:
            return customers
        files = PredictionFiles(store, batch, expected.model, contract, choice.backend, expected.most)
        along = ReadAlong(Scorer(files, choice.engine, progress))
        self._begun = files, along
        return along.of(customers)

    def take(self, wanted: PredictionFiles) -> tuple[PredictionFiles, ScoredPart] | None:
        """What was scored ahead of just this, if anything was; once, as whoever comes again has to score.

        Raises:
            ScoringError: what stopped it.
        """
        begun, self._begun = self._begun, None
        if begun is None:
            return None
        files, along = begun
        there, asked = ((f.batch, f.model, f.backend, f.most) for f in (files, wanted))
        return (files, along.result()) if there == asked else None
