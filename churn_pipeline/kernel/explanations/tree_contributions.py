"""Sums of what the trees of an ensemble contribute, row by row.

Belongs here: from codes to the pattern or leaf a row has in each tree, and adding up what that contributes. Does not:
what it contributes (`tree_shares.py`), the compiled loops (`compiled_reasons.py`).

These are evaluators of a forest like the ones they are made of, whose `score` gives (columns, n) contributions in place
of n probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from churn_pipeline.kernel.explanations.tree_shares import TreeShares, decision_bits, leaf_shares, pattern_shares, steps
from churn_pipeline.kernel.forests.forest import Codes, Floats, Forest, GroupValues, Indices, stacked
from churn_pipeline.kernel.forests.leaf_masks import LeafMasks
from churn_pipeline.kernel.forests.leaf_sums import Masks
from churn_pipeline.kernel.forests.tree_walk import TreeWalk


@dataclass(frozen=True)
class Destination:
    """Where contributions go.

    Attributes:
        owner: (columns of the classifier's matrix) the contribution each counts to.
        columns: how many contributions there are.
        factor: what all are multiplied by.
    """

    owner: Indices
    columns: int
    factor: float


class LeafContributions(LeafMasks):
    """Saabas' contributions of trees of at most 64 leaves."""

    #: Whether a tree's case is the lowest bit that is on in its mask; if not, it is the mask itself.
    _by_leaf = True

    def __init__(
        self, forest: Forest, groups: Sequence[GroupValues], *, destination: Destination, compiled: bool
    ) -> None:
        super().__init__(forest, groups, compiled=compiled)
        self._to = destination
        shares = [replace(item, values=item.values * destination.factor) for item in self._shares_of(forest)]
        self._by_tree = [list(zip(item.columns.tolist(), item.values.T.copy(), strict=True)) for item in shares]
        self._flat_shares = (
            np.cumsum([0, *(len(item.columns) for item in shares)]).astype(np.uint64),
            np.cumsum([0, *(item.values.size for item in shares)]).astype(np.uint64),
            np.concatenate([item.columns for item in shares]).astype(np.uint64),
            np.concatenate([item.values.ravel() for item in shares]),
        )

    def score(self, codes: Sequence[Codes] | Codes) -> Floats:
        """(columns, n) contributions."""
        out = np.zeros((self._to.columns, len(codes[0]) if len(codes) else 0))
        if not self._used:
            return out
        matrix = stacked(codes, self._used, self._sizes)
        if self._compiled:
            from churn_pipeline.kernel.explanations.compiled_reasons import mask_contributions

            mask_contributions(matrix, *self._arguments[:5], self._bits, self._by_leaf, *self._flat_shares, out)
            return out
        cases = np.empty((self._trees, out.shape[1]), dtype=np.uint8)
        for start, possible in self._possible(matrix):
            cases[:, start : start + len(possible)] = self._cases(possible).T
        for mine, shares in zip(cases, self._by_tree, strict=False):  # behind the last tree there is padding
            for column, values in shares:
                out[column] += values.take(mine)
        return out

    def _shares_of(self, forest: Forest) -> list[TreeShares]:
        return leaf_shares(forest, self._to.owner)

    def _cases(self, possible: Masks) -> Masks:
        """(rows, trees) which case of its shares a tree's mask stands for."""
        return np.bitwise_count((possible & -possible) - np.ones(1, possible.dtype))


class PatternContributions(LeafContributions):
    """Shapley values of trees of at most 7 inner nodes.

    A mask has a bit for each decision of a tree, on where a row may go left: what is on in the masks of all groups is
    the pattern.
    """

    _by_leaf = False

    def __init__(
        self, forest: Forest, groups: Sequence[GroupValues], *, destination: Destination, compiled: bool
    ) -> None:
        self._decisions = decision_bits(forest)
        super().__init__(forest, groups, destination=destination, compiled=compiled)

    def _shares_of(self, forest: Forest) -> list[TreeShares]:
        return pattern_shares(forest, self._to.owner)

    def _cases(self, possible: Masks) -> Masks:
        return possible

    def _group_masks(self, outputs: Indices, values: Floats) -> Masks:
        forest, bits = self._forest, self._decisions
        every = np.zeros(self._trees, dtype=np.uint8)
        known = np.flatnonzero(bits >= 0)
        np.bitwise_or.at(every, forest.tree[known], (1 << bits[known]).astype(np.uint8))
        masks = np.repeat(every[None], len(values), axis=0)
        for column, output in enumerate(outputs):
            nodes = forest.nodes(int(output))
            nodes = nodes[bits[nodes] >= 0]
            for node, left in zip(nodes, forest.goes_left(nodes, values[:, column]), strict=True):
                masks[~left, forest.tree[node]] &= ~np.uint8(1 << bits[node])
        return masks


class WalkContributions(TreeWalk):
    """Saabas' contributions of any forest; needs numba."""

    def __init__(
        self, forest: Forest, groups: Sequence[GroupValues], *, destination: Destination, compiled: bool
    ) -> None:
        # What a walk ends in is told by the leaf's value: here it is the leaf itself.
        numbers = np.where(forest.feature < 0, np.arange(len(forest.feature)), 0).astype(np.float64)
        super().__init__(replace(forest, value=numbers, total=np.dtype(np.float64)), groups, compiled=compiled)
        self._to = destination
        self._steps = steps(forest, destination.owner, destination.factor)

    def score(self, codes: Sequence[Codes] | Codes) -> Floats:
        """(columns, n) contributions."""
        from churn_pipeline.kernel.explanations.compiled_reasons import walk_contributions

        out = np.zeros((self._to.columns, len(codes[0]) if len(codes) else 0))
        if self._used and out.shape[1]:
            walk_contributions(stacked(codes, self._used, self._sizes), *self._arguments, *self._steps, out)
        return out
