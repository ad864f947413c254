"""Classifiers whose margin is a sum, as one number a code: what a value adds to it.

Belongs here: folding terms into tables and adding them up. Does not: which classifiers those are (`structure.py`), what
an output or a column adds (`terms.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from churn_pipeline.kernel.encoded import Encoded
from churn_pipeline.kernel.evaluator import Computed, Coordinate, Evaluator, values_of
from churn_pipeline.kernel.front import Front
from churn_pipeline.kernel.separable import Group
from churn_pipeline.kernel.terms import Affine, Column, Terms

#: Beyond this the exponential of a double is infinite.
_STEEPEST = 709.0

#: Affine columns from which on numba pays: its import takes a third of a second and 80 MB.
_MANY = 8

#: Combinations of values that are looked up at once: such a table stays in the nearest cache.
_JOINED = 4_096


class LinearTables(Evaluator):
    """The margin of a classifier, or its logistic probability.

    Args:
        terms: of the front's outputs.
        start: of the terms, and what outputs add that no column decides.
        link: 1 for the probability of the second class, -1 for the first, 0 for the margin.
        coded, columns: groups, by how they are evaluated.
        computed: groups for which the real transformers run.
        compiled: whether numba may be used.
    """

    tier = "linear"

    def __init__(
        self,
        front: Front,
        terms: Terms,
        start: float,
        link: int,
        coded: Sequence[Coordinate],
        columns: Sequence[Column],
        computed: Sequence[Group],
        *,
        compiled: bool = False,
    ) -> None:
        self.front, self._terms, self.start, self.link = front, terms, start, link
        self.coded, self._columns, self.computed = list(coded), list(columns), Computed(computed)
        self.axes = [item.axis for item in coded]
        # What is multiplied is looked at there.
        self.raw = [name for axis in self.axes if axis.continuous for name in axis.columns]
        self._affines = [item for item in columns if isinstance(item, Affine)]
        self._others = [item for item in columns if not isinstance(item, Affine)]
        self._compiled = compiled and len(self._affines) >= _MANY
        self._tables = [
            terms.of(table, item.group.outputs)
            for item, table in zip(coded, values_of(front, self.coded, self.computed), strict=True)
        ]

    @property
    def taken(self) -> Sequence[str]:
        return [*self.computed.columns, *(name for column in self._columns for name in column.columns)]

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
        margin = self._of_affines(encoded)
        added = np.empty(encoded.rows)
        tables = [
            (table.take(coded.table), coded.index)
            for coded, table in ((encoded.coded(item.axis), table) for item, table in self._pairs())
        ]
        for table, index in _joined(tables):
            np.take(table, index, out=added, mode="clip")
            margin += added
        if self.computed.columns:
            margin += self._terms.of(self.computed.of(encoded, self.front), self.computed.outputs)
        for column in self._others:
            margin += column.of(*map(encoded.numbers, column.columns))
        return margin

    def _of_affines(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        """The start and what affine columns add: as if all numbers were known and small, or else once more."""
        margin = np.full(encoded.rows, self.start + sum(flat.offset for flat in self._affines))
        add = Affine.add_compiled if self._compiled else Affine.add_to
        small = [add(flat, margin, encoded.filled(flat.columns[0], flat.stand_in)) for flat in self._affines]
        if not all(small) or np.isnan(margin.sum()):
            margin[:] = self.start
            for flat in self._affines:
                margin += flat.of(encoded.numbers(flat.columns[0]))
        return margin

    def parts(self, encoded: Encoded) -> Iterator[tuple[tuple[str, ...], npt.NDArray[np.float64]]]:
        """Columns of each group and what they add to the margin, (n,); what is left of it is `start`."""
        for item, table in self._pairs():
            coded = encoded.coded(item.axis)
            yield item.group.columns, table.take(coded.table).take(coded.index)
        for column in self._columns:
            yield column.columns, column.of(*map(encoded.numbers, column.columns))
        first = 0
        for group in self.computed.groups:
            own = slice(first, first := first + len(group.outputs))
            yield group.columns, self._terms.of(self.computed.of(encoded, self.front)[:, own], group.outputs)

    def one(self, record: Mapping[str, Any], codes: Mapping[int, int]) -> float | None:
        if self.computed.columns:
            return None
        margin = self.start
        for item, table in self._pairs():
            margin += table.item(codes[id(item.axis)])
        for column in self._columns:
            margin += column.one(*map(record.__getitem__, column.columns))
        if not math.isfinite(margin):
            return None
        if self.link == 0:
            return margin
        exponent = -self.link * margin
        return 1 / (1 + math.exp(exponent)) if exponent < _STEEPEST else 0.0

    def _grow(self, place: int, values: npt.NDArray[np.float64]) -> None:
        new = self._terms.of(values, self.coded[place].group.outputs)
        self._tables[place] = np.append(self._tables[place], new)

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
