"""Keys that come more than once in all parts: what workers do to count them, many keys at a time.

Equal keys meet in the same bucket, a few megabytes, whichever part they come from.

Belongs here: both halves, before and after the keys are exchanged. Does not: sending them (`mapping.py`), what a key is
(`assets/customer_parts.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: n keys: the first and the second number of each.
Pairs = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]

#: What one task holds at a time is some times 16 bytes of so many.
KEYS_PER_BUCKET = 1_000_000


def spread_keys(job: Any, buckets: int, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Be a task: yield, of each part, the keys of each bucket as bytes, and how many were left out as repeated.

    Args:
        job: sent; the function that yields a part's keys, and the parts.
    """
    keys, parts = job.value()
    for batch in batches:
        for number in batch.column(0).to_pylist():
            for pairs in keys(parts[number]):
                yield _in_buckets(pairs, buckets)


def count_keys(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Be a task: count the repeated keys of some buckets, all of whose keys are there."""
    repeated, found = 0, defaultdict[int, list[npt.NDArray[np.uint64]]](list)
    for batch in batches:
        repeated += sum(batch.column(2).to_pylist())
        for bucket, packed in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            found[bucket].append(np.frombuffer(packed, np.uint64).reshape(2, -1))
    for pieces in found.values():
        first, second = np.concatenate(pieces, axis=1)
        repeated += len(first) - len(_distinct((first, second))[0])
    yield pa.RecordBatch.from_pydict({"repeated": pa.array([repeated], pa.int64())})


def _in_buckets(pairs: Pairs, buckets: int) -> pa.RecordBatch:
    """A row a bucket. A key that comes very often is sent once of each piece, so that no bucket grows with it."""
    first, second = _distinct(pairs)
    bucket = first % np.uint64(buckets)
    packed = [np.stack([first[here], second[here]]).tobytes() for here in (bucket == n for n in range(buckets))]
    left_out = [len(pairs[0]) - len(first), *[0] * (buckets - 1)]
    columns = [pa.array(range(buckets), pa.int64()), pa.array(packed, pa.binary()), pa.array(left_out, pa.int64())]
    return pa.RecordBatch.from_arrays(columns, ["bucket", "keys", "repeated"])


def _distinct(pairs: Pairs) -> Pairs:
    order = np.argsort(pairs[0])
    first, second = (half[order] for half in pairs)
    same_first, same_second = first[1:] == first[:-1], second[1:] == second[:-1]
    if (same_first & ~same_second).any():  # rare, and sorting by both takes three times as long
        order = np.lexsort((pairs[1], pairs[0]))
        first, second = (half[order] for half in pairs)
        same_first, same_second = first[1:] == first[:-1], second[1:] == second[:-1]
    is_new = np.append(np.ones(min(len(first), 1), bool), ~(same_first & same_second))
    return first[is_new], second[is_new]
