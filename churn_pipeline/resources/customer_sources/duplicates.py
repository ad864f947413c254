"""Ids that come more than once in a batch: counted, or rejected by policy, in flat memory.

Belongs here: finding them. Does not: rejecting them (`contract/validation.py`).

Ids are compared by two independent 64-bit hashes, spread over buckets that go to disk when a batch is large, so
that a hundred million ids need no more memory than a million.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.errors import UsageError
from churn_pipeline.fingerprints import fingerprint_pairs, repeated, shared
from churn_pipeline.resources.customer_sources.base import ROWS_PER_CHUNK

Policy = Literal["keep", "last", "reject"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

Row = npt.NDArray[np.uint64]
#: First hash, second hash, and place where that is wanted: of each a column an id.
Records = tuple[Row, ...]

_BUCKETS = 64
#: Ids kept in memory before they go to disk by bucket: 6 MB.
_IN_MEMORY = 1 << 18


class UnknownPolicy(UsageError):
    """The policy on duplicate ids is none of those that exist."""


def policy_of(text: str) -> Policy:
    """Read a policy's name.

    Raises:
        UnknownPolicy: names those that exist.
    """
    for policy in POLICIES:
        if policy == text:
            return policy
    raise UnknownPolicy(f"Unknown policy {text!r} for duplicate ids. Use one of {', '.join(POLICIES)}.")


class IdRegister:
    """Remembers every id of a batch by two hashes.

    Args:
        places: whether to remember also which row it is, which `superseded` needs.
    """

    def __init__(self, *, places: bool) -> None:
        self._places = places
        self._files: list[IO[bytes]] = []
        # Of each file, the columns of each array in it.
        self._counts: list[list[int]] = []
        self._waiting: list[Records] = []
        # Ids not hashed yet: hashing few at a time costs twice as much.
        self._new: list[pa.Array] = []
        self._seen = 0

    def add(self, ids: pa.Array) -> None:
        """Remember the ids of the next rows; a null id is nobody's and never a duplicate."""
        self._new.append(ids)
        if sum(map(len, self._new)) >= ROWS_PER_CHUNK:
            self._hash()

    def _hash(self) -> None:
        ids = pa.concat_arrays(self._new) if len(self._new) > 1 else self._new[0]
        self._new = []
        places = np.arange(self._seen, self._seen + len(ids), dtype=np.uint64) if self._places else None
        self._seen += len(ids)
        if ids.null_count:
            places = None if places is None else places[ids.is_valid().to_numpy(zero_copy_only=False)]
            ids = ids.drop_null()
        pairs = fingerprint_pairs(ids)
        self._waiting.append(pairs if places is None else (*pairs, places))
        if sum(len(first) for first, *_ in self._waiting) >= _IN_MEMORY:
            self._to_disk()

    def repeated(self) -> int:
        """Rows whose id an earlier row has."""
        return sum(repeated(first, second) for first, second, *_ in self._buckets())

    def superseded(self, policy: Policy) -> npt.NDArray[np.int64]:
        """Places, ascending, of the rows the policy rejects: all but the last of an id, or all that share one."""
        found: list[npt.NDArray[np.int64]] = []
        for places, same_as_before in self._sorted():
            same_as_next = np.append(same_as_before[1:], False)
            chosen = same_as_next if policy == "last" else same_as_next | same_as_before
            found.append(places[chosen].astype(np.int64))
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    def close(self) -> None:
        """Forget everything."""
        self._waiting, self._new = [], []
        for file in self._files:
            file.close()

    def _to_disk(self) -> None:
        if not self._files:
            self._files = [tempfile.TemporaryFile() for _ in range(_BUCKETS)]  # noqa: SIM115  see `close`
            self._counts = [[] for _ in range(_BUCKETS)]
        rows = _joined(self._waiting)
        self._waiting = []
        bucket = (rows[0] & np.uint64(_BUCKETS - 1)).astype(np.uint8)
        by_bucket = np.argsort(bucket, kind="stable")
        sorted_rows = [row[by_bucket] for row in rows]
        edges = np.concatenate([[0], np.cumsum(np.bincount(bucket, minlength=_BUCKETS))])
        for file, counts, start, end in zip(self._files, self._counts, edges, edges[1:], strict=False):
            file.writelines([row[start:end].data for row in sorted_rows])
            counts.append(int(end - start))

    def _buckets(self) -> Iterator[Records]:
        """Everything remembered; ids that are the same are in the same bucket."""
        if self._new:
            self._hash()
        if self._waiting and not self._files:
            yield _joined(self._waiting)
            return
        if self._waiting:
            self._to_disk()
        for file, counts in zip(self._files, self._counts, strict=True):
            file.seek(0)
            values = np.frombuffer(file.read(), np.uint64)
            rows = 3 if self._places else 2
            yield _joined([(*part.reshape(rows, -1),) for part in np.split(values, rows * np.cumsum(counts)[:-1])])

    def _sorted(self) -> Iterator[tuple[Row, npt.NDArray[np.bool_]]]:
        """Places of ids that may be shared, a bucket at a time, by id and then by place.

        With each, whether it has the id of the one before.
        """
        for records in self._buckets():
            if (suspects := shared(records[0])) is not None:
                first, second, places = (row[suspects] for row in records)
                order = np.lexsort([places, second, first])
                first, second, places = first[order], second[order], places[order]
                same = (first[1:] == first[:-1]) & (second[1:] == second[:-1])
                yield places, np.insert(same, 0, False)


def _joined(parts: list[Records]) -> Records:
    return tuple(np.concatenate(rows) for rows in zip(*parts, strict=True))


def superseded_by(policy: Policy, ids: Iterable[pa.Array]) -> Callable[[int], npt.NDArray[np.bool_]]:
    """Read all ids once, then answer, stretch by stretch in the same order, which of the next n rows are rejected."""
    register = IdRegister(places=True)
    try:
        for part in ids:
            register.add(part)
        places = register.superseded(policy)
    finally:
        register.close()
    start = 0

    def of_next(count: int) -> npt.NDArray[np.bool_]:
        nonlocal start
        mask = np.zeros(count, dtype=bool)
        low, high = np.searchsorted(places, [start, start + count])
        mask[places[low:high] - start] = True
        start += count
        return mask

    return of_next
