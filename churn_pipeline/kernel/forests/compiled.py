"""The loops over leaf masks that numba compiles, and how all of its loops are compiled.

Belongs here: functions of plain arrays that know no model, so that nothing is compiled a model; they are kept in
numba's cache, on disk, and let go of the interpreter's lock. Does not: what builds their arrays (`leaf_masks.py`,
which imports this module only when it is told to compile: numba is an extra), walking trees (`compiled_walk.py`).
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
BLOCK = 256

#: Trees up to which one is added after the other for all of these rows, and not row after row for all trees.
_FEW_TREES = 8


@intrinsic
def lowest_bit(_context, _word):
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
def find_rows(codes, order, places, place_starts, column_starts, at):
    """Write down, column by column, which row of masks each row of codes has: arguments as `mask_margins` takes them.

    Args:
        at: (columns, at least n) the row numbers.
    """
    rows = codes.shape[1]
    at[: len(column_starts) - 1, :rows] = 0
    for c in range(len(column_starts) - 1):
        mine = at[c]
        for g in range(column_starts[c], column_starts[c + 1]):
            place, theirs = places[place_starts[g] :], codes[order[g]]
            for r in range(rows):
                mine[r] += place[theirs[r]]


@kept
def leaf_numbers(masks, width, at, row, possible, leaf):
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
def places_of(column_starts, masks, rows):
    """Room for the row numbers of `leaf_numbers`: those that make columns a multiple of four have the last row."""
    width = min(BLOCK, (rows + 7) & ~7)
    return np.full((-(-(len(column_starts) - 1) // 4) * 4, width), len(masks) - 1, np.uint32)


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
def _tree_by_tree(at, masks, width, values, most, possible, out):
    """Add one tree after the other to the margins of a block of rows, which is faster for few of them.

    Args:
        at, masks, width: as `leaf_numbers` takes them.
        values, most: leaf values, and how many a tree has.
        possible: room for a mask a row.
        out: (rows) margins.
    """
    for t in range(width):
        tree = np.uint64(t)
        for c in range(0, at.shape[0], 4):
            i, j, k, m = at[c], at[c + 1], at[c + 2], at[c + 3]
            for r in range(len(out)):
                one = _both(masks[np.uint64(i[r]) * width + tree], masks[np.uint64(j[r]) * width + tree])
                two = _both(masks[np.uint64(k[r]) * width + tree], masks[np.uint64(m[r]) * width + tree])
                possible[r] = _both(one, two) if c == 0 else _both(possible[r], _both(one, two))
        for r in range(len(out)):
            out[r] += values[tree * most + np.uint64(_lower_bits(possible[r]))]


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
    width = np.uint64(masks.shape[1])
    flat, most, at = masks.ravel(), np.uint64(8 * masks.itemsize), places_of(column_starts, masks, codes.shape[1])
    possible, leaf = np.full(width, flat[-1], masks.dtype), np.zeros((8, width), np.uint8)
    together = np.full(BLOCK, flat[-1], masks.dtype)
    for block in range(0, codes.shape[1], BLOCK):
        rows = min(BLOCK, codes.shape[1] - block)
        find_rows(codes[:, block : block + rows], order, places, place_starts, column_starts, at)
        if width <= _FEW_TREES:
            margins = out[block : block + rows]
            margins[:] = start
            _tree_by_tree(at, flat, width, values, most, together, margins)
            continue
        for first in range(0, rows, 8):
            # Past the end of the last eight stand rows of an earlier block.
            for r in range(8):
                leaf_numbers(flat, width, at, first + r, possible, leaf[r])
            sums = _leaf_sums(leaf, values, most, start)
            for r in range(min(8, rows - first)):
                out[block + first + r] = sums[r]
