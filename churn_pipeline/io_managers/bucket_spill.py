"""A batch by bucket, so that each bucket can be merged by itself; what is large goes to disk.

Belongs here: which bucket a key is in, and the files. Does not: merging (`current_scores.py`), a stream put aside
whole (`spill.py`).
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa

from churn_pipeline.fingerprints import lasting_fingerprints
from churn_pipeline.io_managers.table_errors import storage_errors

#: Part of the tables on disk: with another number a customer would be in two buckets.
BUCKETS = 64

#: Bytes kept in memory before they go to disk.
_IN_MEMORY = 32 << 20

#: Name of a spill folder, beside the tables; maintenance sweeps what a killed process leaves.
SPILL = "_spill-"


def buckets_of(keys: pa.Array) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Bucket of each key; the same in every process and on every machine."""
    return (lasting_fingerprints(keys) % np.uint64(BUCKETS)).astype(np.uint8)


class BucketSpill:
    """The batch, bucket by bucket, while it is merged; past `_IN_MEMORY` bytes it is on disk, a file a bucket."""

    def __init__(self, tables: str, schema: pa.Schema) -> None:
        local = Path(tables) if "://" not in tables else None
        with storage_errors(tables):
            if local is not None:
                local.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix=SPILL, dir=local))
        self.schema = schema
        self.rows = 0
        self._waiting: dict[int, list[pa.RecordBatch]] = defaultdict(list)
        self._held = 0
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
        return self._waiting.keys() | self._writers.keys()

    def add(self, batch: pa.RecordBatch, buckets: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """Append rows to their buckets, keeping their order."""
        by_bucket = np.argsort(buckets, kind="stable")
        counts = np.bincount(buckets, minlength=BUCKETS)
        sorted_rows, start = batch.take(pa.array(by_bucket)), 0
        for bucket, count in enumerate(counts.tolist()):
            if count:
                self._waiting[bucket].append(sorted_rows.slice(start, count))
                start += count
        self.rows += batch.num_rows
        self._held += sorted_rows.nbytes
        if self._held > _IN_MEMORY:
            self._to_disk()

    def close(self) -> None:
        """Finish the files, if there are any; `read` needs that."""
        if self._writers:
            self._to_disk()
        with storage_errors(str(self.folder)):
            self._open.close()

    def read(self, bucket: int, columns: Sequence[str]) -> pa.Table:
        """Columns of all rows of a bucket, in the order they came."""
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.Table.from_batches([batch.select(columns) for batch in self.stream(bucket, columns)], schema)

    def stream(self, bucket: int, columns: Sequence[str] = ()) -> Iterator[pa.RecordBatch]:
        """All rows of a bucket, in the order they came, with these columns at least; may be asked for again."""
        if bucket not in self._writers:
            yield from self._waiting.get(bucket, [])
            return
        options = pa.ipc.IpcReadOptions(included_fields=[self.schema.get_field_index(name) for name in columns])
        with pa.OSFile(str(self._path(bucket))) as file, pa.ipc.open_stream(file, options=options) as reader:
            yield from reader

    def _to_disk(self) -> None:
        with storage_errors(str(self.folder)):
            for bucket, batches in self._waiting.items():
                for batch in batches:
                    self._writer(bucket).write_batch(batch)
        self._waiting.clear()
        self._held = 0

    def _path(self, bucket: int) -> Path:
        return self.folder / f"{bucket:02d}.arrow"

    def _writer(self, bucket: int) -> pa.ipc.RecordBatchStreamWriter:
        if bucket not in self._writers:
            file = self._open.enter_context(pa.OSFile(str(self._path(bucket)), "wb"))
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writers[bucket] = self._open.enter_context(pa.ipc.new_stream(file, self.schema, options=options))
        return self._writers[bucket]
