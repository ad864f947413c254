"""Forests, codes and a slow but plain evaluator for the tests of tree ensembles."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from churn_pipeline.kernel import compilation
from churn_pipeline.kernel.forests.forest import Floats, Forest, GroupValues
from churn_pipeline.kernel.forests.forest_readers import join_trees
from churn_pipeline.kernel.forests.links import Mean

needs_numba = pytest.mark.skipif(not compilation.available(), reason="numba is not installed")

#: Evaluators by name and whether they are compiled.
EVALUATORS = (
    pytest.param("masks", False, id="masks"),
    pytest.param("masks", True, id="compiled masks", marks=needs_numba),
    pytest.param("walk", True, id="walk", marks=needs_numba),
)


def make(kind: str, forest: Forest, groups: Sequence[GroupValues], *, compiled: bool):
    from churn_pipeline.kernel.forests.leaf_masks import LeafMasks
    from churn_pipeline.kernel.forests.tree_walk import TreeWalk

    return (LeafMasks if kind == "masks" else TreeWalk)(forest, groups, compiled=compiled)


def customers(rows: int = 1_500, *, missing: bool = True, seed: int = 0) -> tuple[Floats, npt.NDArray[np.int64]]:
    """A matrix of two smooth columns, one of many zeros, one of 12 categories, one flag; and who churns."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    x[:, 2] = np.round(x[:, 2] * 3) * rng.integers(0, 2, rows)
    x[:, 3] = rng.integers(0, 12, rows)
    x[:, 4] = rng.integers(0, 2, rows)
    y = (x[:, 0] + x[:, 2] / 2 + (x[:, 3] % 3) * x[:, 4] + rng.normal(size=rows) > 1).astype(np.int64)
    if missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    return x, y


def fitted(estimator: Any, x: Floats, y: npt.NDArray[np.int64]) -> Any:
    """Fit with one thread: on a busy machine OpenMP's threads wait for each other."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return estimator.fit(x, y)


def same(found: Floats, wanted: Floats) -> bool:
    """Whether two arrays of probabilities are equal but for the last bit of the exponential.

    numpy's and scipy's are the same on some processors only; see `Logistic`.
    """
    return bool((np.abs(found - wanted) <= np.finfo(np.float64).eps).all())


def walked(forest: Forest, matrix: Floats) -> Floats:
    """Probabilities by asking every split of a row's path, one after the other."""
    margins = np.full(len(matrix), forest.start, dtype=forest.total)
    for root in forest.roots:
        at = np.full(len(matrix), root)
        while (forest.feature[at] >= 0).any():
            for node in np.unique(at[forest.feature[at] >= 0]):
                rows = np.flatnonzero(at == node)
                left = forest.goes_left([node], matrix[rows, forest.feature[node]])[0]
                at[rows] = np.where(left, forest.left[node], forest.right[node])
        margins += forest.value[at].astype(forest.total)
    return forest.link(margins)


def telling_numbers(forest: Forest, column: int, *, missing: bool) -> Floats:
    """Thresholds, their neighbours in float64 and float32, numbers near zero and between categories, and missing."""
    found = forest.thresholds(column)
    found = found[np.abs(found) < 1e30]
    near = np.concatenate([found, np.nextafter(found, np.inf), np.nextafter(found, -np.inf), found.astype(np.float32)])
    small = np.float32(1e-35) * np.array([1.0, -1.0, 0.5, -0.5, 2.0, -2.0])
    others = np.array([0.0, -0.0, -0.5, 0.5, -1.0, -7.0, 2.5, 11.0, 12.0, 300.0])
    return np.unique(np.concatenate([near, small, others, [np.nan] if missing else []]))


def around_thresholds(forest: Forest, base: Floats, *, missing: bool) -> Floats:
    """Rows of `base` with one column at a time set to each telling number."""
    rng = np.random.default_rng(1)
    rows = [base[:300]]
    for column in forest.features:
        numbers = telling_numbers(forest, column, missing=missing)
        changed = base[rng.integers(0, len(base), len(numbers))].copy()
        changed[:, column] = numbers
        rows.append(changed)
    return np.concatenate(rows)


def one_group_a_column(forest: Forest, width: int, *, missing: bool) -> list[GroupValues]:
    """Every column a group of its own, its codes the telling numbers."""
    return [
        GroupValues(np.array([column]), telling_numbers(forest, column, missing=missing)[:, None])
        for column in range(width)
    ]


def rows_of(groups: Sequence[GroupValues], rows: int, seed: int = 0) -> tuple[npt.NDArray[np.uint16], Floats]:
    """Random codes (groups, rows), and the matrix they stand for."""
    rng = np.random.default_rng(seed)
    codes = np.array([rng.integers(0, len(group.values), rows) for group in groups]).astype(np.uint16)
    matrix = np.zeros((rows, 1 + max(int(group.outputs.max()) for group in groups)))
    for mine, group in zip(codes, groups, strict=True):
        matrix[:, group.outputs] = group.values[mine]
    return codes, matrix


def grown(
    trees: int,
    leaves: int,
    columns: int = 6,
    *,
    seed: int = 0,
    lopsided: bool = False,
    numbers: Sequence[float] = (-1, 0, 1, 2, 3),
) -> Forest:
    """A forest nobody fitted: random shapes, thresholds that many values hit, sets of numbers, missing either way."""
    rng = np.random.default_rng(seed)
    sets: list[Floats] = []
    parts = []
    for _ in range(trees):
        feature, left, right, range_set = [-1], [-1], [-1], [-1]
        ends = [0]
        while len(ends) < leaves:
            node = ends.pop(-1 if lopsided else int(rng.integers(len(ends))))
            feature[node] = int(rng.integers(columns))
            left[node], right[node] = len(feature), len(feature) + 1
            ends += [len(feature), len(feature) + 1]
            for column in (feature, left, right, range_set):
                column += [-1, -1]
            if feature[node] == 0:
                range_set[node] = len(sets)
                chosen = np.sort(rng.choice(numbers, size=int(rng.integers(1, len(numbers) + 1)), replace=False))
                sets.append(np.column_stack([chosen - 0.5, chosen]).ravel())
        size = len(feature)
        parts.append(
            {
                "feature": np.array(feature),
                "threshold": rng.choice([*numbers, 0.5, np.inf], size=size),
                "left": np.array(left),
                "right": np.array(right),
                "missing_left": rng.random(size) < 0.5,
                "value": rng.random(size),
                "cover": np.ones(size),
                "range_set": np.array(range_set),
                "inside_left": rng.random(size) < 0.5,
            }
        )
    return join_trees(parts, 0.25, Mean(trees), ranges=tuple(sets))
