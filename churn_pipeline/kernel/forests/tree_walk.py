"""Trees of any depth, walked on codes.

Belongs here: the evaluator, and packing the trees into one array of 8-byte nodes. Does not: what a column of codes is
for the trees (`tree_columns.py`), the loops (`compiled_walk.py`), trees of at most 64 leaves (`leaf_masks.py` is
faster).

Every split asks whether a code lies in a range. The children of a node are neighbours, so that the next node is a sum;
a leaf is its own child, so that several rows advance together, some of them in vain. The first levels of all trees
are stepped over at once, by leaf masks of trees that end there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import effective_n_jobs

from churn_pipeline.kernel.forests.forest import (
    Codes,
    Floats,
    Forest,
    GroupValues,
    Indices,
    NotReadable,
    check_groups,
    stacked,
)
from churn_pipeline.kernel.forests.leaf_masks import LeafMasks
from churn_pipeline.kernel.forests.tree_columns import SharedColumn, Split, TreeColumn, tree_columns

#: Levels of a tree that are stepped over at most, and the bytes that masks of all trees for all their splits may take:
#: they are as many as the square of the trees, and should stay in a processor's last cache. Of fewer trees than are
#: looked up at once none is stepped over.
_TOP, _TOP_BYTES, _FEW_TREES = 5, 1 << 23, 4

#: A node is 64 bits: from the lowest, column (8), first child (24), lowest code (16) and width (16) of the range.
MOST_COLUMNS = 1 << 8
MOST_NODES = 1 << 24

#: Steps before it is asked which rows have come to their leaf: with more, more are taken in vain.
_STEPS = 7

#: Fewer rows are walked before another thread has started.
_ROWS_A_THREAD = 4_096

#: Every code lies in a range this wide.
_EVERY = np.uint64(0xFFFF)


class TreeWalk:
    """Evaluator of any forest; needs numba.

    Args:
        forest: the trees.
        groups: what codes stand for; a group no tree looks at costs nothing.
        compiled: whether to use numba; without it there is nothing here.

    Raises:
        NotReadable: numba is not to be used, a column belongs to no group, or there are more columns, codes or nodes
            than a node of 64 bits can name.
    """

    def __init__(self, forest: Forest, groups: Sequence[GroupValues], *, compiled: bool) -> None:
        if not compiled:
            raise NotReadable("trees of more than 64 leaves are walked by numba, which is not used here")
        check_groups(forest, groups)
        self._forest = forest
        self._values = [group.values for group in groups]
        self._outputs = [group.outputs for group in groups]
        self._sizes = np.array([len(group.values) for group in groups])
        self._used = [i for i, g in enumerate(groups) if set(g.outputs.tolist()) & set(forest.features)]
        self._arguments: tuple[Any, ...] = ()
        top = _top_levels(len(forest.roots))
        self._top = LeafMasks(forest.top(top), groups, compiled=True)
        self._steps_at_once = min(_STEPS, max(len(forest.levels) - 1 - top, 1))
        self._build()

    def score(self, codes: Sequence[Codes] | Codes) -> Floats:
        """Probability of the positive class for n rows: see `Evaluator.score`."""
        from churn_pipeline.kernel.forests.compiled_walk import walk_margins

        margins = np.full(len(codes[0]) if len(codes) else 0, self._forest.start, dtype=self._forest.total)
        if not self._used:
            margins[:] = self._forest.of_leaves
        elif len(margins):
            matrix = stacked(codes, self._used, self._sizes)
            run = partial(walk_margins, matrix, *self._arguments, margins)
            most = -(-len(margins) // _ROWS_A_THREAD)
            parts = min(effective_n_jobs(self._forest.jobs), most) if most > 1 else 1
            if parts == 1:
                run(0, len(margins))
            else:
                ends = np.linspace(0, len(margins), parts + 1).astype(int).tolist()
                with ThreadPoolExecutor(parts) as threads:
                    deque(threads.map(run, ends[:-1], ends[1:]), maxlen=0)
        return self._forest.link(margins)

    def extend(self, group: int, values: Floats) -> None:
        """Append codes to a group: see `Evaluator.extend`."""
        self._sizes[group] += len(values)
        self._values[group] = np.concatenate([self._values[group], values])
        if group in self._used:
            self._top.extend(group, values)
            known = [column.extend(values) for column in self._columns if column.group == group]
            if all(known):
                self._arguments = (*self._places(), *self._arguments[3:7], *self._tops())
            else:
                self._build()

    def _build(self) -> None:
        if not self._used:
            return
        groups = [(i, GroupValues(self._outputs[i], self._values[i])) for i in self._used]
        self._columns = tree_columns(self._forest, groups)
        if len(self._columns) > MOST_COLUMNS:
            raise NotReadable(f"the trees look at {len(self._columns)} columns, more than {MOST_COLUMNS}")
        nodes, values, slot = _pack(self._forest, self._columns)
        entries = slot[self._top.leaves.astype(np.intp)].astype(np.uint32)
        self._arguments = (*self._places(), nodes.view(np.uint32), values, entries, self._steps_at_once, *self._tops())

    def _places(self) -> tuple[Any, ...]:
        """For the loop: which group a column reads, the column's own code of each code, where its codes start."""
        places = [column.place for column in self._columns]
        position = {group: i for i, group in enumerate(self._used)}
        return (
            np.array([position[column.group] for column in self._columns], dtype=np.uint64),
            np.concatenate(places),
            np.cumsum([0, *(len(place) for place in places)])[:-1].astype(np.uint64),
        )

    def _tops(self) -> tuple[Any, ...]:
        """For the loop: the tables of the trees' tops, which look at some of the groups that the trees do."""
        order, *tables = self._top.tables()
        return np.array([self._used.index(self._top.used[i]) for i in order], dtype=np.uint64), *tables


