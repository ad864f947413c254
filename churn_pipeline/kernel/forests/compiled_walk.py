"""The loops that walk trees, compiled by numba.

Belongs here: functions of plain arrays, as in `compiled.py`. Does not: what builds their arrays (`tree_walk.py`, which
imports this only when it is told to compile: numba is an extra).
"""

# mypy: ignore-errors

import numpy as np

from churn_pipeline.kernel.forests.compiled import BLOCK, find_rows, kept, leaf_numbers, places_of

#: The bits of a waiting row's number.
_ROW = np.uint64(0xFFFFFFFF)


@kept
def _next(nodes, codes, row, at):
    """The node after `at` for the row whose codes start at `row`."""
    low, high = np.uint64(nodes[at << np.uint64(1)]), nodes[(at << np.uint64(1)) | np.uint64(1)]
    code = codes[row + (low & np.uint64(0xFF))]
    away = np.uint16(code - np.uint16(high)) > np.uint16(high >> np.uint32(16))
    return (low >> np.uint64(8)) + np.uint64(away)


@kept
def _settle(waiting, left, which, at, nodes, values, sums):
    """Add the leaf of a row if it has come to one, or let it wait behind the `left` that do; returns how many do."""
    row, nobody = waiting[which] & _ROW, np.uint64(len(values) - 1)
    ended = np.uint64(nodes[at << np.uint64(1)]) >> np.uint64(8) == at
    sums[row] += values[at if ended else nobody]
    waiting[left] = at << np.uint64(32) | row
    return left + np.uint64(not ended)


@kept
def add_leaves(nodes, values, codes, columns, entries, steps, tops, sums, waiting):
    """Walk rows through one tree.

    Eight rows take `steps` side by side, as each step waits for the memory of the one before it. Those that have not
    come to their leaf by then wait, and walk on with others like them: few rows go as deep as the tree.

    Args:
        nodes, values: see `walk_margins`; values are added to `sums`.
        codes: see `row_by_row`.
        entries, steps: see `walk_margins`; of this tree.
        tops: (n) from which of its entries each row starts.
        sums: (n).
        waiting: room for n + 8 numbers: of a row, and of the node it has come to (from bit 32 on).
    """
    count = np.uint64(len(sums))
    for row in range(np.uint64(0), count):
        waiting[row] = np.uint64(entries[tops[row]]) << np.uint64(32) | row
    while count:
        # Eight at a time: nobody stands on the last node, which is a leaf of 0.
        waiting[count : count + np.uint64(7)] = np.uint64(len(values) - 1) << np.uint64(32)
        left = np.uint64(0)
        for i in range(np.uint64(0), count, np.uint64(8)):
            # Of each the node it has come to, and where its codes start.
            a, a0 = waiting[i + np.uint64(0)] >> np.uint64(32), (waiting[i + np.uint64(0)] & _ROW) * columns
            b, b0 = waiting[i + np.uint64(1)] >> np.uint64(32), (waiting[i + np.uint64(1)] & _ROW) * columns
            c, c0 = waiting[i + np.uint64(2)] >> np.uint64(32), (waiting[i + np.uint64(2)] & _ROW) * columns
            d, d0 = waiting[i + np.uint64(3)] >> np.uint64(32), (waiting[i + np.uint64(3)] & _ROW) * columns
            e, e0 = waiting[i + np.uint64(4)] >> np.uint64(32), (waiting[i + np.uint64(4)] & _ROW) * columns
            f, f0 = waiting[i + np.uint64(5)] >> np.uint64(32), (waiting[i + np.uint64(5)] & _ROW) * columns
            g, g0 = waiting[i + np.uint64(6)] >> np.uint64(32), (waiting[i + np.uint64(6)] & _ROW) * columns
            h, h0 = waiting[i + np.uint64(7)] >> np.uint64(32), (waiting[i + np.uint64(7)] & _ROW) * columns
            for _ in range(steps):
                a = _next(nodes, codes, a0, a)
                b = _next(nodes, codes, b0, b)
                c = _next(nodes, codes, c0, c)
                d = _next(nodes, codes, d0, d)
                e = _next(nodes, codes, e0, e)
                f = _next(nodes, codes, f0, f)
                g = _next(nodes, codes, g0, g)
                h = _next(nodes, codes, h0, h)
            left = _settle(waiting, left, i + np.uint64(0), a, nodes, values, sums)
            left = _settle(waiting, left, i + np.uint64(1), b, nodes, values, sums)
            left = _settle(waiting, left, i + np.uint64(2), c, nodes, values, sums)
            left = _settle(waiting, left, i + np.uint64(3), d, nodes, values, sums)
            left = _settle(waiting, left, i + np.uint64(4), e, nodes, values, sums)
            left = _settle(waiting, left, i + np.uint64(5), f, nodes, values, sums)
            left = _settle(waiting, left, i + np.uint64(6), g, nodes, values, sums)
            left = _settle(waiting, left, i + np.uint64(7), h, nodes, values, sums)
        count = left


@kept
def row_by_row(codes, groups, places, place_starts, own):
    """The columns' own codes of some rows, those of a row side by side.

    Args:
        codes, groups, places, place_starts: see `walk_margins`.
        own: where to put them.
    """
    width = np.uint64(len(groups))
    for c in range(width):
        place, theirs = places[place_starts[c] :], codes[groups[c]]
        for r in range(np.uint64(len(theirs))):
            own[r * width + c] = place[theirs[r]]


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
            for r in range(min(8, rows - first)):
                leaf_numbers(flat, width, at, first + r, possible, leaf[r])
            for tree in range(len(tops)):
                for r in range(8):
                    tops[tree, block + first + r] = leaf[r, tree]


@kept
def room_for(rows, columns, trees):
    """Memory for walking some rows: their codes, their leaves in the tops of trees, and those that wait.

    The tops of two trees are not a power of two apart: they would share places in the caches.
    """
    return np.empty(rows * columns, np.uint16), np.empty((trees, rows + 72), np.uint8), np.empty(rows + 8, np.uint64)


@kept
def walk_margins(
    codes,
    groups,
    places,
    place_starts,
    nodes,
    values,
    entries,
    steps,
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
            A leaf is its own first child; the last node is one of 0, at which no walk ends.
        values: what a leaf adds; of other nodes 0.
        entries: (trees, leaves of a top) the node at which each leaf of a tree's top stands.
        steps: how many are taken before it is asked which rows have come to their leaf.
        order, top_places, top_place_starts, column_starts, masks: of the tops, as `compiled.mask_margins` takes them.
        out: (n) margins, added to.
        start, stop: the rows to walk.
    """
    block = min(stop - start, 8192)
    own, tops, waiting = room_for(block, len(groups), len(entries))
    sums = np.empty(block, out.dtype)
    for first in range(start, stop, block):
        rows = min(block, stop - first)
        here = codes[:, first : first + rows]
        sums[:rows] = out[first : first + rows]
        row_by_row(here, groups, places, place_starts, own)
        find_tops(here, order, top_places, top_place_starts, column_starts, masks, tops)
        for t in range(len(entries)):
            add_leaves(nodes, values, own, np.uint64(len(groups)), entries[t], steps, tops[t], sums[:rows], waiting)
        out[first : first + rows] = sums[:rows]
