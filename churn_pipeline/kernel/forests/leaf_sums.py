"""Summing the leaves that masks point at, with numpy.

Belongs here: from the masks of a stretch of rows to margins. Does not: the masks (`leaf_masks.py`), the compiled loop.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Masks = npt.NDArray[np.unsignedinteger]

#: Largest table of sums of neighbouring trees: it is read at random and has to stay in a core's second cache.
MOST_TABLE_BYTES = 1 << 19

#: Trees are padded to a multiple of this, with trees of one leaf of 0.
PADDING = 8


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
        padded[:, : values.shape[1]] = values
        while len(padded) > len(values) // self._together:
            # The first tree of a pair is the low half of the number.
            padded = (padded[1::2, :, None] + padded[0::2, None, :]).reshape(len(padded) // 2, -1)
        self._table = padded.ravel()
        self._offsets = np.arange(len(padded)) * padded.shape[1]

    def __call__(self, possible: Masks) -> npt.NDArray[np.floating]:
        """Margins (n) of masks (n, trees)."""
        leaf = np.bitwise_count((possible & -possible) - np.ones(1, possible.dtype))
        if self._table.dtype != np.float64:
            found = self._table.take(leaf.T + self._offsets[:, None])
            # Along the first axis numpy adds one tree after the other, as the libraries do.
            return np.add.reduce(found, axis=0, initial=self._start)
        numbers: Masks = leaf
        if self._together > 1:
            numbers = self._join(leaf.view("<u2"), self._width, 8)
        if self._together == 4:
            numbers = self._join(numbers.view("<u4"), 2 * self._width, 16)
        found = self._table.take(numbers + self._offsets)
        return np.einsum("ij->i", found) + self._start

    @staticmethod
    def _join(pairs: npt.NDArray[np.unsignedinteger], width: int, shift: int) -> npt.NDArray[np.unsignedinteger]:
        """Close the gap between two numbers of `width` bits of which the second stands `shift` bits up."""
        kind = pairs.dtype.type
        low, high, gap = kind((1 << width) - 1), kind(((1 << width) - 1) << width), kind(shift - width)
        return (pairs & low) | ((pairs >> gap) & high)
