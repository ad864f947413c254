"""Loops over contributions that numba compiles.

Belongs here: functions of plain arrays, as in `compiled.py`. Does not: what builds their arrays
(`tree_contributions.py`, which alone imports this, and only when it is told to compile: numba is an extra).
"""

# mypy: ignore-errors

import numpy as np

from churn_pipeline.kernel.forests.compiled import BLOCK, find_rows, lowest_bit
from churn_pipeline.kernel.forests.compiled import kept as compiled
from churn_pipeline.kernel.forests.compiled_walk import add_leaves, find_tops, room_for, row_by_row


@compiled
def mask_contributions(
    codes,
    order,
    places,
    place_starts,
    column_starts,
    words,
    bits,
    by_leaf,
    share_starts,
    value_starts,
    owners,
    values,
    out,
):
    """Contributions by masks.

    Args:
        codes, order, places, place_starts, column_starts, words, bits: as `compiled.mask_margins` takes them.
        by_leaf: the case of a tree is the lowest bit that is on in its mask; False: the mask itself.
        share_starts: (trees + 1) where the columns of a tree start in `owners`.
        value_starts: (trees + 1) where its contributions start in `values`: case after case, column after column.
        owners: (shares) row of `out` that a contribution is added to.
        out: (columns, n) contributions, added to.
    """
    trees, per, width = np.uint64(len(share_starts) - 1), np.uint64(64 // bits), np.uint64(bits)
    every = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(64 - bits)
    at = np.zeros((len(column_starts) - 1, BLOCK), np.uint32)
    masks, cases = np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.uint64)
    for block in range(0, codes.shape[1], BLOCK):
        rows = min(BLOCK, codes.shape[1] - block)
        find_rows(codes[:, block : block + rows], order, places, place_starts, column_starts, at)
        tree = np.uint64(0)
        for w in range(np.uint64(words.shape[1])):
            for r in range(rows):
                mask = words[at[0, r], w]
                for c in range(np.uint64(1), np.uint64(len(at))):
                    mask &= words[at[c, r], w]
                masks[r] = mask
            # All rows of one tree and column, then the next: additions of one row would wait for each other.
            for k in range(min(per, trees - tree)):
                first, shares = share_starts[tree], share_starts[tree + np.uint64(1)] - share_starts[tree]
                for r in range(rows):
                    found = masks[r] >> (k * width)
                    cases[r] = value_starts[tree] + (lowest_bit(found) if by_leaf else found & every) * shares
                for j in range(shares):
                    mine, theirs = out[owners[first + j], block : block + rows], values[j:]
                    for r in range(rows):
                        mine[r] += theirs[cases[r]]
                tree += np.uint64(1)


@compiled
def walk_contributions(
    codes,
    groups,
    places,
    place_starts,
    nodes,
    leaves,
    entries,
    steps,
    order,
    top_places,
    top_place_starts,
    column_starts,
    masks,
    above,
    asked,
    moved,
    out,
):
    """Walk rows through trees, and add up the steps of the way back.

    Args:
        codes, groups, places, place_starts, nodes, entries, steps and those of the tops: as
            `compiled_walk.walk_margins` takes them.
        leaves: what a leaf is called in `above`, `asked` and `moved`; 0 for other nodes.
        above, asked, moved: see `tree_shares.steps`.
        out: (columns, n) contributions, added to.
    """
    n = codes.shape[1]
    block = min(n, 1024)
    own, tops, waiting = room_for(block, len(groups), len(entries))
    sums, ends = np.empty((block, out.shape[0]), np.float64), np.empty(block, np.float64)
    for start in range(0, n, block):
        rows = min(block, n - start)
        sums[:] = 0.0
        here = codes[:, start : start + rows]
        row_by_row(here, groups, places, place_starts, own)
        find_tops(here, order, top_places, top_place_starts, column_starts, masks, tops)
        for t in range(len(entries)):
            ends[:] = 0.0
            add_leaves(nodes, leaves, own, np.uint64(len(groups)), entries[t], steps, tops[t], ends[:rows], waiting)
            for r in range(rows):
                mine, node = sums[r], np.int64(ends[r])
                while above[node] >= 0:
                    mine[asked[node]] += moved[node]
                    node = np.int64(above[node])
        for c in range(out.shape[0]):
            for r in range(rows):
                out[c, start + r] += sums[r, c]
