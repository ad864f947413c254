"""From a fitted model to tables: the fastest evaluation that its parts allow, or the reason why there is none.

Belongs here: choosing, classifier by classifier. Does not: whether the choice is right (`proof.py`), evaluators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel import structure
from churn_pipeline.kernel.breaks import Crossing, breaks
from churn_pipeline.kernel.codes import Axis, Combinations, Numbers, TooManyValues, Words, few_whole, is_number, numbers
from churn_pipeline.kernel.evaluator import Coordinate, Evaluator, Surprise
from churn_pipeline.kernel.forests.forest import Forest, NotReadable
from churn_pipeline.kernel.forests.forest_tables import ForestTables, Takes
from churn_pipeline.kernel.front import Front, quiet
from churn_pipeline.kernel.intervals import Intervals
from churn_pipeline.kernel.linear_tables import LinearTables
from churn_pipeline.kernel.material import Material
from churn_pipeline.kernel.matrix import Matrix
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.node import Leaf, leaves
from churn_pipeline.kernel.products import product
from churn_pipeline.kernel.refusing import refusing
from churn_pipeline.kernel.separable import Group, groups
from churn_pipeline.kernel.tables import Tables, find_refused
from churn_pipeline.kernel.terms import Column, Densities, Terms, Weights

#: What comes before zero and zero itself: between them is nothing else.
_ZERO = np.array([np.nextafter(0.0, -1.0), 0.0])

#: A column of doubles with no more distinct values than this in the sample is a column of names.
_FEW = 64

#: The largest number of single precision, in which trees are fitted.
_LARGEST = float(np.finfo(np.float32).max)


class NotCompiled(Exception):
    """No tables for this model; the text says why, for the plan."""


def compile_tables(
    model: ModelVersion, estimator: Any, material: Material, *, compiled: bool, only_matrix: bool = False
) -> Tables:
    """Take a model apart and build an evaluator for each of its classifiers.

    Args:
        material: customers to probe with, all of which the estimator scores.
        compiled: whether numba may be used.
        only_matrix: leave the classifiers themselves to the estimator.

    Raises:
        NotCompiled: why not.
    """
    node = structure.read(estimator, model.positive)
    maker = _Compiler(model, estimator, material, compiled=compiled, only_matrix=only_matrix)
    with quiet(), np.errstate(all="ignore"):
        try:
            evaluators = [(leaf, maker.evaluator(leaf)) for leaf in leaves(node)]
        except Surprise:
            raise NotCompiled("a value decides more of its columns than probing has shown") from None
    unasked = refusing(model, estimator, material, [evaluator for _, evaluator in evaluators])
    return Tables(model, estimator, material.sample, node, evaluators, unasked, compiled=compiled)


class _Compiler:
    """Builds evaluators that share fronts and axes."""

    def __init__(
        self, model: ModelVersion, estimator: Any, material: Material, *, compiled: bool, only_matrix: bool
    ) -> None:
        self._model, self._estimator, self._material = model, estimator, material
        self._compiled, self._only_matrix = compiled, only_matrix
        self._fronts: dict[tuple[int, ...], tuple[Front, list[Group]] | str] = {}
        self._axes: dict[tuple[tuple[str, ...], bytes], Axis] = {}

    def evaluator(self, leaf: Leaf) -> Evaluator:
        """The fastest evaluator for one classifier.

        Raises:
            NotCompiled
        """
        why = ""
        for end in range(len(leaf.chain), -1, -1):
            found = self._front(leaf.chain[:end])
            if isinstance(found, str):
                why = why or found
                continue
            front, parts = found
            self._make_axes(front, parts)
            rest = leaf.chain[end:]
            if not self._only_matrix:
                if (terms := self._terms(front, rest, leaf)) is not None:
                    return self._sums(front, parts, terms, leaf)
                if not rest and (made := self._trees(front, parts, leaf)) is not None:
                    return made
            return self._matrix(front, parts, rest, leaf)
        raise NotCompiled(why or "its transformers combine columns of the customer")

    def _front(self, chain: tuple[Any, ...]) -> tuple[Front, list[Group]] | str:
        """The front and its groups, or why there is none."""
        key = tuple(map(id, chain))
        if key not in self._fronts:
            self._fronts[key] = self._probed(chain)
        return self._fronts[key]

    def _probed(self, chain: tuple[Any, ...]) -> tuple[Front, list[Group]] | str:
        front = Front(chain, self._model.inputs, self._material.base)
        all_of_them = any(len(columns) == len(self._model.inputs) > 1 for columns in front.together())
        if all_of_them and front.products([item.name for item in self._model.inputs]) is None:
            return f"{_last_unknown(chain)} may combine any columns of the customer"
        try:
            return front, groups(front, self._material.bases, self._material.pools)
        except (TypeError, ValueError) as error:
            return f"its columns cannot be looked at one by one ({type(error).__name__})"

    def _terms(self, front: Front, rest: Sequence[Any], leaf: Leaf) -> Terms | None:
        """What the front's outputs add to a margin, through whatever affine steps lie between; None if it is no sum."""
        if not rest and (normal := structure.densities(leaf)) is not None:
            return Densities(*normal)
        found = structure.linear(leaf)
        if found is None or not all(structure.affine(step) for step in rest):
            return None
        if not rest:
            return Weights(*found)
        weights, intercept = found
        width = front.standing.shape[1]
        answers: Any = front.contain(np.concatenate([np.zeros((1, width)), np.eye(width)]))
        for step in rest:
            answers = step.transform(answers)
        margins = structure.dense(answers).astype(np.float64) @ weights + intercept
        return Weights(margins[1:] - margins[0], float(margins[0]))

    def _sums(self, front: Front, parts: list[Group], terms: Terms, leaf: Leaf) -> Evaluator:
        columns: list[Column] = []
        coded: list[Coordinate] = []
        computed: list[Group] = []
        for group in parts:
            column = self._column(front, group, terms)
            if column is not None:
                columns.append(column)
            elif (axis := self._axis(front, group)) is not None:
                coded.append(Coordinate(group, axis))
            else:
                computed.append(group)
        decided = np.concatenate([np.empty(0, np.intp), *(group.outputs for group in parts)])
        standing = np.setdiff1d(np.arange(front.standing.shape[1]), decided)
        start = terms.start + float(terms.of(front.standing[:, standing], standing)[0])
        link = 0 if leaf.margin else 1 if leaf.positive == 1 else -1
        return LinearTables(front, terms, start, link, coded, columns, computed, compiled=self._compiled)

    def _column(self, front: Front, group: Group, terms: Terms) -> Column | None:
        if not all(map(self._is_number, group.columns)):
            return None
        if len(group.columns) > 1:
            return product(front, group, terms, self._material.pools) if isinstance(terms, Weights) else None
        seen = numbers(self._material.pools[group.columns[0]])
        if (bend := front.bends(group.columns[0])) is not None and isinstance(terms, Weights):
            return terms.bent_column(front, group, seen, bend)
        return terms.column(front, group, seen) if front.monotone(group.columns[0]) else None

    def _trees(self, front: Front, parts: list[Group], leaf: Leaf) -> Evaluator | None:
        reader = structure.forest_reader(leaf)
        if reader is None:
            return None
        from churn_pipeline.kernel.forests import leaf_masks, tree_walk

        try:
            forest = reader(leaf.classifier, leaf.positive)
            if leaf.margin:
                forest = replace(forest, link=_unchanged)
            gaps = _has_gaps(front, leaf)
            coded, computed = self._cut(front, parts, forest, _ZERO if gaps else np.zeros(0))
            front = front.with_gaps() if gaps else front
            takes = _takes(front, leaf) if computed else None
            for tier, evaluator in (("masks", leaf_masks.LeafMasks), ("walk", tree_walk.TreeWalk)):
                try:
                    return ForestTables(
                        front,
                        forest,
                        tier,
                        partial(evaluator, compiled=self._compiled),
                        coded,
                        computed,
                        takes,
                    )
                except NotReadable:
                    continue
        except (NotReadable, TooManyValues):
            return None
        return None

    def _cut(
        self, front: Front, parts: list[Group], forest: Forest, more: npt.NDArray[np.float64]
    ) -> tuple[list[Coordinate], list[Group]]:
        """Give every group codes; of numbers by the thresholds of the trees, and more, if everything is monotone."""
        coded, computed, crossings = [], [], list[Crossing]()
        continuous = []
        for group in parts:
            if self._monotone(front, group):
                continuous.append(group)
                cuts = [(int(place), forest.thresholds(int(place))) for place in group.outputs]
                cuts = [(place, np.union1d(found, more)) for place, found in cuts if len(found)]
                crossings += [Crossing(group.columns[0], place, found) for place, found in cuts]
            elif (axis := self._axis(front, group)) is not None:
                coded.append(Coordinate(group, axis))
            else:
                computed.append(group)
        found = breaks(front, crossings) if crossings else {}
        axes = [self._intervals(group.columns[0], found) for group in continuous]
        find_refused(self._estimator, self._model, self._material.base, axes)
        coded += [Coordinate(group, axis) for group, axis in zip(continuous, axes, strict=True)]
        return coded, computed

    def _intervals(self, column: str, found: Mapping[str, npt.NDArray[np.float64]]) -> Intervals:
        kind = self._material.base.schema.field(column).type
        return Intervals(column, found.get(column, np.empty(0)), kind, compiled=self._compiled)

    def _matrix(self, front: Front, parts: list[Group], rest: Sequence[Any], leaf: Leaf) -> Evaluator:
        coded = [Coordinate(group, axis) for group in parts if (axis := self._axis(front, group)) is not None]
        computed = [group for group in parts if self._axis(front, group) is None]
        if not rest and _has_gaps(front, leaf):
            front = front.with_gaps()
        if not any(isinstance(item.axis, Words | Combinations) for item in coded):
            raise NotCompiled("it has no text to look up, and its classifier has no tables")
        return Matrix(front, rest, leaf, coded, computed)

    def _axis(self, front: Front, group: Group) -> Axis | None:
        """Codes for a group of columns whose values are few; None for anything continuous."""
        return self._axes.get(self._key(front, group)) if group.seen and not self._continuous(front, group) else None

    def _key(self, front: Front, group: Group) -> tuple[tuple[str, ...], bytes]:
        jumps = self._jumps(front, group)
        return group.columns, b"" if jumps is None else jumps.tobytes()

    def _make_axes(self, front: Front, parts: list[Group]) -> None:
        """Make the axes of all groups that have one, and ask the estimator about all their values at once."""
        new: dict[tuple[tuple[str, ...], bytes], Axis] = {}
        for group in parts:
            key = self._key(front, group)
            if key in self._axes or not group.seen or self._continuous(front, group):
                continue
            if (jumps := self._jumps(front, group)) is not None:
                new[key] = self._intervals(group.columns[0], {group.columns[0]: jumps})
                continue
            with suppress(TooManyValues):
                if (made := self._made_axis(group)) is not None:
                    new[key] = made
        find_refused(self._estimator, self._model, self._material.base, list(new.values()))
        self._axes.update(new)

    def _made_axis(self, group: Group) -> Axis | None:
        if len(group.columns) > 1:
            single = [self._made_axis(Group((name,), group.outputs)) for name in group.columns]
            kept = [axis for axis in single if axis is not None]
            return Combinations(kept) if len(kept) == len(single) else None
        name = group.columns[0]
        pool = self._material.pools[name]
        if not self._is_number(name):
            words = Words(name)
            words.look(pa.RecordBatch.from_arrays([pool], [name]))
            return words
        if (whole := few_whole(pool)) is not None:
            return Numbers(name, whole, compiled=self._compiled)
        few = not pa.types.is_integer(pool.type) and self._material.distinct(name) <= _FEW
        return Numbers(name, numbers(pool.drop_null()), compiled=self._compiled) if few else None

    def _jumps(self, front: Front, group: Group) -> npt.NDArray[np.float64] | None:
        """The last number before each jump of what is made of one column of numbers, if it only jumps."""
        column, *others = group.columns
        kind = self._material.pools[column].type
        whole = bool(pa.types.is_integer(kind))
        if others or not (whole or pa.types.is_float64(kind)) or (jumps := front.jumps(column)) is None:
            return None
        return np.unique(np.ceil(jumps) - 1 if whole else np.nextafter(jumps, -np.inf))

    def _is_number(self, column: str) -> bool:
        return is_number(self._material.pools[column].type)

    def _continuous(self, front: Front, group: Group) -> bool:
        """Whether it is one column of many numbers, of which everything is a monotone function."""
        pool = self._material.pools[group.columns[0]]
        many = pa.types.is_float64(pool.type) or (pa.types.is_integer(pool.type) and few_whole(pool) is None)
        return many and self._monotone(front, group)

    def _monotone(self, front: Front, group: Group) -> bool:
        column, *others = group.columns
        kind = self._material.pools[column].type
        return not others and (pa.types.is_float64(kind) or pa.types.is_integer(kind)) and front.monotone(column)


def _has_gaps(front: Front, leaf: Leaf) -> bool:
    return front.sparse and structure.reads_zero_as_missing(leaf)


def _takes(front: Front, leaf: Leaf) -> Takes | None:
    """Which numbers the classifier takes in its matrix; None for all of them."""
    takes_missing = _is_taken(front, leaf, np.nan)
    if takes_missing and _is_taken(front, leaf, np.inf) and _is_taken(front, leaf, -np.inf):
        return None
    return _finite_or_missing if takes_missing else _finite


def _is_taken(front: Front, leaf: Leaf, value: float) -> bool:
    row = front.standing.copy()
    row[0, 0] = value
    try:
        structure.answer(leaf, front.contain(row))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  the classifier is foreign code and may raise anything
        return False
    return True


def _finite(found: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Where a number is finite in single precision too."""
    taken: npt.NDArray[np.bool_] = np.abs(found) <= _LARGEST
    return taken


def _finite_or_missing(found: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return _finite(found) | np.isnan(found)


def _unchanged(margins: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    return np.asarray(margins, dtype=np.float64)


def _last_unknown(chain: Sequence[Any]) -> str:
    names = [type(step).__name__ for step in chain if not structure.columnwise(step)]
    return names[-1] if names else "its preprocessing"
