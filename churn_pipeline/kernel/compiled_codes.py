"""From numbers to the stretches they lie in, compiled by numba.

Belongs here: those loops. Does not: what builds their arrays (`cuts.py`, which alone imports this, and only when it is
told to compile: numba is an extra).
"""

# mypy: ignore-errors

import numpy as np
from llvmlite import ir
from numba import types  # noqa: TID253
from numba.extending import intrinsic  # noqa: TID253

from churn_pipeline.kernel.forests.compiled import kept


@intrinsic
def _bits(_context, _number):
    """The 64 bits of a double."""

    def generate(_context, builder, _signature, arguments):
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.uint64(types.float64), generate


@kept
def even_codes(found, low, scale, starts, breaks, most, out):
    """How many breaks lie below each number, by cells of equal width; one more than there are of them where it is NaN.

    Args:
        found: (n) doubles or whole numbers of 64 bits.
        low, scale: the cell of a number is what lies before the point in `(number - low) * scale`.
        starts: (cells) how many breaks lie in lower cells.
        breaks: ascending, and infinity.
        out: (n) uint16.

    Returns:
        Whether no number is greater than `most`, whatever its sign.
    """
    greater = np.uint8(0)
    top, missing = np.float64(len(starts) - 1), np.uint16(len(breaks))
    for i in range(len(found)):
        value = np.float64(found[i])
        scaled = (value - low) * scale
        code = starts[np.int64(min(max(scaled, 0.0), top) if scaled == scaled else 0.0)]
        while breaks[code] < value:
            code += np.uint16(1)
        out[i] = code if value == value else missing
        greater |= np.uint8(abs(value) > most)
    return greater == 0


@kept
def rank_codes(found, low, shift, starts, breaks, most, out):
    """The same, by cells of 2 ** `shift` doubles from the one whose rank is `low` on: see `cuts.rank`."""
    greater = np.uint8(0)
    top, missing = np.uint64(len(starts) - 1), np.uint16(len(breaks))
    sign = np.uint64(1) << np.uint64(63)
    for i in range(len(found)):
        value = np.float64(found[i])
        bits = _bits(value)
        rank = ~bits if bits & sign else bits | sign
        code = starts[min((max(rank, low) - low) >> shift, top)]
        while breaks[code] < value:
            code += np.uint16(1)
        out[i] = code if value == value else missing
        greater |= np.uint8(abs(value) > most)
    return greater == 0
