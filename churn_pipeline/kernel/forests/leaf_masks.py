"""Trees of at most 64 leaves, evaluated by masks of the leaves still possible.

Belongs here: the evaluator and its tables. Does not: reading ensembles (`forest_readers.py`), summing leaves
(`leaf_sums.py`), the compiled loop (`compiled.py`), deeper trees (`tree_walk.py`).

For every code of a group the table holds one mask a tree: bit i is off if some split of that group sends the code
right and leaf i, counted from the left, lies to its left. What is on in the masks of all groups are the leaves still
possible, and the lowest of them is the leaf of the row. After QuickScorer (Lucchese et al., SIGIR 2015), with codes in
place of its sorted thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

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
from churn_pipeline.kernel.forests.leaf_sums import PADDING, LeafSums, Masks

#: Most leaves of a tree: bits of the widest mask.
MOST_LEAVES = 64

#: Groups are joined into one while the joint table stays within these: it has to stay in a core's second cache.
MOST_JOINT_CODES = 4_096
MOST_JOINT_BYTES = 1 << 18

#: Bytes of masks that numpy handles in one go: they and what is made of them stay in a core's second cache.
BLOCK_BYTES = 1 << 18

#: Rows whose places in the tables numpy works out in one go, which costs next to nothing if they are many.
_STRETCH = 16_384


class _Rows:
    """Masks of one group.

    Attributes:
        masks: (rows, trees).
        place: row of each code.
    """

    def __init__(self, masks: Masks) -> None:
        self.masks = masks[:0]
        self.place = np.zeros(0, dtype=np.intp)
        self._seen: dict[bytes, int] = {}

    def add(self, masks: Masks) -> bool:
        """Append codes; those that no tree tells apart share a row. Says whether there are new rows."""
        before = len(self.masks)
        place: list[int] = []
        new: list[Masks] = []
        for row in masks:
            at = self._seen.setdefault(row.tobytes(), before + len(new))
            if at == before + len(new):
                new.append(row)
            place.append(at)
        self.place = np.append(self.place, np.array(place, dtype=np.intp))
        if new:
            self.masks = np.concatenate([self.masks, np.array(new)])
        return bool(new)


@dataclass
class _Column:
    """Groups that are looked up together: positions among the used groups, their strides, and (rows, trees)."""

    groups: list[int]
    strides: list[int]
    masks: Masks


class LeafMasks:
    """Evaluator of a forest whose trees have at most 64 leaves each.

    Args:
        forest: the trees.
        groups: what codes stand for; a group no tree looks at costs nothing.
        compiled: whether to use numba.

    Raises:
        NotReadable: a tree has more leaves, or a column belongs to no group.
    """

    def __init__(self, forest: Forest, groups: Sequence[GroupValues], *, compiled: bool) -> None:
        check_groups(forest, groups)
        leaves = int(forest.leaf_counts[forest.roots].max())
        if leaves > MOST_LEAVES:
            raise NotReadable(f"a tree has {leaves:,} leaves, more than {MOST_LEAVES}")
        self._forest, self._compiled = forest, compiled
        self._bits = next(bits for bits in (8, 16, 32, 64) if leaves <= bits)
        # A row of masks is a whole number of words of 64 bits; numpy adds up several trees at once.
        padding = 64 // self._bits if compiled and len(forest.roots) < PADDING else PADDING
        self._trees = -(-len(forest.roots) // padding) * padding
        self._outputs = [group.outputs for group in groups]
        self._sizes = np.array([len(group.values) for group in groups])
        self._used = [i for i, g in enumerate(groups) if set(g.outputs.tolist()) & set(forest.features)]
        self._rows = {}
        for i in self._used:
            masks = self._group_masks(groups[i].outputs, groups[i].values)
            self._rows[i] = _Rows(masks)
            self._rows[i].add(masks)
        values = np.zeros((self._trees, leaves if not compiled else self._bits), dtype=forest.total)
        ends = np.flatnonzero(forest.feature < 0)
        values[forest.tree[ends], forest.leaf_numbers[ends]] = forest.value[ends]
        self._values = values
        self._columns = self._join()
        self._prepare()

    def score(self, codes: Sequence[Codes] | Codes) -> Floats:
        """Probability of the positive class for n rows: see `Evaluator.score`."""
        rows = len(codes[0]) if len(codes) else 0
        margins = np.empty(rows, dtype=self._forest.total)
        if self._used:
            matrix = stacked(codes, self._used, self._sizes)
            if self._compiled:
                from churn_pipeline.kernel.forests.compiled import mask_margins

                *_, values, start = self._arguments
                mask_margins(matrix, *self.tables(), values, start, margins)
            else:
                self._margins(matrix, margins)
        else:
            margins[:] = self._forest.of_leaves
        return self._forest.link(margins)

    def tables(self) -> tuple[Any, ...]:
        """For a compiled loop: groups in their order, places, where these start, columns, masks; see `mask_margins`."""
        *where, words, _, _ = self._arguments
        return *where, words.view(f"<u{self._bits // 8}")

    @property
    def used(self) -> Sequence[int]:
        """The groups that any tree looks at."""
        return self._used

    @property
    def leaves(self) -> Floats:
        """(trees, at least the leaves of one) their values."""
        return self._values[: len(self._forest.roots)]

    def extend(self, group: int, values: Floats) -> None:
        """Append codes to a group: see `Evaluator.extend`."""
        self._sizes[group] += len(values)
        if group not in self._rows:
            return
        if self._rows[group].add(self._group_masks(self._outputs[group], values)):
            self._columns = self._join()
        self._prepare()

    @cached_property
    def _sums(self) -> LeafSums:
        return LeafSums(self._values, self._forest.start)

    def _margins(self, codes: Codes, out: npt.NDArray[np.floating]) -> None:
        """Margins with numpy."""
        scratch = self._sums.scratch(min(self._step, codes.shape[1]))
        for start, possible in self._possible(codes):
            out[start : start + len(possible)] = self._sums(possible, scratch)

    def _possible(self, codes: Codes) -> Iterator[tuple[int, Masks]]:
        """Masks (rows, trees) of stretches of rows, with the first row of each: the caller's until it asks for more."""
        step = min(self._step, codes.shape[1])
        # Kept throughout: fresh memory costs more than what is done in it.
        kept, found = (np.empty((step, self._trees), f"u{self._bits // 8}") for _ in range(2))
        for first in range(0, codes.shape[1], _STRETCH):
            places = [_row_numbers(codes[:, first : first + _STRETCH], parts) for parts in self._shares]
            for start in range(0, len(places[0]), step):
                rows = min(step, len(places[0]) - start)
                possible, other = kept[:rows], found[:rows]
                for number, column in enumerate(self._columns):
                    # Codes were checked, so nothing is clipped: numpy buffers what it may have to raise for.
                    into = other if number else possible
                    column.masks.take(places[number][start : start + rows], axis=0, out=into, mode="clip")
                    if number:
                        possible &= other
                yield first + start, possible

    def _group_masks(self, outputs: Indices, values: Floats) -> Masks:
        """Masks of each tree for each code: (codes, trees)."""
        forest = self._forest
        kind = np.dtype(f"u{self._bits // 8}")
        everything = kind.type(np.iinfo(kind).max)
        masks = np.full((len(values), self._trees), everything)
        for column, output in enumerate(outputs):
            nodes, numbers = forest.nodes(int(output)), values[:, column]
            keeps = self._kept_on_the_right(nodes, kind)
            tree = forest.tree[nodes]
            order = np.argsort(numbers, kind="stable")
            known = len(order) - int(np.isnan(numbers).sum())
            # A code that goes right at a threshold does so at all lower ones: masks build up along the numbers.
            plain = forest.ordinary[nodes]
            steps = np.full((known + 1, self._trees), everything)
            counts = forest.left_counts(nodes[plain], numbers[order[:known]])
            np.bitwise_and.at(steps, (counts, tree[plain]), keeps[plain])
            masks[order[:known]] &= np.bitwise_and.accumulate(steps[:known], axis=0)
            missing = np.full(self._trees, everything)
            away = plain & ~forest.missing_left[nodes]
            np.bitwise_and.at(missing, tree[away], keeps[away])
            masks[order[known:]] &= missing
            for i in np.flatnonzero(~plain):
                right = ~forest.goes_left(nodes[i : i + 1], numbers)[0]
                masks[right, tree[i]] &= keeps[i]
        return masks

    def _kept_on_the_right(self, nodes: Indices, kind: np.dtype[np.unsignedinteger]) -> Masks:
        """For each node the mask of what is still possible for a row that goes right."""
        left = self._forest.left[nodes]
        below = self._forest.leaf_counts[left].astype(np.uint64)
        gone = ((np.uint64(1) << below) - np.uint64(1)) << self._forest.leaf_numbers[left].astype(np.uint64)
        return (~gone).astype(kind)

    def _join(self) -> list[_Column]:
        """Groups joined while the joint table stays small, smallest first."""
        columns: list[_Column] = []
        width = self._trees * self._bits // 8
        for position in sorted(range(len(self._used)), key=lambda i: len(self._rows[self._used[i]].masks)):
            masks = self._rows[self._used[position]].masks
            rows = len(columns[-1].masks) * len(masks) if columns else MOST_JOINT_CODES + 1
            # A group without any code yet stays alone: whatever it is joined with would seem to fit.
            if 0 < rows <= MOST_JOINT_CODES and rows * width <= MOST_JOINT_BYTES:
                last = columns[-1]
                last.strides = [*(stride * len(masks) for stride in last.strides), 1]
                last.groups.append(position)
                last.masks = (last.masks[:, None, :] & masks[None, :, :]).reshape(rows, self._trees)
            else:
                columns.append(_Column([position], [1], masks))
        return columns

    def _prepare(self) -> None:
        """Bring what codes add to row numbers into the form that the loop takes."""
        if self._compiled:
            self._arguments = self._flat()
            return
        self._step = max(64, BLOCK_BYTES // (self._trees * self._bits // 8))
        self._shares = [
            [(g, self._rows[self._used[g]].place * s) for g, s in zip(c.groups, c.strides, strict=True)]
            for c in self._columns
        ]

    def _flat(self) -> tuple[Any, ...]:
        """What the compiled loop takes between codes and margins."""
        columns = self._columns
        first = np.cumsum([0, *(len(column.masks) for column in columns)])
        order = [g for column in columns for g in column.groups]
        strides = [s for column in columns for s in column.strides]
        places = [self._rows[self._used[g]].place * s for g, s in zip(order, strides, strict=True)]
        column_starts = np.cumsum([0, *(len(column.groups) for column in columns)])
        for column, start in enumerate(column_starts[:-1]):
            places[start] = places[start] + first[column]  # a column's rows come after those of the ones before
        # The last row leaves every leaf possible.
        kind = np.dtype(f"u{self._bits // 8}")
        everything = np.full((1, self._trees), np.iinfo(kind).max, dtype=kind)
        words = np.concatenate([*(column.masks for column in columns), everything])
        return (
            np.array(order, dtype=np.uint64),
            np.concatenate([np.empty(0, np.intp), *places]).astype(np.uint32),
            np.cumsum([0, *(len(place) for place in places)])[:-1].astype(np.uint64),
            column_starts.astype(np.uint64),
            np.ascontiguousarray(words).view("<u8"),
            self._values.ravel(),
            self._forest.total.type(self._forest.start),
        )


def _row_numbers(codes: Codes, parts: list[tuple[int, Indices]]) -> Indices:
    """Sums of what the codes of some groups add to a row number."""
    (group, share), *others = parts
    found = share.take(codes[group])
    for group, share in others:
        found += share.take(codes[group])
    return found
