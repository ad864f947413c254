"""In which stretch between ascending breaks a number lies, with numba and without.

Belongs here: finding the stretch, and the order of doubles. Does not: where the breaks are (`breaks.py`), what the
stretches are codes of (`codes.py`, `intervals.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.float64 | np.int64]
Codes = npt.NDArray[np.uint16]

#: Breaks in one cell up to which no other cells are tried, and up to which they pay for numpy.
_FEW_A_CELL, _MOST_A_CELL = 2, 8

#: How many cells: their table stays in the nearest cache, or in the one behind it.
_CELLS, _MANY_CELLS = 1 << 14, 1 << 16

#: The width of a cell is 1 through this where a single break says nothing of it.
_STEEP = 1e300

_SIGN = np.uint64(1) << np.uint64(63)


def rank(values: Floats) -> npt.NDArray[np.uint64]:
    """Position of doubles among all doubles in ascending order."""
    bits = values.view(np.uint64)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def of_rank(ranks: npt.NDArray[np.uint64]) -> Floats:
    """The double at a position."""
    return np.where(ranks & _SIGN, ranks & ~_SIGN, ~ranks).view(np.float64)


class Cuts:
    """Ascending breaks, each once.

    Every number has a cell, which is a monotone function of it, roundings included. So a break of a lower cell lies
    below the number, one of a higher cell above it, and only those of its own cell are compared.

    Args:
        breaks: stretch i is what is above break i - 1 and not above break i.
        compiled: whether numba may be used.
    """

    def __init__(self, breaks: Floats, *, compiled: bool = False) -> None:
        self.breaks = np.ascontiguousarray(breaks)
        self._compiled = compiled
        self._ended = np.append(self.breaks, np.inf)
        tried = [*_cells(self.breaks, _CELLS), *_cells(self.breaks, _MANY_CELLS)] if compiled else []
        tried = tried or list(_even_cells(self.breaks, _CELLS))
        self._cells = next((c for c in tried if c.most <= _FEW_A_CELL), min(tried, key=lambda c: c.most, default=None))

    def codes(self, found: Numbers) -> Codes:
        """(n,) how many breaks lie below each number; one more than there are breaks, and one, where it is NaN."""
        return self.codes_and_reach(found, np.inf)[0]

    def codes_and_reach(self, found: Numbers, most: float) -> tuple[Codes, bool]:
        """The same, and whether no number is greater than `most`, whatever its sign."""
        if self._compiled and self._cells is not None:
            return self._cells.compiled_codes(found, self._ended, most)
        if isinstance(self._cells, _EvenCells) and self._cells.most <= _MOST_A_CELL:
            codes = self._cells.codes(found, self._ended)
        else:
            codes = np.searchsorted(self.breaks, found).astype(np.uint16)
        codes[np.isnan(found)] = len(self.breaks) + 1
        return codes, not bool(((found > most) | (found < -most)).any())


@dataclass(frozen=True)
class _EvenCells:
    """Cells of equal width.

    Attributes:
        starts: cell → how many breaks lie in lower ones.
        most: breaks in one cell.
    """

    low: float
    scale: float
    starts: npt.NDArray[np.uint16]
    most: int

    def compiled_codes(self, found: Numbers, ended: Floats, most: float) -> tuple[Codes, bool]:
        from churn_pipeline.kernel.compiled_codes import even_codes

        out = np.empty(len(found), np.uint16)
        return out, bool(even_codes(np.ascontiguousarray(found), self.low, self.scale, self.starts, ended, most, out))

    def codes(self, found: Numbers, ended: Floats) -> Codes:
        """(n,) what is NaN gets any code."""
        with np.errstate(all="ignore"):
            codes = self.starts.take(_even(found, self.low, self.scale, len(self.starts)))
        for _ in range(self.most):
            codes += ended.take(codes) < found
        return codes


@dataclass(frozen=True)
class _RankCells:
    """Cells of equally many doubles each: narrower next to zero."""

    low: np.uint64
    shift: np.uint64
    starts: npt.NDArray[np.uint16]
    most: int

    def compiled_codes(self, found: Numbers, ended: Floats, most: float) -> tuple[Codes, bool]:
        from churn_pipeline.kernel.compiled_codes import rank_codes

        out = np.empty(len(found), np.uint16)
        return out, bool(rank_codes(np.ascontiguousarray(found), self.low, self.shift, self.starts, ended, most, out))


def _cells(breaks: Floats, most: int) -> Iterator[_EvenCells | _RankCells]:
    yield from _even_cells(breaks, most)
    yield from _rank_cells(breaks, most)


# The last cell is behind all breaks, so that nothing is compared for a number that is above them: where there are few
# of them, half the numbers may be, and processors guess such comparisons wrong.


def _even_cells(breaks: Floats, most: int) -> Iterator[_EvenCells]:
    """Nothing where the first break and the last are too near or too far apart."""
    with np.errstate(all="ignore"):
        scale = (most - 2) / (breaks[-1] - breaks[0]) if len(breaks) > 1 else _STEEP
        if len(breaks) and 0 < scale < np.inf:
            cells = _even(breaks, breaks[0], scale, most)
            yield _EvenCells(float(breaks[0]), float(scale), *_starts(cells, most))


def _rank_cells(breaks: Floats, most: int) -> Iterator[_RankCells]:
    if len(breaks):
        ranks = rank(breaks)
        shift = np.uint64(max(int(ranks[-1] - ranks[0]).bit_length() - (most - 1).bit_length(), 0))
        cells = ((ranks - ranks[0]) >> shift).astype(np.intp)
        yield _RankCells(ranks[0], shift, *_starts(cells, int(cells[-1]) + 2))


def _even(found: Numbers, low: float, scale: float, most: int) -> npt.NDArray[np.intp]:
    scaled = found - low
    scaled *= scale
    # fmax and fmin, so that NaN becomes a cell.
    np.fmax(scaled, 0, out=scaled)
    np.fmin(scaled, most - 1, out=scaled)
    return scaled.astype(np.intp)


def _starts(cells: npt.NDArray[np.intp], most: int) -> tuple[npt.NDArray[np.uint16], int]:
    return np.searchsorted(cells, np.arange(most)).astype(np.uint16), int(np.bincount(cells).max())
