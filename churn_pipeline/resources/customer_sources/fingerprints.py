"""Texts as numbers that differ where the texts differ, a column at a time.

Belongs here: hashing Arrow text without making Python strings of it, which is most of what comparing ids costs. Does
not: what is done with the numbers (`duplicates.py`, `checks.py`).

The numbers hold within one process only: they are seeded anew in each, so that nobody can make ids that collide.
"""

import secrets
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes = npt.NDArray[np.uint64]

_WORD = 8
# Of a word, the bytes that belong to a text with so many left.
_KEPT = np.array([(1 << (8 * left)) - 1 for left in range(_WORD + 1)], dtype=np.uint64)


def fingerprints(texts: pa.Array, which: int = 0) -> Hashes:
    """Hash texts.

    Args:
        texts: n strings, perhaps dictionary-encoded; a missing one counts as empty.
        which: another number gives hashes independent of these.

    Returns:
        n numbers, equal for equal texts, and for two others with a chance of 2⁻⁶⁴.
    """
    if pa.types.is_dictionary(texts.type):
        hashes = fingerprints(pa.concat_arrays([texts.dictionary.cast(pa.string()), pa.array([""])]), which)
        return hashes[texts.indices.fill_null(len(hashes) - 1).to_numpy(zero_copy_only=False)]
    starts, lengths, words = _words(texts.cast(pa.string()).fill_null(""))
    seed, factor = _seeds(which)
    hashes = lengths.astype(np.uint64) ^ seed
    for done in range(0, int(lengths.max(initial=0)), _WORD):
        rows = np.flatnonzero(lengths > done)
        left = np.minimum(lengths[rows] - done, _WORD)
        hashes[rows] = _mixed(hashes[rows] ^ (words[starts[rows] + done] & _KEPT[left]), factor)
    return _mixed(hashes, factor)


def _words(texts: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Where each text starts and how many bytes it has, and the eight bytes from every place on as one number."""
    if not len(texts):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint64)
    _, offsets, data = texts.buffers()
    edges = np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset).astype(np.int64)
    used = b"" if data is None else data.slice(edges[0], edges[-1] - edges[0]).to_pybytes()
    words = np.ndarray((len(used) + 1,), "<u8", used + bytes(_WORD), strides=(1,))
    return edges[:-1] - edges[0], np.diff(edges), words


def _mixed(hashes: Hashes, factor: np.uint64) -> Hashes:
    """Every bit of a number spread over all of them; no two numbers become one."""
    for shift in (32, 29):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * factor
    return hashes ^ (hashes >> np.uint64(32))


@cache
def _seeds(which: int) -> tuple[np.uint64, np.uint64]:  # noqa: ARG001  the cache's key
    return np.uint64(secrets.randbits(64)), np.uint64(secrets.randbits(64) | 1)
