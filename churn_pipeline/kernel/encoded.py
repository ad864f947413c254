"""A record batch as evaluators see it: codes, raw numbers, and what only the real transformers can say.

Belongs here: computing each of these once a batch, however many evaluators ask. Does not: evaluators.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import Axis, Coded, numbers, plain_numbers
from churn_pipeline.kernel.front import Front


class Encoded:
    """n customers, looked at column by column."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        self.rows = batch.num_rows
        self._coded: dict[int, Coded] = {}
        self._codes: dict[int, npt.NDArray[np.uint16]] = {}
        self._numbers: dict[str, npt.NDArray[np.float64]] = {}
        self._computed: dict[tuple[int, tuple[str, ...], bytes], npt.NDArray[np.float64]] = {}

    def coded(self, axis: Axis) -> Coded:
        """Codes of an axis, not multiplied out."""
        if id(axis) not in self._coded:
            self._coded[id(axis)] = axis.look(self.batch)
        return self._coded[id(axis)]

    def codes(self, axis: Axis) -> npt.NDArray[np.uint16]:
        """(n,) codes of an axis."""
        if id(axis) not in self._codes:
            self._codes[id(axis)] = self.coded(axis).codes()
        return self._codes[id(axis)]

    def is_small(self, axis: Axis) -> bool:
        """Whether it is known that no number of an axis is too large: its codes were asked for."""
        return id(axis) in self._coded and self._coded[id(axis)].small

    def numbers(self, column: str) -> npt.NDArray[np.float64]:
        """(n,) a column of numbers, NaN where one is missing."""
        if column not in self._numbers:
            self._numbers[column] = numbers(self.batch.column(column))
        return self._numbers[column]

    def filled(self, column: str, missing: float) -> npt.NDArray[np.float64 | np.int64]:
        """(n,) a column of numbers, as it lies in memory or with `missing` where there is none; NaN is a number."""
        values = self.batch.column(column)
        return numbers(values, missing) if values.null_count else plain_numbers(values)

    def computed(self, front: Front, columns: Sequence[str], outputs: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """(n, outputs) what the real transformers make of these columns."""
        key = id(front), tuple(columns), outputs.tobytes()
        if key not in self._computed:
            self._computed[key] = front.partial(self.batch.select(front.needs(columns)), columns, outputs)
        return self._computed[key]