def _top_levels(trees: int) -> int:
    """How many levels are stepped over."""
    levels = _TOP if trees >= _FEW_TREES else 0
    while levels > 1 and (2**levels - 1) * trees * trees * max(1, 2**levels // 8) > _TOP_BYTES:
        levels -= 1
    return levels


def _pack(
    forest: Forest, columns: Sequence[TreeColumn | SharedColumn]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[Any], Indices]:
    """All trees as 64-bit nodes.

    Returns:
        nodes, behind them a leaf of 0, the value of each (0 at inner nodes), and where each of the forest's nodes is.
    """
    slot = _slots(forest)
    count = len(forest.feature)
    low = np.zeros(count, dtype=np.uint64)
    width = np.full(count, _EVERY)
    owner = np.zeros(count, dtype=np.uint64)
    swapped = np.zeros(count, dtype=bool)
    chains: list[tuple[int, int, Split]] = []
    for number, column in enumerate(columns):
        for feature in column.features:
            nodes = forest.nodes(feature)
            splits, which = column.splits(forest, feature, nodes)
            owner[nodes] = number
            low[nodes] = np.array([split.ranges[0][0] for split in splits], dtype=np.uint64)[which]
            width[nodes] = np.array([split.ranges[0][1] for split in splits], dtype=np.uint64)[which]
            swapped[nodes] = np.array([split.swapped for split in splits])[which]
            chains += [(int(n), number, splits[w]) for n, w in zip(nodes, which, strict=True) if splits[w].chained]
    inner = forest.feature >= 0
    # The pair of children starts with the one that codes inside the range go to.
    slot = _swap(forest, slot, inner & swapped)
    first = np.where(inner, np.minimum(slot[forest.left], slot[forest.right]), slot).astype(np.uint64)
    packed = np.zeros(count, dtype=np.uint64)
    packed[slot] = owner | (first << np.uint64(8)) | (low << np.uint64(32)) | (width << np.uint64(48))
    values = np.zeros(count, dtype=forest.total)
    values[slot] = forest.value
    packed = _chain(packed, slot, chains)
    packed = np.append(packed, np.uint64(len(packed)) << np.uint64(8) | _EVERY << np.uint64(48))
    if len(packed) > MOST_NODES:
        raise NotReadable(f"it has {len(packed):,} nodes, more than {MOST_NODES:,}")
    return packed, np.append(values, np.zeros(len(packed) - count, dtype=values.dtype)), slot


def _slots(forest: Forest) -> Indices:
    """New node numbers: tree after tree, level after level, children of a node side by side.

    Nodes that no root leads to keep a place at the end.
    """
    order = []
    level = forest.roots.astype(np.intp)
    while len(level):
        order.append(level)
        inner = level[forest.feature[level] >= 0]
        level = np.column_stack([forest.left[inner], forest.right[inner]]).ravel().astype(np.intp)
    reached = np.concatenate(order)
    reached = reached[np.argsort(forest.tree[reached], kind="stable")]
    slot = np.full(len(forest.feature), -1, dtype=np.intp)
    slot[reached] = np.arange(len(reached))
    lost = slot < 0
    slot[lost] = np.arange(len(reached), len(slot))
    return slot


def _swap(forest: Forest, slot: Indices, nodes: npt.NDArray[np.bool_]) -> Indices:
    """Exchange the places of the two children of some nodes."""
    found = slot.copy()
    found[forest.left[nodes]] = slot[forest.right[nodes]]
    found[forest.right[nodes]] = slot[forest.left[nodes]]
    return found


def _chain(
    packed: npt.NDArray[np.uint64], slot: Indices, chains: Sequence[tuple[int, int, Split]]
) -> npt.NDArray[np.uint64]:
    """Nodes whose set of codes is several ranges ask for one after the other.

    Codes outside the first range go to a new node that asks for the second. Beside it stands a copy of the child that
    codes inside go to: the tree below is shared.
    """
    children = np.uint64(((1 << 24) - 1) << 8)
    more: list[int] = []
    copies: list[tuple[int, int]] = []
    for node, column, split in chains:
        here = int(slot[node])
        child = int(packed[here] & children) >> 8
        for low, width in split.ranges[1:]:
            pair = len(packed) + len(more)
            asks = column | (child << 8) | (low << 32) | (width << 48)
            if here < len(packed):
                packed[here] = (packed[here] & ~children) | np.uint64(pair << 8)
            else:
                more[here - len(packed)] = (more[here - len(packed)] & ~int(children)) | (pair << 8)
            copies.append((len(more), child))
            more += [0, asks]
            here = pair + 1
    # Last, as a child may be such a node itself.
    for to, child in copies:
        more[to] = int(packed[child])
    return np.append(packed, np.array(more, dtype=np.uint64))
