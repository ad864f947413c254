"""Any classifier at all, on a matrix that is looked up instead of computed.

Belongs here: filling the matrix and asking the real classifier. Does not: classifiers that have tables of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from churn_pipeline.kernel import structure
from churn_pipeline.kernel.encoded import Encoded
from churn_pipeline.kernel.evaluator import Computed, Coordinate, Evaluator, values_of
from churn_pipeline.kernel.front import Front
from churn_pipeline.kernel.node import Leaf
from churn_pipeline.kernel.separable import Group, places

#: Rows whose matrix is filled and handed on at once: one of a whole batch would not stay in any cache.
_BLOCK = 16_384


class Matrix(Evaluator):
    """The real classifier, and the real transformers that mix columns, behind looked-up columns.

    Args:
        rest: transformers between the front and the classifier.
        coded: groups whose outputs are looked up.
        computed: groups for which the real transformers run.
    """

    tier = "matrix"

    def __init__(
        self,
        front: Front,
        rest: Sequence[Any],
        leaf: Leaf,
        coded: Sequence[Coordinate],
        computed: Sequence[Group],
    ) -> None:
        self.front, self._rest, self._leaf = front, tuple(rest), leaf
        self.coded, self.computed = list(coded), Computed(computed)
        self.axes = [item.axis for item in coded]
        self.raw = self.computed.columns
        decided = [self.computed.outputs, *(item.group.outputs for item in coded)]
        self._fixed = np.setdiff1d(np.arange(front.standing.shape[1]), np.concatenate(decided))
        self._tables = values_of(front, coded, self.computed)

    def answer(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        computed = self.computed.of(encoded, self.front) if self.computed.columns else None
        found = np.empty(encoded.rows)
        for start in range(0, encoded.rows, _BLOCK):
            rows = slice(start, min(start + _BLOCK, encoded.rows))
            found[rows] = self._asked(self._matrix(encoded, computed, rows))
        return found

    def _matrix(self, encoded: Encoded, computed: npt.NDArray[np.float64] | None, rows: slice) -> npt.NDArray[Any]:
        matrix = np.empty((rows.stop - rows.start, self.front.standing.shape[1]))
        matrix[:, self._fixed] = self.front.standing[:, self._fixed]
        for item, table in zip(self.coded, self._tables, strict=True):
            coded = encoded.coded(item.axis)
            known = table.take(coded.table, axis=0)
            matrix[:, places(item.group.outputs)] = known.take(coded.index[rows], axis=0)
        if computed is not None:
            matrix[:, places(self.computed.outputs)] = computed[rows]
        return matrix

    def _asked(self, matrix: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        found = self.front.contain(matrix)
        for transformer in self._rest:
            found = transformer.transform(found)
        return structure.answer(self._leaf, found)

    def _grow(self, place: int, values: npt.NDArray[np.float64]) -> None:
        self._tables[place] = np.concatenate([self._tables[place], values])
