"""Continuous columns as small codes: a code is a stretch of numbers that no tree of the model tells apart.

Belongs here: from numbers to stretches, with numba and without. Does not: where the stretches end (`breaks.py`),
columns whose values are few (`codes.py`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import MOST_CODES, Axis, Coded, TooManyValues, largest, numbers, of_rank

#: Cells of equal width between the first break and the last, and breaks in one of them up to which cells pay.
_CELLS, _MOST_A_CELL = 1 << 14, 8


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
        self._starts = np.searchsorted(breaks, _first_of_each_stretch()).astype(np.uint16) if compiled else None
        self._cuts = None if compiled else Cuts(self.breaks)

    @property
    def size(self) -> int:
        return len(self.breaks) + 2

    def look(self, batch: pa.RecordBatch) -> Coded:
        found = numbers(batch.column(self.columns[0]))
        if self._cuts is not None:
            return Coded(np.arange(self.size), self._cuts.codes(found))
        from churn_pipeline.kernel.compiled_codes import interval_codes

        codes = np.empty(len(found), dtype=np.uint16)
        interval_codes(np.ascontiguousarray(found), self.breaks, self._starts, codes)
        return Coded(np.arange(self.size), codes)

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


class Cuts:
    """Ascending breaks, for numbers to be told by numpy in which stretch between them they lie."""

    def __init__(self, breaks: npt.NDArray[np.float64]) -> None:
        self.breaks = breaks
        self._cells = _Cells.of(breaks)

    def codes(self, found: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
        """(n,) how many breaks lie below each number; one more than there are breaks, and one, where it is NaN."""
        codes = self._cells.codes(found) if self._cells else np.searchsorted(self.breaks, found).astype(np.uint16)
        codes[np.isnan(found)] = len(self.breaks) + 1
        return codes


class _Cells:
    """Breaks behind cells of equal width: a multiplication and a few comparisons, where numpy's search would guess.

    The cell of a number is a monotone function of it, roundings included. So a break of a lower cell lies below the
    number, one of a higher cell above it, and only those of its own cell are compared.
    """

    def __init__(self, breaks: npt.NDArray[np.float64], scale: float) -> None:
        self._low, self._scale = breaks[0], scale
        cells = self._cell(breaks)
        self._starts = np.searchsorted(cells, np.arange(_CELLS)).astype(np.uint16)
        self.most = int(np.bincount(cells).max())
        self._breaks = np.append(breaks, np.inf)

    @classmethod
    def of(cls, breaks: npt.NDArray[np.float64]) -> _Cells | None:
        """None where the breaks lie too unevenly."""
        with np.errstate(all="ignore"):
            scale = (_CELLS - 1) / (breaks[-1] - breaks[0]) if len(breaks) > 1 else np.inf
            if not 0 < scale < np.inf:
                return None
            found = cls(breaks, float(scale))
        return found if found.most <= _MOST_A_CELL else None

    def codes(self, found: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
        """(n,) how many breaks lie below each number; anything where it is NaN."""
        with np.errstate(all="ignore"):
            codes = self._starts.take(self._cell(found))
        for _ in range(self.most):
            codes += self._breaks.take(codes) < found
        return codes

    def _cell(self, found: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
        scaled = found - self._low
        scaled *= self._scale
        # fmax and fmin, so that NaN becomes a cell.
        np.fmax(scaled, 0, out=scaled)
        np.fmin(scaled, _CELLS - 1, out=scaled)
        return scaled.astype(np.intp)


@cache
def _first_of_each_stretch() -> npt.NDArray[np.float64]:
    """(2 ** 18) the least double whose rank begins with each combination of 18 bits; what is no number is infinite."""
    found = of_rank(np.arange(2**18, dtype=np.uint64) << np.uint64(46))
    places = np.arange(2**18)
    return np.where(np.isnan(found), np.where(places < 2**17, -np.inf, np.inf), found)
