"""Ids that come more than once in a batch: counted, or rejected by policy, in flat memory.

Belongs here: finding them. Does not: rejecting them (`contract/validation.py`).

Ids are compared by two independent 64-bit hashes, spread over buckets that go to disk when a batch is large, so
that a hundred million ids need no more memory than a million.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.errors import UsageError
from churn_pipeline.resources.customer_sources.fingerprints import fingerprints

Policy = Literal["keep", "last", "reject"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

_BUCKETS = 64
_IN_MEMORY = 128 << 10  # a bucket; 8 MiB in all
_RECORD = np.dtype([("first", "u8"), ("second", "u8"), ("ordinal", "i8")])


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
    """Remembers every id of a batch by hash and place."""

    def __init__(self) -> None:
        self._files = [tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) for _ in range(_BUCKETS)]  # noqa: SIM115  see `close`
        self._seen = 0

    def add(self, ids: pa.Array) -> None:
        """Remember the ids of the next rows; a null id is nobody's and never a duplicate."""
        present = ids.is_valid().to_numpy(zero_copy_only=False)
        texts = ids.drop_null()
        records = np.empty(len(texts), _RECORD)
        records["first"], records["second"] = fingerprints(texts), fingerprints(texts, 1)
        records["ordinal"] = self._seen + np.flatnonzero(present)
        self._seen += len(ids)
        bucket = (records["first"] % _BUCKETS).astype(np.uint8)
        order = np.argsort(bucket, kind="stable")
        edges = np.searchsorted(bucket[order], np.arange(_BUCKETS + 1))
        for number in np.flatnonzero(np.diff(edges)):
            self._files[number].write(records[order[edges[number] : edges[number + 1]]].tobytes())

    def repeated(self) -> int:
        """Rows whose id an earlier row has."""
        return sum(int(same.sum()) for _, same in self._sorted())

    def superseded(self, policy: Policy) -> npt.NDArray[np.int64]:
        """Places, ascending, of the rows the policy rejects: all but the last of an id, or all that share one."""
        found: list[npt.NDArray[np.int64]] = []
        for records, same_as_before in self._sorted():
            same_as_next = np.append(same_as_before[1:], False)
            chosen = same_as_next if policy == "last" else same_as_next | same_as_before
            found.append(records["ordinal"][chosen])
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)

    def close(self) -> None:
        """Forget everything."""
        for file in self._files:
            file.close()

    def _sorted(self) -> Iterator[tuple[npt.NDArray[np.void], npt.NDArray[np.bool_]]]:
        """Records that may share an id, a bucket at a time, by id and then by place.

        With each, whether it has the id of the one before.
        """
        for file in self._files:
            file.seek(0)
            records = np.frombuffer(file.read(), _RECORD)
            file.seek(0, 2)
            # Most ids come once, and one number is sorted twenty times faster than a record.
            ranked = np.sort(records["first"])
            shared = np.unique(ranked[1:][ranked[1:] == ranked[:-1]])
            if len(shared):
                records = np.sort(records[np.isin(records["first"], shared)], order=["first", "second", "ordinal"])
                same = (records["first"][1:] == records["first"][:-1]) & (
                    records["second"][1:] == records["second"][:-1]
                )
                yield records, np.insert(same, 0, False)


def superseded_by(policy: Policy, ids: Iterable[pa.Array]) -> Callable[[int], npt.NDArray[np.bool_]]:
    """Read all ids once, then answer, stretch by stretch in the same order, which of the next n rows are rejected."""
    register = IdRegister()
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
