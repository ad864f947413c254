"""Columns as small codes: every distinct value of a customer's column is a number from zero on.

Belongs here: from Arrow columns to codes, and the values that stand for the codes. Does not: what the model makes of
a value (`tables.py`), columns that are cut into stretches (`intervals.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.kernel.cuts import Cuts

#: Values of one column, or combinations of several, that get a code. A column with more is no category.
MOST_CODES = 60_000

#: Whole numbers in a range of this size are codes of their own.
_SMALL_RANGE = 4_096

#: Numbers beyond this are left to the model itself: estimators that compute in single precision refuse them.
LARGEST = 1e30

#: Whole numbers beyond this are too: as doubles they are no longer apart.
LARGEST_WHOLE = 2**53

#: Numbers of every size up to the largest.
FAR = (-LARGEST, -1e12, -1e6, -1e3, -1.0, 0.0, 0.5, 1.0, 1e3, 1e6, 1e12, LARGEST)


class TooManyValues(Exception):
    """A column has more distinct values than can be coded; these rows are the estimator's."""


@dataclass(frozen=True)
class Coded:
    """A column as codes: `table[index]`, not multiplied out, as most users of it compose it with a table of theirs.

    Attributes:
        table: (k,) codes.
        index: (n,) positions in it.
        plain: each position is its own code.
        small: no number is greater than `largest` says; False if nobody looked.
    """

    table: npt.NDArray[np.int64]
    index: npt.NDArray[Any]
    plain: bool = False
    small: bool = False

    def codes(self) -> npt.NDArray[np.uint16]:
        """(n,) codes."""
        return self.index if self.plain else self.table.astype(np.uint16).take(self.index)

    def has(self, wanted: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """(n,) whether a row has one of these codes; None if none has."""
        known = np.isin(self.table, wanted)
        if not known.any():
            return None
        found = known.take(self.index)
        return found if found.any() else None


class Axis(ABC):
    """One or several columns whose values, or combinations of values, are codes. Grows as new ones come up.

    Attributes:
        columns: their names.
        continuous: codes are stretches of numbers, not numbers.
        refused: codes that the model does not take, with the kind of error it raised.
    """

    columns: tuple[str, ...]
    continuous = False

    def __init__(self) -> None:
        self.refused: dict[int, str] = {}

    @property
    @abstractmethod
    def size(self) -> int:
        """How many codes there are."""

    @abstractmethod
    def look(self, batch: pa.RecordBatch) -> Coded:
        """Codes of n customers; new values get the next ones.

        Raises:
            TooManyValues
        """

    @abstractmethod
    def code(self, record: Mapping[str, Any]) -> int | None:
        """Code of one customer's value, which is in the column's own type; None if it has none yet."""

    @abstractmethod
    def values(self, start: int) -> dict[str, list[Any]]:
        """Column → the values that stand for the codes from `start` on; None is a missing value."""


class Words(Axis):
    """A column of text or truth values; code 0 is a missing one."""

    def __init__(self, column: str) -> None:
        super().__init__()
        self.columns = (column,)
        self._known: dict[Any, int] = {None: 0}
        self._last: tuple[pa.Array, npt.NDArray[np.int64]] | None = None

    @property
    def size(self) -> int:
        return len(self._known)

    def look(self, batch: pa.RecordBatch) -> Coded:
        column = batch.column(self.columns[0])
        if pa.types.is_boolean(column.type):
            index = column.cast(pa.int8()).fill_null(2).to_numpy(zero_copy_only=False)
            return Coded(np.array([self._code(False), self._code(True), 0]), index)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        table = self._table(column.dictionary)
        indices = column.indices
        if indices.null_count:
            indices = indices.fill_null(len(table) - 1)
        return Coded(table, indices.to_numpy(zero_copy_only=False))

    def values(self, start: int) -> dict[str, list[Any]]:
        return {self.columns[0]: list(self._known)[start:]}

    def code(self, record: Mapping[str, Any]) -> int | None:
        return self._known.get(record[self.columns[0]])

    def _table(self, dictionary: pa.Array) -> npt.NDArray[np.int64]:
        """Codes of a dictionary's words, then the code of a missing one."""
        if self._last is None or not (self._last[0] is dictionary or self._last[0].equals(dictionary)):
            table = np.array([*map(self._code, dictionary.to_pylist()), 0], dtype=np.int64)
            self._last = (dictionary, table)
        return self._last[1]

    def _code(self, value: Any) -> int:
        code = self._known.get(value)
        if code is None:
            if len(self._known) >= MOST_CODES:
                raise TooManyValues
            code = self._known[value] = len(self._known)
        return code


class Numbers(Axis):
    """A column of numbers that are names or counts, few of them; code 0 is a missing one.

    Args:
        known: numbers that get a code now.
        compiled: whether numba may be used.
    """

    def __init__(self, column: str, known: npt.NDArray[np.float64], *, compiled: bool = False) -> None:
        super().__init__()
        self.columns = (column,)
        self._compiled = compiled
        self._known: list[float] = []
        self._by_value: dict[float, int] = {}
        self._add(np.unique(known))

    @property
    def size(self) -> int:
        return len(self._known) + 1

    def look(self, batch: pa.RecordBatch) -> Coded:
        found = plain_numbers(batch.column(self.columns[0]))
        places = self._cuts.codes(found)
        if not self._fits(found, places):
            self._add(np.setdiff1d(found[~np.isnan(found)], self._cuts.breaks))
            places = self._cuts.codes(found)
        return Coded(self._codes, places)

    def values(self, start: int) -> dict[str, list[Any]]:
        return {self.columns[0]: [None, *self._known][start:]}

    def code(self, record: Mapping[str, Any]) -> int | None:
        value = record[self.columns[0]]
        return 0 if value is None or value != value else self._by_value.get(value)

    def _fits(self, found: npt.NDArray[np.float64 | np.int64], places: npt.NDArray[np.uint16]) -> bool:
        """Whether every number is one that has a code, or missing."""
        same = self._ended.take(places) == found
        return bool(same.all()) or bool((same | np.isnan(found)).all())

    def _add(self, new: npt.NDArray[np.float64]) -> None:
        if len(self._known) + len(new) >= MOST_CODES:
            raise TooManyValues
        self._by_value.update((value, code) for code, value in enumerate(new.tolist(), self.size))
        self._known += new.tolist()
        known = np.array(self._known, dtype=np.float64)
        order = np.argsort(known)
        self._cuts = Cuts(known[order], compiled=self._compiled)
        # Behind the last come a greater number, which has no code yet, and a missing one.
        self._ended = np.append(self._cuts.breaks, [np.nan, np.nan])
        self._codes = np.append(order + 1, [0, 0])


class Combinations(Axis):
    """Several columns whose values the model combines: a code is a combination that came up."""

    def __init__(self, axes: Sequence[Axis]) -> None:
        super().__init__()
        # Four codes of 16 bits are one number.
        self._axes = tuple(axes) if len(axes) <= 4 else (Combinations(axes[:-3]), *axes[-3:])
        self.columns = tuple(name for axis in axes for name in axis.columns)
        self._known = np.empty(0, dtype=np.uint64)
        self._sorted, self._order = self._known, np.empty(0, dtype=np.int64)
        self._codes: dict[int, int] = {}

    @property
    def size(self) -> int:
        return len(self._known)

    def look(self, batch: pa.RecordBatch) -> Coded:
        mixed = np.zeros(batch.num_rows, dtype=np.uint64)
        for axis in self._axes:
            mixed = (mixed << np.uint64(16)) | axis.look(batch).codes()
        found = pa.array(mixed).dictionary_encode()
        keys = found.dictionary.to_numpy()
        if len(new := np.setdiff1d(keys, self._known)):
            self._add(new)
        return Coded(self._order[np.searchsorted(self._sorted, keys)], found.indices.to_numpy())

    def values(self, start: int) -> dict[str, list[Any]]:
        found = dict[str, list[Any]]()
        for place, axis in enumerate(reversed(self._axes)):
            codes = ((self._known[start:] >> np.uint64(16 * place)) & np.uint64(0xFFFF)).tolist()
            found |= {name: [known[code] for code in codes] for name, known in axis.values(0).items()}
        return found

    def code(self, record: Mapping[str, Any]) -> int | None:
        mixed = 0
        for axis in self._axes:
            if (code := axis.code(record)) is None:
                return None
            mixed = mixed << 16 | code
        return self._codes.get(mixed)

    def _add(self, new: npt.NDArray[np.uint64]) -> None:
        if len(self._known) + len(new) > MOST_CODES:
            raise TooManyValues
        self._codes.update((key, code) for code, key in enumerate(new.tolist(), self.size))
        self._known = np.append(self._known, new)
        self._order = np.argsort(self._known)
        self._sorted = self._known[self._order]


def numbers(column: pa.Array, missing: float = np.nan) -> npt.NDArray[np.float64]:
    """A column as doubles, with `missing` where it has none."""
    if pa.types.is_integer(column.type) and not column.null_count:
        return column.to_numpy().astype(np.float64)
    if column.type != pa.float64():
        column = pc.cast(column, pa.float64(), safe=False)
    # Filled by Arrow, as its own conversion to NumPy takes twice as long.
    return (column.fill_null(missing) if column.null_count else column).to_numpy(zero_copy_only=False)


def plain_numbers(column: pa.Array) -> npt.NDArray[np.float64 | np.int64]:
    """A column as doubles, NaN where a number is missing, or as the whole numbers it holds."""
    return column.to_numpy() if pa.types.is_int64(column.type) and not column.null_count else numbers(column)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of that type holds numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def far(kind: pa.DataType) -> npt.NDArray[np.float64]:
    """`FAR`, as far as a column of that type can hold it."""
    points = np.array(FAR)
    return np.unique(np.rint(points[np.abs(points) < 2**31])) if pa.types.is_integer(kind) else points


def few_whole(column: pa.Array) -> npt.NDArray[np.float64] | None:
    """Every number from a column's smallest to its greatest, if they are whole and so few that each gets a code."""
    if not pa.types.is_integer(column.type) or column.null_count == len(column):
        return None
    ends = pc.min_max(column)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    return np.arange(low, high + 1, dtype=np.float64) if high - low < _SMALL_RANGE else None


def largest(kind: pa.DataType) -> float:
    """The largest number of a column of that type that anyone but the model itself may judge."""
    if pa.types.is_int32(kind):
        return 2**31 - 1
    return LARGEST_WHOLE if pa.types.is_integer(kind) else LARGEST


def out_of_reach(column: pa.Array, most: float = LARGEST) -> npt.NDArray[np.bool_] | None:
    """(n,) numbers too large for anyone but the model itself to judge; None if there is none.

    Args:
        most: see `largest`.
    """
    if not len(column):
        return None
    # What lies in memory where a number is missing is looked at too: at worst in vain, and nothing is filled for it.
    lying = pa.Array.from_buffers(column.type, len(column), [None, column.buffers()[1]], 0, column.offset).to_numpy()
    least, greatest = (np.fmin, np.fmax) if pa.types.is_floating(column.type) else (np.minimum, np.maximum)
    with np.errstate(invalid="ignore"):
        if not (least.reduce(lying) < -most or greatest.reduce(lying) > most):
            return None
        return np.abs(numbers(column)) > most
