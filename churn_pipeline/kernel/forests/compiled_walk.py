"""The loops that walk trees, compiled by numba.

Belongs here: functions of plain arrays, as in `compiled.py`. Does not: what builds their arrays (`tree_walk.py`, which
imports this only when it is told to compile: numba is an extra).
"""

# mypy: ignore-errors

import numpy as np

from churn_pipeline.kernel.forests.compiled import BLOCK, find_rows, kept, leaf_numbers, places_of


@kept
def _next(nodes, codes, row, at):
    """The node after `at` for the row whose codes are every eighth from `row` on."""
    low, high = np.uint64(nodes[at << np.uint64(1)]), nodes[(at << np.uint64(1)) | np.uint64(1)]
    code = codes[row + ((low & np.uint64(0xFF)) << np.uint64(3))]
    away = np.uint16(code - np.uint16(high)) > np.uint16(high >> np.uint32(16))
    return (low >> np.uint64(8)) + np.uint64(away)


@kept
def add_leaves(nodes, values, codes, columns, entries, tops, sums):
    """Walk rows through one tree, eight at once: each step waits for the memory of the one before it.

    Args:
        nodes: see `walk_margins`.
        values: of nodes, added to `sums`.
        codes: see `interleave`; whatever stands behind the last row may be walked with it.
        entries, tops: nodes to start from, and from which of them each row does.
        sums: (a multiple of eight).
    """
    first = np.uint64(0)
    for row in range(np.uint64(0), np.uint64(len(sums)), np.uint64(8)):
        a = np.uint64(entries[tops[row + np.uint64(0)]])
        b = np.uint64(entries[tops[row + np.uint64(1)]])
        c = np.uint64(entries[tops[row + np.uint64(2)]])
        d = np.uint64(entries[tops[row + np.uint64(3)]])
        e = np.uint64(entries[tops[row + np.uint64(4)]])
        f = np.uint64(entries[tops[row + np.uint64(5)]])
        g = np.uint64(entries[tops[row + np.uint64(6)]])
        h = np.uint64(entries[tops[row + np.uint64(7)]])
        moved = np.uint64(1)
        while moved != 0:
            # Two steps before it is asked whether any row has moved. As a sum, of which no branch a row is made.
            a1 = _next(nodes, codes, first + np.uint64(0), a)
            b1 = _next(nodes, codes, first + np.uint64(1), b)
            c1 = _next(nodes, codes, first + np.uint64(2), c)
            d1 = _next(nodes, codes, first + np.uint64(3), d)
            e1 = _next(nodes, codes, first + np.uint64(4), e)
            f1 = _next(nodes, codes, first + np.uint64(5), f)
            g1 = _next(nodes, codes, first + np.uint64(6), g)
            h1 = _next(nodes, codes, first + np.uint64(7), h)
            a = _next(nodes, codes, first + np.uint64(0), a1)
            b = _next(nodes, codes, first + np.uint64(1), b1)
            c = _next(nodes, codes, first + np.uint64(2), c1)
            d = _next(nodes, codes, first + np.uint64(3), d1)
            e = _next(nodes, codes, first + np.uint64(4), e1)
            f = _next(nodes, codes, first + np.uint64(5), f1)
            g = _next(nodes, codes, first + np.uint64(6), g1)
            h = _next(nodes, codes, first + np.uint64(7), h1)
            moved = (a ^ a1) + (b ^ b1) + (c ^ c1) + (d ^ d1) + (e ^ e1) + (f ^ f1) + (g ^ g1) + (h ^ h1)
        sums[row + np.uint64(0)] += values[a]
        sums[row + np.uint64(1)] += values[b]
        sums[row + np.uint64(2)] += values[c]
        sums[row + np.uint64(3)] += values[d]
        sums[row + np.uint64(4)] += values[e]
        sums[row + np.uint64(5)] += values[f]
        sums[row + np.uint64(6)] += values[g]
        sums[row + np.uint64(7)] += values[h]
        first += np.uint64(8) * columns


@kept
def interleave(codes, groups, places, place_starts, own):
    """The columns' own codes of some rows, eight rows by eight: column by column, and side by side those of the eight.

    Args:
        codes, groups, places, place_starts: see `walk_margins`.
        own: where to put them.
    """
    width = np.uint64(8 * len(groups))
    for c in range(np.uint64(len(groups))):
        place, theirs = places[place_starts[c] :], codes[groups[c]]
        for r in range(np.uint64(len(theirs))):
            own[(r >> np.uint64(3)) * width + (c << np.uint64(3)) + (r & np.uint64(7))] = place[theirs[r]]


@kept
def find_tops(codes, order, places, place_starts, column_starts, masks, tops):
    """The leaf of each row in each tree's top: arguments as `compiled.mask_margins` takes them, of the tops.

    Args:
        tops: (trees, a multiple of eight that is not less than n).
    """
    width, flat, at = np.uint64(masks.shape[1]), masks.ravel(), places_of(column_starts, masks, codes.shape[1])
    possible, leaf = np.full(width, flat[-1], masks.dtype), np.zeros((8, width), np.uint8)
    for block in range(0, codes.shape[1], BLOCK):
        rows = min(BLOCK, codes.shape[1] - block)
        find_rows(codes[:, block : block + rows], order, places, place_starts, column_starts, at)
        for first in range(0, rows, 8):
            # Rows past the end are walked with the last ones: they start anywhere.
            for r in range(min(8, rows - first)):
                leaf_numbers(flat, width, at, first + r, possible, leaf[r])
            for tree in range(len(tops)):
                for r in range(8):
                    tops[tree, block + first + r] = leaf[r, tree]


@kept
def room_for_tops(trees, rows):
    """Rows of trees lie side by side in memory, and not a power of two apart: they would share places in the caches."""
    return np.empty((trees, rows + 72), np.uint8)


@kept
def walk_margins(
    codes,
    groups,
    places,
    place_starts,
    nodes,
    values,
    entries,
    order,
    top_places,
    top_place_starts,
    column_starts,
    masks,
    out,
    start,
    stop,
):
    """Add the leaves that rows end in to their margins, tree after tree.

    Args:
        codes: (groups, n) uint16.
        groups: (columns) which group a column reads.
        places: code → the column's own code, all columns one after the other.
        place_starts: (columns) where the places of a column start.
        nodes: two numbers of 32 bits each, bits from the lowest: column (8) and first child (24); lowest code of a
            range (16) and its width (16). Codes inside the range go to the first child, others to the node behind it.
            A leaf is its own first child.
        values: what a node adds as the last one.
        entries: (trees, leaves of a top) the node at which each leaf of a tree's top stands.
        order, top_places, top_place_starts, column_starts, masks: of the tops, as `compiled.mask_margins` takes them.
        out: (n) margins, added to.
        start, stop: the rows to walk.
    """
    block = min(stop - start + 7, 8192) & ~7
    own = np.zeros(block * len(groups), np.uint16)
    sums, tops = np.empty(block, out.dtype), room_for_tops(len(entries), block)
    for first in range(start, stop, block):
        rows = min(block, stop - first)
        here = codes[:, first : first + rows]
        sums[:rows] = out[first : first + rows]
        interleave(here, groups, places, place_starts, own)
        find_tops(here, order, top_places, top_place_starts, column_starts, masks, tops)
        for t in range(len(entries)):
            add_leaves(nodes, values, own, np.uint64(len(groups)), entries[t], tops[t], sums[: (rows + 7) & ~7])
        out[first : first + rows] = sums[:rows]
