"""What each column of a tree contributes, before any row is seen.

Belongs here: Shapley values of a tree for each pattern of its decisions, and Saabas' steps for each of its nodes. Does
not: which pattern or leaf a row has (`tree_contributions.py`).

Where a column is not known, both follow both children, weighted by the training rows that went there: the
path-dependent expectation of TreeSHAP (Lundberg et al., Nature Machine Intelligence 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import factorial

import numpy as np
import numpy.typing as npt

from churn_pipeline.kernel.forests.forest import Floats, Forest, Indices

Places = npt.NDArray[np.int32]

#: Inner nodes of the largest tree whose patterns of decisions are tried out one by one.
MOST_DECISIONS = 7


@dataclass(frozen=True)
class TreeShares:
    """Contributions of one tree.

    Attributes:
        columns: (m,) places of the columns it looks at.
        values: (cases, m) contributions; a case is a pattern or a leaf.
    """

    columns: Indices
    values: Floats


def decision_bits(forest: Forest) -> Indices:
    """For each inner node its bit in the pattern of its tree, the lowest first; -1 for others, and where none leads."""
    found = np.full(len(forest.feature), -1, dtype=np.intp)
    reached = np.sort(np.concatenate(forest.levels))
    inner = reached[forest.feature[reached] >= 0]
    _, first, counts = np.unique(forest.tree[inner], return_index=True, return_counts=True)
    found[inner] = np.arange(len(inner)) - np.repeat(first, counts)
    return found


def left_shares(forest: Forest) -> Floats:
    """For each node the share of its training rows that went left; 0 at leaves."""
    found = np.zeros(len(forest.feature))
    inner = np.flatnonzero(forest.feature >= 0)
    left, right = forest.cover[forest.left[inner]], forest.cover[forest.right[inner]]
    total = left + right
    found[inner] = np.divide(left, total, out=np.full(len(inner), 0.5), where=total > 0)
    return found


def node_means(forest: Forest) -> Floats:
    """For each node the mean of the leaves below it, over the training rows."""
    found, shares = forest.value.astype(np.float64), left_shares(forest)
    for level in reversed(forest.levels):
        inner = level[forest.feature[level] >= 0]
        share = shares[inner]
        found[inner] = share * found[forest.left[inner]] + (1 - share) * found[forest.right[inner]]
    return found


def pattern_shares(forest: Forest, owner: Indices) -> list[TreeShares]:
    """Shapley values for each pattern of decisions, by all subsets of the columns of a tree's matrix.

    Args:
        owner: (columns of the matrix) to which column a contribution counts; those of one owner are added up.

    Returns:
        For each tree of at most 7 inner nodes; case p is the pattern p: bit `decision_bits` is on where a row would go
        left.
    """
    bits, shares = decision_bits(forest), left_shares(forest)
    return [_of_tree(forest, int(root), bits, shares, owner) for root in forest.roots]


def _of_tree(forest: Forest, root: int, bits: Indices, shares: Floats, owner: Indices) -> TreeShares:
    def inner_nodes(node: int) -> list[int]:
        if forest.feature[node] < 0:
            return []
        return [node, *inner_nodes(forest.left[node]), *inner_nodes(forest.right[node])]

    nodes = inner_nodes(root)
    features = np.unique(forest.feature[np.array(nodes, dtype=np.intp)])
    patterns, subsets = np.arange(1 << len(nodes)), np.arange(1 << len(features))[:, None]

    def expected(node: int) -> Floats:
        if forest.feature[node] < 0:
            return forest.value[node : node + 1]
        left, right = expected(forest.left[node]), expected(forest.right[node])
        known = subsets >> np.searchsorted(features, forest.feature[node]) & 1 == 1
        decided = np.where(patterns >> bits[node] & 1 == 1, left, right)
        return np.where(known, decided, shares[node] * left + (1 - shares[node]) * right)

    values = (_shapley_weights(len(features)) @ np.broadcast_to(expected(root), (len(subsets), len(patterns)))).T
    columns, place = np.unique(owner[features], return_inverse=True)
    return TreeShares(columns, values @ np.eye(len(columns))[place])


@cache
def _shapley_weights(players: int) -> Floats:
    """(players, 2 ** players) what a player's Shapley value takes of what each subset is worth."""
    found = np.zeros((players, 1 << players))
    for subset in range(1 << players):
        size = subset.bit_count()
        for player in range(players):
            others = size - (subset >> player & 1)
            weight = factorial(others) * factorial(players - others - 1) / factorial(players)
            found[player, subset] = weight if subset >> player & 1 else -weight
    return found


def steps(forest: Forest, owner: Indices, factor: float) -> tuple[Places, Places, Floats]:
    """Saabas' contributions, step by step: what each step down moves the mean by, to the column that was asked.

    Args:
        factor: what the contributions are multiplied by.

    Returns:
        For each node the one above it, the column that one asks, and the contribution; at roots -1, 0 and 0.
    """
    means = node_means(forest) * factor
    above, asked, moved = (
        np.full(len(means), -1, dtype=np.intp),
        np.zeros(len(means), dtype=np.intp),
        np.zeros(len(means)),
    )
    inner = np.flatnonzero(forest.feature >= 0)
    for children in (forest.left[inner], forest.right[inner]):
        above[children], asked[children] = inner, owner[forest.feature[inner]]
        moved[children] = means[children] - means[inner]
    return above.astype(np.int32), asked.astype(np.int32), moved


def leaf_shares(forest: Forest, owner: Indices) -> list[TreeShares]:
    """Saabas' contributions for each leaf.

    Returns:
        For each tree; case i is the leaf i, counted from the left.
    """
    above, asked, moved = steps(forest, owner, 1.0)
    sums = np.zeros((len(forest.feature), int(owner.max(initial=0)) + 1))
    for level in forest.levels[1:]:
        sums[level] = sums[above[level]]
        sums[level, asked[level]] += moved[level]
    reached = np.sort(np.concatenate(forest.levels))
    found = []
    for nodes in np.split(reached, np.searchsorted(forest.tree[reached], np.arange(1, len(forest.roots)))):
        inner, ends = nodes[forest.feature[nodes] >= 0], nodes[forest.feature[nodes] < 0]
        columns = np.unique(owner[forest.feature[inner]])
        found.append(TreeShares(columns, sums[ends[np.argsort(forest.leaf_numbers[ends])]][:, columns]))
    return found


def base(forest: Forest) -> float:
    """Margin that contributions are added to: the mean of all trees over the training rows."""
    return float(forest.start + node_means(forest)[forest.roots].sum())
