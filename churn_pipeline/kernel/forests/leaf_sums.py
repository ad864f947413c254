"""Summing the leaves that masks point at, with numpy.

Belongs here: from the masks of a stretch of rows to margins. Does not: the masks (`leaf_masks.py`), the compiled loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Masks = npt.NDArray[np.unsignedinteger]

#: Largest table of sums of neighbouring trees: it is read at random and has to stay in a core's second cache.
MOST_TABLE_BYTES = 1 << 19

#: Trees are padded to a multiple of this, with trees of one leaf of 0.
PADDING = 8


#: Times each power of two that 16 bits hold, it has other highest four bits (a de Bruijn sequence): from them to the
#: number of the bit is a matter of where a leaf stands in the table, and numpy multiplies faster than it counts bits.
_SEQUENCE, _SEQUENCE_SHIFT = np.uint16(0x09AF), np.uint16(12)
_ORDER = ((np.uint16(1) << np.arange(16, dtype=np.uint16)) * _SEQUENCE) >> _SEQUENCE_SHIFT


class Scratch(NamedTuple):
    """Memory that sums are made in, the same for one stretch of rows after the other.

    Attributes:
        numbers, found: (rows, look-ups a row) places in the table, and what stands there.
    """

    numbers: npt.NDArray[np.intp]
    found: npt.NDArray[np.floating]


class LeafSums:
    """Margins of rows whose possible leaves are known.

    In float64 two or four neighbouring trees share one look-up of the sum of their leaves, which moves the margin by
    a rounding at most. In float32 every tree is added on its own, in order, as the library did.

    Args:
        values: (trees, leaves) of each tree, in the dtype to sum in; the number of trees is a multiple of `PADDING`.
        start: margin before the first tree.
    """

    def __init__(self, values: npt.NDArray[np.floating], start: float) -> None:
        self._start = start
        self._width = max(1, (values.shape[1] - 1).bit_length())
        self._together = 1
        if values.dtype == np.float64:
            sizes = {k: (len(values) // k) * 2 ** (self._width * k) * 8 for k in (2, 4)}
            self._together = max([k for k, size in sizes.items() if size <= MOST_TABLE_BYTES], default=1)
        padded = np.zeros((len(values), 2**self._width), dtype=values.dtype)
        leaves = np.arange(values.shape[1])
        padded[:, _ORDER[leaves] if 8 < len(leaves) <= 16 else leaves] = values
        while len(padded) > len(values) // self._together:
            # The first tree of a pair is the low half of the number.
            padded = (padded[1::2, :, None] + padded[0::2, None, :]).reshape(len(padded) // 2, -1)
        self._table = padded.ravel()
        self._offsets = np.arange(len(padded)) * padded.shape[1]

    def scratch(self, rows: int) -> Scratch:
        """Memory for sums of up to that many rows."""
        shape = rows, len(self._offsets)
        return Scratch(np.empty(shape, np.intp), np.empty(shape, self._table.dtype))

    def __call__(self, possible: Masks, scratch: Scratch | None = None) -> npt.NDArray[np.floating]:
        """Margins (n) of masks (n, trees).

        Args:
            scratch: memory for n rows or more; fresh memory if there is none.
        """
        leaf = _lowest_bits(possible)
        if self._table.dtype != np.float64:
            found = self._table.take(leaf.T + self._offsets[:, None])
            # Along the first axis numpy adds one tree after the other, as the libraries do.
            return np.add.reduce(found, axis=0, initial=self._start)
        scratch = scratch or self.scratch(len(possible))
        numbers, found = scratch.numbers[: len(possible)], scratch.found[: len(possible)]
        joined = leaf
        bits, width = leaf.itemsize * 8, self._width
        for _ in range(self._together.bit_length() - 1):
            joined = self._join(joined.view(f"<u{bits // 4}"), width, bits)
            bits, width = 2 * bits, 2 * width
        np.add(joined, self._offsets, out=numbers)
        # Every number is in the table, so nothing is clipped: numpy buffers what it may have to raise for.
        self._table.take(numbers, out=found, mode="clip")
        return np.einsum("ij->i", found) + self._start

    @staticmethod
    def _join(pairs: npt.NDArray[np.unsignedinteger], width: int, shift: int) -> npt.NDArray[np.unsignedinteger]:
        """Close the gap between two numbers of `width` bits of which the second stands `shift` bits up."""
        kind = pairs.dtype.type
        low, high, gap = kind((1 << width) - 1), kind(((1 << width) - 1) << width), kind(shift - width)
        found = pairs >> gap
        found &= high
        found |= pairs & low
        return found


def _lowest_bits(possible: Masks) -> Masks:
    """Numbers of the lowest bits that are on; of 16 bits, in the order of `_ORDER`."""
    lowest = np.negative(possible)
    lowest &= possible
    if possible.dtype != np.uint16:
        lowest -= possible.dtype.type(1)
        return np.bitwise_count(lowest)
    lowest *= _SEQUENCE
    lowest >>= _SEQUENCE_SHIFT
    return lowest
