"""A batch on disk, a file a bucket, so that each bucket can be merged by itself.

Belongs here: which bucket a key is in, and the files. Does not: merging (`current_scores.py`), a stream put aside
whole (`spill.py`).
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from churn_pipeline.io_managers.table_errors import storage_errors

#: Part of the tables on disk: with another number a customer would be in two buckets.
BUCKETS = 64

#: Name of a spill folder, beside the tables; maintenance sweeps what a killed process leaves.
SPILL = "_spill-"


def buckets_of(keys: pa.Array) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Bucket of each key; the same in every process and on every machine."""
    from pandas.util import hash_array

    hashes = hash_array(keys.cast(pa.string()).to_numpy(zero_copy_only=False).astype(object), categorize=False)
    return (hashes % BUCKETS).astype(np.int32)


class BucketSpill:
    """The batch on disk, a file a bucket, while it is merged."""

    def __init__(self, tables: str, schema: pa.Schema) -> None:
        local = Path(tables) if "://" not in tables else None
        with storage_errors(tables):
            if local is not None:
                local.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix=SPILL, dir=local))
        self.schema = schema
        self._writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def buckets(self) -> set[int]:
        """Buckets that have rows."""
        return set(self._writers)

    def add(self, batch: pa.RecordBatch, buckets: np.ndarray[Any, np.dtype[np.int32]]) -> None:
        """Append rows to their buckets, keeping their order."""
        by_bucket = np.argsort(buckets, kind="stable")
        counts = np.bincount(buckets, minlength=BUCKETS)
        sorted_rows, start = batch.take(pa.array(by_bucket)), 0
        with storage_errors(str(self.folder)):
            for bucket, count in enumerate(counts.tolist()):
                if count:
                    self._writer(bucket).write_batch(sorted_rows.slice(start, count))
                    start += count

    def close(self) -> None:
        """Finish the files; `read` needs that."""
        with storage_errors(str(self.folder)):
            self._open.close()

    def read(self, bucket: int) -> pa.Table:
        """All rows of a bucket, in the order they came."""
        if bucket not in self._writers:
            return self.schema.empty_table()
        with pa.OSFile(str(self._path(bucket))) as file, pa.ipc.open_stream(file) as reader:
            return reader.read_all()

    def _path(self, bucket: int) -> Path:
        return self.folder / f"{bucket:02d}.arrow"

    def _writer(self, bucket: int) -> pa.ipc.RecordBatchStreamWriter:
        if bucket not in self._writers:
            file = self._open.enter_context(pa.OSFile(str(self._path(bucket)), "wb"))
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writers[bucket] = self._open.enter_context(pa.ipc.new_stream(file, self.schema, options=options))
        return self._writers[bucket]
