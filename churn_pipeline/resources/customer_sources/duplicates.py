"""Ids that come more than once in a batch: counted, or rejected by policy, in flat memory.

Belongs here: finding them. Does not: rejecting them (`contract/validation.py`).

Ids are compared by two independent 64-bit hashes, which go to disk when a batch is large, so that a hundred million ids
need no more memory than a million. In most batches every id comes once, and that the first hashes show by themselves.
"""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Literal, get_args

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
#: Ids kept in memory before they go to disk: 6 MB.
_IN_MEMORY = 1 << 18

#: Bits of a first hash below those that say its bucket, and the least hash of each bucket but the first.
_BELOW = np.uint64(58)
_LEAST = np.arange(1, _BUCKETS, dtype=np.uint64) << _BELOW


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
        self._on_disk: _OnDisk | None = None
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
        if self._on_disk is not None or sum(len(first) for first, *_ in self._waiting) >= _IN_MEMORY:
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
        if self._on_disk is not None:
            self._on_disk.close()

    def _to_disk(self) -> None:
        if self._on_disk is None:
            self._on_disk = _OnDisk()
        self._on_disk.add(_joined(self._waiting))
        self._waiting = []

    def _buckets(self) -> Iterator[Records]:
        """What is remembered of every id that may be shared, and of others; the same ids are in the same bucket."""
        if self._new:
            self._hash()
        if self._on_disk is None:
            if self._waiting:
                yield _joined(self._waiting)
            return
        if self._waiting:
            self._to_disk()
        if self._on_disk.may_be_shared():
            yield from self._on_disk.buckets()

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


class _OnDisk:
    """Records in the order they came, and beside them their first hashes in ascending order, a stretch at a time."""

    def __init__(self) -> None:
        self._came, self._ranked = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115  see `close`
        # Of each stretch, where the hashes of each bucket start, and where those of the last one end.
        self._edges: list[npt.NDArray[np.intp]] = []
        self._columns = 0

    def add(self, records: Records) -> None:
        self._columns = len(records)
        for file in (self._came, self._ranked):
            file.seek(0, os.SEEK_END)
        self._came.writelines([column.data for column in records])
        ranked = np.sort(records[0])
        self._ranked.write(ranked.data)
        self._edges.append(np.array([0, *np.searchsorted(ranked, _LEAST), len(ranked)]))

    def may_be_shared(self) -> bool:
        """Whether some first hash comes twice."""
        for bucket in range(_BUCKETS):
            parts, before = [], 0
            for edges in self._edges:
                self._ranked.seek(8 * (before + int(edges[bucket])))
                parts.append(self._ranked.read(8 * int(edges[bucket + 1] - edges[bucket])))
                before += int(edges[-1])
            ranked = np.sort(np.frombuffer(b"".join(parts), np.uint64))
            if (ranked[1:] == ranked[:-1]).any():
                return True
        return False

    def buckets(self) -> Iterator[Records]:
        """All records, those with the same first hash in the same bucket."""
        with ExitStack() as opened:
            files = [opened.enter_context(tempfile.TemporaryFile()) for _ in range(_BUCKETS)]
            sizes: list[list[int]] = [[] for _ in files]
            self._came.seek(0)
            for edges in self._edges:
                records = np.frombuffer(self._came.read(8 * self._columns * edges[-1]), np.uint64)
                records = records.reshape(self._columns, -1)
                bucket = (records[0] >> _BELOW).astype(np.uint8)
                records = records[:, np.argsort(bucket, kind="stable")]
                ends = np.cumsum(np.bincount(bucket, minlength=_BUCKETS))
                for file, size, part in zip(files, sizes, np.split(records, ends[:-1], axis=1), strict=True):
                    file.write(part.tobytes())
                    size.append(part.size)
            for file, size in zip(files, sizes, strict=True):
                file.seek(0)
                parts = np.split(np.frombuffer(file.read(), np.uint64), np.cumsum(size)[:-1])
                yield tuple(np.concatenate([part.reshape(self._columns, -1) for part in parts], axis=1))

    def close(self) -> None:
        self._came.close()
        self._ranked.close()


def _joined(parts: list[Records]) -> Records:
    return parts[0] if len(parts) == 1 else tuple(np.concatenate(rows) for rows in zip(*parts, strict=True))


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
