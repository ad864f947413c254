"""Linear classifiers as one number a code: what a value adds to the margin.

Belongs here: folding weights into tables and adding them up. Does not: which classifiers are linear (`structure.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import far, largest
from churn_pipeline.kernel.encoded import Encoded
from churn_pipeline.kernel.evaluator import Computed, Coordinate, Evaluator, values_of
from churn_pipeline.kernel.front import Front
from churn_pipeline.kernel.rows import changed
from churn_pipeline.kernel.separable import Group

#: What an affine column may differ from the real one by, in the margin, relative to its size.
_AFFINE_WITHIN = 1e-13
#: Beyond this the exponential of a double is infinite.
_STEEPEST = 709.0

#: Combinations of values that are looked up at once: such a table stays in the nearest cache.
_JOINED = 4_096


@dataclass(frozen=True)
class Affine:
    """What a continuous column adds to the margin: `slope * x + offset`, or `missing`.

    Attributes:
        most: of greater numbers only the estimator can say.
    """

    column: str
    slope: float
    offset: float
    missing: float
    most: float

    @cached_property
    def stand_in(self) -> float:
        """The number that adds what a missing one adds; NaN where there is none."""
        found = (self.missing - self.offset) / self.slope if self.slope else 0.0
        same = abs(found * self.slope + self.offset - self.missing) <= _AFFINE_WITHIN * max(1, abs(self.missing))
        return found if same and abs(found) <= self.most else np.nan

    def of(self, found: npt.NDArray[np.float64], out: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
        """(n,) contributions; NaN where only the estimator can say.

        Args:
            out: where to put them.
        """
        added = np.multiply(found, self.slope, out=out)
        added += self.offset
        added[np.isnan(found)] = self.missing
        added[np.abs(found) > self.most] = np.nan
        return added

    def add_to(self, margin: npt.NDArray[np.float64], found: npt.NDArray[np.float64 | np.int64]) -> bool:
        """Add `slope * found`, and say whether all numbers are small enough; NaN is."""
        margin += found * self.slope
        return not bool((np.abs(found) > self.most).any())

    def add_compiled(self, margin: npt.NDArray[np.float64], found: npt.NDArray[np.float64 | np.int64]) -> bool:
        """The same with numba."""
        from churn_pipeline.kernel.compiled_sums import add_scaled

        return bool(add_scaled(np.ascontiguousarray(found), self.slope, self.most, margin))


def affine(
    front: Front, group: Group, weights: npt.NDArray[np.float64], seen: npt.NDArray[np.float64]
) -> Affine | None:
    """The contribution of a group of one continuous column, if it is affine wherever one looks.

    Args:
        weights: of all outputs of the front.
        seen: numbers of the column, the ends of its range among them.
    """
    column = group.columns[0]
    kind = front.base.schema.field(column).type
    points = np.unique(np.concatenate([seen[~np.isnan(seen)], far(kind)]))
    answers = front.partial(changed(front.base, {column: pa.array(points).cast(kind)}), group.columns, group.outputs)
    real = answers @ weights[group.outputs]
    (zero,), (unit,) = np.flatnonzero(points == 0), np.flatnonzero(points == 1e6)
    slope, offset = float((real[unit] - real[zero]) / 1e6), float(real[zero])
    found = Affine(column, slope, offset, _missing(front, group, weights), largest(kind))
    within = np.abs(found.of(points) - real) <= _AFFINE_WITHIN * np.maximum(1, np.abs(real))
    return found if within.all() else None


def _missing(front: Front, group: Group, weights: npt.NDArray[np.float64]) -> float:
    try:
        answers = front.partial(changed(front.base, {group.columns[0]: [None]}), group.columns, group.outputs)
    except (TypeError, ValueError):
        return np.nan  # refused: such rows go to the estimator, which says so in its own words
    return float(answers[0] @ weights[group.outputs])


class LinearTables(Evaluator):
    """The margin of a linear classifier, or its logistic probability.

    Args:
        weights: of the front's outputs.
        start: the intercept, and what outputs add that no column decides.
        link: 1 for the probability of the second class, -1 for the first, 0 for the margin.
        coded, affines: groups, by how they are evaluated.
        computed: groups for which the real transformers run.
        compiled: whether numba may be used.
    """

    tier = "linear"
    raw = ()  # what is too large is found where it is multiplied

    def __init__(
        self,
        front: Front,
        weights: npt.NDArray[np.float64],
        start: float,
        link: int,
        coded: Sequence[Coordinate],
        affines: Sequence[Affine],
        computed: Sequence[Group],
        *,
        compiled: bool = False,
    ) -> None:
        self.front, self._weights, self.start, self.link = front, weights, start, link
        self.coded, self._affines, self.computed = list(coded), list(affines), Computed(computed)
        self.axes = [item.axis for item in coded]
        self._offset, self._compiled = sum(item.offset for item in affines), compiled
        self._tables = [
            table @ weights[item.group.outputs]
            for item, table in zip(coded, values_of(front, self.coded, self.computed), strict=True)
        ]

    def answer(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        margin = self.margin(encoded)
        if self.link == 0:
            return margin
        # An infinite margin is no answer: the estimator itself refuses infinite numbers.
        known = np.isfinite(margin.sum())
        odd = None if known else ~np.isfinite(margin)
        probability = np.multiply(margin, -self.link, out=margin)
        np.exp(probability, out=probability)
        probability += 1
        np.reciprocal(probability, out=probability)
        if odd is not None:
            probability[odd] = np.nan
        return probability

    def margin(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        """(n,) values of the decision function."""
        margin = np.full(encoded.rows, self.start)
        added = np.empty(encoded.rows)
        tables = [
            (table.take(coded.table), coded.index)
            for coded, table in ((encoded.coded(item.axis), table) for item, table in self._pairs())
        ]
        for table, index in _joined(tables):
            np.take(table, index, out=added, mode="clip")
            margin += added
        if self.computed.columns:
            margin += self.computed.of(encoded, self.front) @ self._weights[self.computed.outputs]
        self._add_affines(encoded, margin)
        return margin

    def _add_affines(self, encoded: Encoded, margin: npt.NDArray[np.float64]) -> None:
        """Add what continuous columns add: as if all numbers were known and small, and once more if some are not."""
        before = margin.copy()
        margin += self._offset
        add = Affine.add_compiled if self._compiled else Affine.add_to
        small = [add(flat, margin, encoded.filled(flat.column, flat.stand_in)) for flat in self._affines]
        if not all(small) or np.isnan(margin.sum()):
            margin[:] = before
            for flat in self._affines:
                margin += flat.of(encoded.numbers(flat.column))

    def parts(self, encoded: Encoded) -> Iterator[tuple[tuple[str, ...], npt.NDArray[np.float64]]]:
        """Columns of each group and what they add to the margin, (n,); what is left of it is `start`."""
        for item, table in self._pairs():
            coded = encoded.coded(item.axis)
            yield item.group.columns, table.take(coded.table).take(coded.index)
        for flat in self._affines:
            yield (flat.column,), flat.of(encoded.numbers(flat.column))
        first = 0
        for group in self.computed.groups:
            own = slice(first, first := first + len(group.outputs))
            yield group.columns, self.computed.of(encoded, self.front)[:, own] @ self._weights[group.outputs]

    def one(self, record: Mapping[str, Any], codes: Mapping[int, int]) -> float | None:
        if self.computed.columns:
            return None
        margin = self.start
        for item, table in self._pairs():
            margin += table.item(codes[id(item.axis)])
        for flat in self._affines:
            value = record[flat.column]
            if value is None or value != value:
                margin += flat.missing
            elif abs(value) > flat.most:
                return None
            else:
                margin += value * flat.slope + flat.offset
        if not math.isfinite(margin):
            return None
        if self.link == 0:
            return margin
        exponent = -self.link * margin
        return 1 / (1 + math.exp(exponent)) if exponent < _STEEPEST else 0.0

    def _grow(self, place: int, values: npt.NDArray[np.float64]) -> None:
        weights = self._weights[self.coded[place].group.outputs]
        self._tables[place] = np.append(self._tables[place], values @ weights)

    def _pairs(self) -> Iterator[tuple[Coordinate, npt.NDArray[np.float64]]]:
        return zip(self.coded, self._tables, strict=True)


def _joined(
    tables: Iterable[tuple[npt.NDArray[np.float64], npt.NDArray[Any]]],
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[Any]]]:
    """Join columns of few values to one of all their combinations: fewer look-ups, each as fast as before."""
    waiting: tuple[npt.NDArray[np.float64], npt.NDArray[Any]] | None = None
    for table, index in sorted(tables, key=lambda item: len(item[0])):
        if waiting is None:
            waiting = table, index
        elif len(waiting[0]) * len(table) <= _JOINED:
            mixed = np.multiply(index, len(waiting[0]), dtype=np.int32, casting="same_kind")
            mixed += waiting[1]
            waiting = np.add.outer(table, waiting[0]).ravel(), mixed
        else:
            yield waiting
            waiting = table, index
    if waiting is not None:
        yield waiting
