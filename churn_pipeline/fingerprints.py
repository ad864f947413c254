"""Texts as numbers that differ where the texts differ, a column at a time.

Belongs here: hashing Arrow text without making Python strings of it, which is most of what comparing ids costs, and
counting equal hashes. Does not: what is done with the numbers (`duplicates.py`, `repeated_keys.py`, `checks.py`).

But for `lasting_fingerprints` the numbers hold within one process only: they are seeded anew in each, so that nobody
can make ids that collide. Processes that compare theirs are given the seeds of one.
"""

import secrets
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Hashes = npt.NDArray[np.uint64]

#: What a hash starts from, and the odd number it is multiplied by.
Seed = tuple[np.uint64, np.uint64]

_LASTING: Seed = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))

_WORD = 8
# Of a word, the bytes that belong to a text with so many left.
_KEPT = np.array([(1 << (8 * left)) - 1 for left in range(_WORD + 1)], dtype=np.uint64)


def fingerprints(texts: pa.Array) -> Hashes:
    """Hash texts.

    Args:
        texts: n strings, perhaps dictionary-encoded; a missing one counts as empty.

    Returns:
        n numbers, equal for equal texts, and for two others with a chance of 2⁻⁶⁴.
    """
    return _hashed(texts, [_seeds(0)])[0]


def lasting_fingerprints(texts: pa.Array) -> Hashes:
    """Hash texts to numbers that are the same in every process and on every machine; anybody can make them collide."""
    return _hashed(texts, [_LASTING])[0]


def seeds_of_pairs() -> tuple[Seed, Seed]:
    """What `fingerprint_pairs` starts from in this process."""
    return _seeds(0), _seeds(1)


def fingerprint_pairs(texts: pa.Array, seeds: tuple[Seed, Seed] | None = None) -> tuple[Hashes, Hashes]:
    """Hash texts twice, independently: both numbers are equal for two different texts with a chance of 2⁻¹²⁸.

    Args:
        seeds: of the process with whose pairs these are compared; None: this one.
    """
    first, second = _hashed(texts, seeds or seeds_of_pairs())
    return first, second


def shared(first: Hashes) -> npt.NDArray[np.bool_] | None:
    """(n,) which of the hashes come more than once; None if none does."""
    # Most come once, and one number is sorted twenty times faster than a pair.
    ranked = np.sort(first)
    twice = np.unique(ranked[1:][ranked[1:] == ranked[:-1]])
    return np.isin(first, twice) if len(twice) else None


def repeated(first: Hashes, second: Hashes) -> int:
    """How many of n pairs of hashes come after an equal one."""
    if (suspects := shared(first)) is None:
        return 0
    first, second = first[suspects], second[suspects]
    order = np.lexsort([second, first])
    first, second = first[order], second[order]
    return int(((first[1:] == first[:-1]) & (second[1:] == second[:-1])).sum())


def _hashed(texts: pa.Array, seeds: Sequence[Seed]) -> list[Hashes]:
    if pa.types.is_dictionary(texts.type):
        of_words = _hashed(pa.concat_arrays([texts.dictionary.cast(pa.string()), pa.array([""])]), seeds)
        codes = texts.indices.fill_null(len(texts.dictionary)).to_numpy(zero_copy_only=False)
        return [hashes[codes] for hashes in of_words]
    starts, lengths, data = _bytes_of(texts.cast(pa.string()).fill_null(""))
    found = [lengths.astype(np.uint64) ^ seed for seed, _ in seeds]
    shortest = int(lengths.min()) if len(lengths) else 0
    for done in range(0, int(lengths.max(initial=0)), _WORD):
        # Ids mostly have the same length: then there is nothing to select.
        rows = slice(None) if done < shortest else np.flatnonzero(lengths > done)
        words = _words_at(data, starts[rows] + done)
        if shortest < done + _WORD:
            words &= _KEPT[np.minimum(lengths[rows] - done, _WORD)]
        for hashes, (_, factor) in zip(found, seeds, strict=True):
            if isinstance(rows, slice):
                hashes ^= words
                _mix(hashes, factor)
            else:
                hashes[rows] = _mix(hashes[rows] ^ words, factor)
    return [_mix(hashes, factor) for hashes, (_, factor) in zip(found, seeds, strict=True)]


def _bytes_of(texts: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Where each text starts and how many bytes it has, and all bytes: eight at least."""
    if not len(texts):
        return np.empty(0, np.int64), np.empty(0, np.int64), np.zeros(_WORD, np.uint8)
    _, offsets, buffer = texts.buffers()
    edges = np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset).astype(np.int64)
    data = np.empty(0, np.uint8) if buffer is None else np.frombuffer(buffer, np.uint8)[: edges[-1]]
    if len(data) < _WORD:
        data = np.append(data, np.zeros(_WORD, np.uint8))
    return edges[:-1], np.diff(edges), data


def _words_at(data: npt.NDArray[np.uint8], places: npt.NDArray[np.int64]) -> Hashes:
    """The eight bytes from each place on as one number, zeros where the data end; places ascend."""
    last = len(data) - _WORD
    words = np.ndarray((last + 1,), "<u8", data, strides=(1,))
    late = int(np.searchsorted(places, last, side="right"))
    found = words[np.minimum(places, last) if late < len(places) else places]
    found[late:] >>= (8 * (places[late:] - last)).astype(np.uint64)
    return found


def _mix(hashes: Hashes, factor: np.uint64) -> Hashes:
    """Spread every bit of the numbers over all of their bits, in place; no two numbers become one."""
    shifted = np.empty_like(hashes)  # one for all steps: fresh memory costs more than what is done in it
    for shift in (32, 29):
        hashes ^= np.right_shift(hashes, np.uint64(shift), out=shifted)
        hashes *= factor
    hashes ^= np.right_shift(hashes, np.uint64(32), out=shifted)
    return hashes


@cache
def _seeds(which: int) -> Seed:  # noqa: ARG001  the cache's key
    return np.uint64(secrets.randbits(64)), np.uint64(secrets.randbits(64) | 1)
