"""Continuous columns as small codes: a code is a stretch of numbers that no tree of the model tells apart.

Belongs here: such a column as an axis. Does not: where the stretches end (`breaks.py`), in which one a number lies
(`cuts.py`), columns whose values are few (`codes.py`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import MOST_CODES, Axis, Coded, TooManyValues, largest, plain_numbers
from churn_pipeline.kernel.cuts import Cuts


class Intervals(Axis):
    """A continuous column, cut where the model's trees cut it; the last code is a missing number.

    Args:
        breaks: ascending; code i is what is above break i - 1 and not above break i.
        kind: the column's type, of whole numbers or doubles.
    """

    continuous = True

    def __init__(
        self, column: str, breaks: npt.NDArray[np.float64], kind: pa.DataType, *, compiled: bool = False
    ) -> None:
        super().__init__()
        if len(breaks) + 2 > MOST_CODES:
            raise TooManyValues
        self.columns = (column,)
        self._whole, self._most = pa.types.is_integer(kind), largest(kind)
        self.breaks = np.ascontiguousarray(breaks)
        self._listed = breaks.tolist()
        self._cuts = Cuts(self.breaks, compiled=compiled)

    @property
    def size(self) -> int:
        return len(self.breaks) + 2

    def look(self, batch: pa.RecordBatch) -> Coded:
        codes, small = self._cuts.codes_and_reach(plain_numbers(batch.column(self.columns[0])), self._most)
        return Coded(np.arange(self.size), codes, plain=True, small=small)

    def code(self, record: Mapping[str, Any]) -> int | None:
        value = record[self.columns[0]]
        if value is None or value != value:
            return len(self._listed) + 1
        return None if abs(value) > self._most else bisect_left(self._listed, value)

    def values(self, start: int) -> dict[str, list[Any]]:
        above = next_to(self.breaks[-1:], 1, whole=self._whole) if len(self.breaks) else np.zeros(1)
        found = np.concatenate([self.breaks, above])
        return {self.columns[0]: [*(found.astype(np.int64) if self._whole else found).tolist(), None][start:]}


def next_to(numbers: npt.NDArray[np.float64], way: int, *, whole: bool) -> npt.NDArray[np.float64]:
    """The next numbers up (1) or down (-1)."""
    return numbers + way if whole else np.nextafter(numbers, way * np.inf)
