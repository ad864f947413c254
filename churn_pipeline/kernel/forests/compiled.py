"""The loops that numba compiles.

Belongs here: functions of plain arrays that know no model, so that nothing is compiled a model; they are kept in
numba's cache, on disk, and let go of the interpreter's lock. Does not: what builds their arrays (`leaf_masks.py`,
`tree_walk.py`). Only those import this module, and only when they are told to compile: numba is an extra.
"""

# mypy: ignore-errors
# Arguments are plain arrays and numba's decorators have no types: each function says what it takes.

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types  # noqa: TID253
from numba.extending import intrinsic  # noqa: TID253


def kept(function: Callable[..., Any]) -> Any:
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # nowhere to keep what was compiled: neither beside this file nor in the user's cache
        return njit(nogil=True)(function)


#: Rows whose places in the tables are looked up in one go.
_BLOCK = 256


@intrinsic
def _lowest_bit(_context, _word):
    """Number of the lowest bit that is on in an unsigned 64-bit number other than 0."""

    def generate(_context, builder, _signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), generate


@intrinsic
def _lower_bits(_context, number):
    """How many bits are off below the lowest that is on, which processors count for many numbers at once."""

    def generate(_context, builder, _signature, arguments):
        (value,) = arguments
        return builder.ctpop(builder.and_(builder.not_(value), builder.sub(value, ir.Constant(value.type, 1))))

    return number(number), generate


@intrinsic
def _both(_context, one, other):
    """Bits that are on in two numbers of one type, in that type: numba would make 64 bits of it."""

    def generate(_context, builder, _signature, arguments):
        return builder.and_(*arguments)

    return (one(one, other), generate) if one == other else None


@kept
def _leaf_numbers(masks, width, at, row, possible, leaf):
    """The leaf of a row in each tree, from the masks of its columns: four at once, as what they join is read again."""
    last = at.shape[0] - 4
    for c in range(0, last + 1, 4):
        i, j = np.uint64(at[c, row]) * width, np.uint64(at[c + 1, row]) * width
        k, m = np.uint64(at[c + 2, row]) * width, np.uint64(at[c + 3, row]) * width
        if c == last:
            for w in range(width):
                leaf[w] = _lower_bits(
                    _both(possible[w], _both(_both(masks[i + w], masks[j + w]), _both(masks[k + w], masks[m + w])))
                )
        elif c == 0:
            for w in range(width):
                possible[w] = _both(_both(masks[i + w], masks[j + w]), _both(masks[k + w], masks[m + w]))
        else:
            for w in range(width):
                possible[w] &= _both(_both(masks[i + w], masks[j + w]), _both(masks[k + w], masks[m + w]))


@kept
def _leaf_sums(leaf, values, most, start):
    """Margins of eight rows at once, as each addition waits for the one before it, from their leaves (8, trees)."""
    a = b = c = d = e = f = g = h = start
    tree = np.uint64(0)
    for t in range(leaf.shape[1]):
        a += values[tree + leaf[0, t]]
        b += values[tree + leaf[1, t]]
        c += values[tree + leaf[2, t]]
        d += values[tree + leaf[3, t]]
        e += values[tree + leaf[4, t]]
        f += values[tree + leaf[5, t]]
        g += values[tree + leaf[6, t]]
        h += values[tree + leaf[7, t]]
        tree += most
    return a, b, c, d, e, f, g, h


@kept
def mask_margins(codes, order, places, place_starts, column_starts, masks, values, start, out):
    """Margins by leaf masks.

    Args:
        codes: (groups, n) uint16.
        order: groups in the order of `places`.
        places: code → share of a row number in `masks`, all groups one after the other.
        place_starts: (groups) where the places of a group start.
        column_starts: (columns + 1) which groups share a row of masks.
        masks: (rows, trees) of unsigned numbers; in the last row all bits are on.
        values: leaf values, as many a tree as a mask has bits.
        start: margin before the first tree, in the dtype of `values`.
        out: (n) margins.
    """
    columns, width = len(column_starts) - 1, np.uint64(masks.shape[1])
    flat, most = masks.ravel(), np.uint64(8 * masks.itemsize)
    # Columns that make their number a multiple of four have the last row throughout.
    at = np.full((-(-columns // 4) * 4, _BLOCK), len(masks) - 1, np.uint32)
    possible, leaf = np.full(width, flat[-1], masks.dtype), np.zeros((8, width), np.uint8)
    for block in range(0, codes.shape[1], _BLOCK):
        rows = min(_BLOCK, codes.shape[1] - block)
        for c in range(columns):
            mine = at[c, :rows]
            mine[:] = 0
            for g in range(column_starts[c], column_starts[c + 1]):
                place, theirs = places[place_starts[g] :], codes[order[g], block : block + rows]
                for r in range(rows):
                    mine[r] += place[theirs[r]]
        for first in range(0, rows, 8):
            # Past the end of the last eight stand rows of an earlier block.
            for r in range(8):
                _leaf_numbers(flat, width, at, first + r, possible, leaf[r])
            sums = _leaf_sums(leaf, values, most, start)
            for r in range(min(8, rows - first)):
                out[block + first + r] = sums[r]


@kept
def _next(nodes, codes, row, at):
    """The node after `at` for the row whose codes are every eighth from `row` on."""
    low, high = np.uint64(nodes[at << np.uint64(1)]), nodes[(at << np.uint64(1)) | np.uint64(1)]
    code = codes[row + ((low & np.uint64(0xFF)) << np.uint64(3))]
    away = np.uint16(code - np.uint16(high)) > np.uint16(high >> np.uint32(16))
    return (low >> np.uint64(8)) + np.uint64(away)


@kept
def add_leaves(nodes, values, codes, columns, root, sums):
    """Walk rows through one tree, eight at once: each step waits for the memory of the one before it.

    Args:
        nodes: see `walk_margins`.
        values: of nodes, added to `sums`.
        codes: see `interleave`; whatever stands behind the last row may be walked with it.
        sums: (a multiple of eight).
    """
    first = np.uint64(0)
    for row in range(np.uint64(0), np.uint64(len(sums)), np.uint64(8)):
        a = b = c = d = e = f = g = h = root
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
def walk_margins(codes, groups, places, place_starts, nodes, values, roots, out, start, stop):
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
        roots: (trees) nodes to start from.
        out: (n) margins, added to.
        start, stop: the rows to walk.
    """
    block = min(stop - start + 7, 8192) & ~7
    own = np.zeros(block * len(groups), np.uint16)
    sums = np.empty(block, out.dtype)
    for first in range(start, stop, block):
        rows = min(block, stop - first)
        sums[:rows] = out[first : first + rows]
        interleave(codes[:, first : first + rows], groups, places, place_starts, own)
        for root in roots:
            add_leaves(nodes, values, own, np.uint64(len(groups)), root, sums[: (rows + 7) & ~7])
        out[first : first + rows] = sums[:rows]
