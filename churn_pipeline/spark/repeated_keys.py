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

from churn_pipeline.fingerprints import repeated

#: n keys: the first and the second number of each.
Pairs = tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]

#: What one task holds at a time is some times 16 bytes of so many.
KEYS_PER_BUCKET = 1_000_000

#: A bucket this many times as large as the others holds a key that comes again and again; buckets are even else.
_UNEVEN = 4


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
    count, found = 0, defaultdict[int, list[npt.NDArray[np.uint64]]](list)
    for batch in batches:
        count += sum(batch.column(2).to_pylist())
        for bucket, packed in zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True):
            found[bucket].append(np.frombuffer(packed, np.uint64).reshape(2, -1))
    for pieces in found.values():
        count += repeated(*np.concatenate(pieces, axis=1))
    yield pa.RecordBatch.from_pydict({"repeated": pa.array([count], pa.int64())})


def _in_buckets(pairs: Pairs, buckets: int) -> pa.RecordBatch:
    """A row a bucket. A key that comes very often is sent once of each piece, so that no bucket grows with it."""
    keys = np.stack(pairs)
    bucket, sizes = _spread(keys, buckets)
    if sizes.max() > _UNEVEN * keys.shape[1] / buckets:
        keys = np.unique(keys, axis=1)
        bucket, sizes = _spread(keys, buckets)
    pieces = np.split(keys[:, np.argsort(bucket, kind="stable")], np.cumsum(sizes)[:-1], axis=1)
    columns = [
        pa.array(range(buckets), pa.int64()),
        pa.array([piece.tobytes() for piece in pieces], pa.binary()),
        pa.array([len(pairs[0]) - keys.shape[1], *[0] * (buckets - 1)], pa.int64()),
    ]
    return pa.RecordBatch.from_arrays(columns, ["bucket", "keys", "repeated"])


def _spread(keys: npt.NDArray[np.uint64], buckets: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.intp]]:
    """Bucket of each key, and how many keys each bucket has."""
    bucket = (keys[0] % np.uint64(buckets)).astype(np.uint16)
    return bucket, np.bincount(bucket, minlength=buckets)
