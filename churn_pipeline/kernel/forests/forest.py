"""A tree ensemble as plain arrays, and what an evaluator of one looks like.

Belongs here: the arrays, how a split compares, which values of a column the splits tell apart. Does not: reading the
arrays out of a fitted estimator (`forest_readers.py`, `booster_readers.py`), evaluating them on rows (`leaf_masks.py`,
`tree_walk.py`), what makes a probability of a margin (`links.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint16]

#: A group's codes are unsigned 16-bit numbers.
MOST_CODES = 65_535


class NotReadable(ValueError):
    """An ensemble that these arrays or this evaluator cannot represent exactly; the text says why."""


@dataclass(frozen=True)
class GroupValues:
    """What the classifier sees for each code of one group of columns.

    Attributes:
        outputs: columns of the classifier's matrix that belong to the group.
        values: (codes, outputs), NaN for missing.
    """

    outputs: Indices
    values: Floats


class Evaluator(Protocol):
    """Scores rows that are given as one code a group."""

    def score(self, codes: Sequence[Codes] | Codes) -> Floats:
        """Probability of the positive class.

        Args:
            codes: for each group the codes of the same n rows. A (groups, n) matrix is read without a copy.

        Returns:
            n float64 numbers.

        Raises:
            IndexError: a code the group does not have.
        """

    def extend(self, group: int, values: Floats) -> None:
        """Append codes to a group: `values` is (new codes, outputs). Not while another thread scores."""


@dataclass(frozen=True, eq=False)
class Forest:
    """Binary decision trees whose leaf values are summed.

    A row stands at a tree's root and goes left or right at each inner node, until a leaf. Nodes of one tree are
    neighbours, and trees come in the order their leaves are summed in.

    Attributes:
        feature: column of the classifier's matrix that a node splits, -1 at leaves.
        threshold: a number goes left if it is `<=` this, compared in float64. Libraries that compare in float32 or by
            `<` are brought to this form when they are read (`forest_readers.float32_threshold`).
        left, right: children, -1 at leaves.
        missing_left: NaN goes left.
        value: what a leaf adds to the margin; 0 at inner nodes.
        cover: training weight that reached a node, as the library counts it.
        roots: root of each tree.
        start: margin before the first tree.
        link: margins (n) to probabilities of the positive class (n, float64).
        total: dtype in which margins are summed, in the order of the trees.
        jobs: how many threads its owner lets it use, as joblib counts them.
        range_set: at splits by sets of numbers (categories) the index into `ranges`, else -1.
        ranges: each ascending, an even number of ends: the set is `(r[0], r[1]]` with `(r[2], r[3]]` and so on.
        inside_left: numbers of the node's set go left and all others right; False: the reverse.
    """

    feature: npt.NDArray[np.int32]
    threshold: Floats
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    missing_left: Bools
    value: Floats
    cover: Floats
    roots: npt.NDArray[np.int32]
    start: float
    link: Callable[[npt.NDArray[np.floating]], Floats]
    range_set: npt.NDArray[np.int32]
    inside_left: Bools
    ranges: tuple[Floats, ...] = ()
    total: np.dtype[np.floating] = field(default_factory=lambda: np.dtype(np.float64))
    jobs: int | None = None

    @cached_property
    def tree(self) -> npt.NDArray[np.int32]:
        """Tree of each node."""
        sizes = np.diff(np.append(self.roots, len(self.feature)))
        return np.repeat(np.arange(len(self.roots), dtype=np.int32), sizes)

    @cached_property
    def levels(self) -> list[Indices]:
        """Nodes by their distance from the root, nearest first."""
        found, level = [], self.roots.astype(np.intp)
        while len(level):
            found.append(level)
            inner = level[self.feature[level] >= 0]
            level = np.concatenate([self.left[inner], self.right[inner]]).astype(np.intp)
        return found

    @cached_property
    def leaf_counts(self) -> Indices:
        """Leaves under each node; 1 at leaves."""
        found = np.ones(len(self.feature), dtype=np.intp)
        for level in reversed(self.levels):
            inner = level[self.feature[level] >= 0]
            found[inner] = found[self.left[inner]] + found[self.right[inner]]
        return found

    @cached_property
    def leaf_numbers(self) -> Indices:
        """Number of the leftmost leaf under each node, counted from the left within its tree."""
        found = np.zeros(len(self.feature), dtype=np.intp)
        for level in self.levels:
            inner = level[self.feature[level] >= 0]
            found[self.left[inner]] = found[inner]
            found[self.right[inner]] = found[inner] + self.leaf_counts[self.left[inner]]
        return found

    @cached_property
    def of_leaves(self) -> np.floating:
        """The margin where every tree is a leaf, added up in the order of the trees."""
        margin = self.total.type(self.start)
        for value in self.value[self.roots].astype(self.total):
            margin += value
        return margin

    def top(self, depth: int) -> Forest:
        """The first levels of each tree: `depth` steps below a root is a leaf, and a leaf's value is its node here."""
        kept = np.sort(np.concatenate(self.levels[: depth + 1]))
        end = np.isin(kept, self.levels[depth]) if depth < len(self.levels) else np.zeros(len(kept), dtype=bool)
        end |= self.feature[kept] < 0
        new = np.full(len(self.feature), -1, dtype=np.int32)
        new[kept] = np.arange(len(kept))
        names = ("threshold", "missing_left", "cover", "range_set", "inside_left")
        return replace(
            self,
            feature=np.where(end, -1, self.feature[kept]).astype(np.int32),
            left=np.where(end, -1, new[self.left[kept]]).astype(np.int32),
            right=np.where(end, -1, new[self.right[kept]]).astype(np.int32),
            value=np.where(end, kept, 0).astype(np.float64),
            roots=new[self.roots],
            total=np.dtype(np.float64),
            **{name: getattr(self, name)[kept] for name in names},
        )

    @cached_property
    def ordinary(self) -> Bools:
        """Inner nodes that compare with their threshold."""
        return (self.feature >= 0) & (self.range_set < 0)

    @cached_property
    def _by_feature(self) -> dict[int, Indices]:
        order = np.argsort(self.feature, kind="stable")
        features, starts = np.unique(self.feature[order], return_index=True)
        return {int(f): nodes for f, nodes in zip(features, np.split(order, starts[1:]), strict=True) if f >= 0}

    @property
    def features(self) -> list[int]:
        """Columns of the classifier's matrix that any tree looks at, ascending."""
        return list(self._by_feature)

    def nodes(self, feature: int) -> Indices:
        """Nodes that split a column."""
        return self._by_feature.get(feature, np.zeros(0, dtype=np.intp))

    def goes_left(self, nodes: Sequence[int] | Indices, values: Floats) -> Bools:
        """Whether numbers go left.

        Args:
            nodes: k inner nodes.
            values: n numbers of the column they split; NaN is missing.

        Returns:
            (k, n).
        """
        nodes = np.asarray(nodes, dtype=np.intp)
        found = values <= self.threshold[nodes, None]
        for i in np.flatnonzero(self.range_set[nodes] >= 0):
            ends = self.ranges[self.range_set[nodes[i]]]
            inside = np.searchsorted(ends, values, side="left") % 2 == 1
            found[i] = inside == self.inside_left[nodes[i]]
        return np.where(np.isnan(values), self.missing_left[nodes, None], found)

    def left_counts(self, nodes: Indices, ascending: Floats) -> Indices:
        """How many of ascending numbers, none of them NaN, go left at `ordinary` nodes: `goes_left` for many nodes."""
        return np.searchsorted(ascending, self.threshold[nodes], side="right")

    def thresholds(self, feature: int) -> Floats:
        """Where the answer of any split of a column can change.

        Returns:
            Ascending numbers t: no split tells apart two numbers that lie between the same two neighbours, the lower
            one excluded and the upper one included (`low < number <= high`). Missing is apart.
        """
        nodes = self.nodes(feature)
        sets = np.unique(self.range_set[nodes])
        ends = [self.ranges[one] for one in sets if one >= 0]
        found = np.unique(np.concatenate([self.threshold[nodes[self.ordinary[nodes]]], *ends]))
        return found[found < np.inf]


def check_groups(forest: Forest, groups: Sequence[GroupValues]) -> None:
    """Whether every column the trees look at belongs to a group that codes can stand for.

    Raises:
        NotReadable: a column of none, or more codes than 16 bits hold.
    """
    owned = {int(column) for group in groups for column in group.outputs}
    if missing := set(forest.features) - owned:
        raise NotReadable(f"{len(missing)} of the columns that the trees look at belong to no group")
    most = max((len(group.values) for group in groups), default=0)
    if most > MOST_CODES:
        raise NotReadable(f"a group has {most:,} codes, more than {MOST_CODES:,}")


def stacked(codes: Sequence[Codes] | Codes, used: Sequence[int], sizes: Indices) -> Codes:
    """Codes of the groups `used`, as one matrix (groups, n).

    Raises:
        IndexError: a code that is not below its group's size.
    """
    whole = isinstance(codes, np.ndarray) and len(used) == len(codes)
    found = np.ascontiguousarray(codes if whole else [codes[group] for group in used], dtype=np.uint16)
    if found.size and (found.max(axis=1) >= sizes[list(used)]).any():
        raise IndexError("a code that its group does not have")
    return found
