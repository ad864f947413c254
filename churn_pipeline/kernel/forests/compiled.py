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
    """The node after `at` for the row whose codes start at `row`."""
    node = nodes[at]
    code = codes[row + (node >> np.uint64(56))]
    away = np.uint16(code - np.uint16(node >> np.uint64(40))) > np.uint16(node >> np.uint64(24))
    return (node & np.uint64(0xFFFFFF)) + np.uint64(away)


@kept
def _add_eight(nodes, values, codes, columns, root, row, sums):
    """Walk eight rows from `row` on through one tree: each step waits for the memory of the one before it."""
    i = row * columns
    j = i + columns
    k = j + columns
    m = k + columns
    n = m + columns
    o = n + columns
    p = o + columns
    q = p + columns
    a = b = c = d = e = f = g = h = root
    moved = np.uint64(1)
    while moved != 0:
        a1 = _next(nodes, codes, i, a)
        b1 = _next(nodes, codes, j, b)
        c1 = _next(nodes, codes, k, c)
        d1 = _next(nodes, codes, m, d)
        e1 = _next(nodes, codes, n, e)
        f1 = _next(nodes, codes, o, f)
        g1 = _next(nodes, codes, p, g)
        h1 = _next(nodes, codes, q, h)
        moved = (a ^ a1) | (b ^ b1) | (c ^ c1) | (d ^ d1) | (e ^ e1) | (f ^ f1) | (g ^ g1) | (h ^ h1)
        a, b, c, d, e, f, g, h = a1, b1, c1, d1, e1, f1, g1, h1
    sums[row] += values[a]
    sums[row + np.uint64(1)] += values[b]
    sums[row + np.uint64(2)] += values[c]
    sums[row + np.uint64(3)] += values[d]
    sums[row + np.uint64(4)] += values[e]
    sums[row + np.uint64(5)] += values[f]
    sums[row + np.uint64(6)] += values[g]
    sums[row + np.uint64(7)] += values[h]


@kept
def walk_margins(codes, groups, places, place_starts, nodes, values, roots, out):
    """Add the leaves that rows end in to their margins, tree after tree.

    Args:
        codes: (groups, n) uint16.
        groups: (columns) which group a column reads.
        places: code → the column's own code, all columns one after the other.
        place_starts: (columns) where the places of a column start.
        nodes: 64 bits each: column (8), lowest code of a range (16), its width (16), first child (24). Codes inside
            the range go to the first child, others to the node behind it. A leaf is its own first child.
        values: what a node adds as the last one.
        roots: (trees) nodes to start from.
        out: (n) margins, added to.
    """
    n, columns = codes.shape[1], np.uint64(len(groups))
    block = min(n + 7, 8192) & ~7
    own = np.zeros(block * len(groups), np.uint16)
    sums = np.empty(block, out.dtype)
    for start in range(0, n, block):
        rows = min(block, n - start)
        sums[:rows] = out[start : start + rows]
        for c in range(columns):
            place, theirs = places[place_starts[c] :], codes[groups[c], start : start + rows]
            for r in range(rows):
                own[np.uint64(r) * columns + c] = place[theirs[r]]
        for root in roots:
            for r in range(np.uint64(0), np.uint64(rows), np.uint64(8)):
                _add_eight(nodes, values, own, columns, root, r, sums)
        out[start : start + rows] = sums[:rows]
