"""The one table with a row a customer: the newest score wins.

Belongs here: merging a batch into that table in flat memory. Does not: tables that keep every batch
(`delta_tables.py`).

The table is partitioned by `id_bucket`, a stable hash of the key, one file a bucket. A batch is spilled to disk by
bucket, then each bucket is merged by itself and one commit shows all of them: memory follows the largest bucket, not
the batch. `DeltaTable.merge` would hold a hash table of the whole batch, and rewrites every file just the same.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from churn_pipeline.io_managers.base import ROWS_PER_BATCH, Rows, TableHandle
from churn_pipeline.io_managers.delta_commit import Changes, commit, create_delta
from churn_pipeline.io_managers.delta_files import (
    DeltaFile,
    TableFolder,
    active_files,
    arrow_schema,
    open_delta,
    read_rows,
)
from churn_pipeline.io_managers.delta_staging import StagedFile, Staging
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.incoming_rows import incoming, read_ahead, require_same_columns, table_schema
from churn_pipeline.io_managers.table_errors import not_readable, storage_errors

Mask = np.ndarray[Any, np.dtype[np.bool_]]

BUCKETS = 32
BUCKET = "id_bucket"

#: Name of a spill folder, beside the tables; maintenance sweeps what a killed process leaves.
SPILL = "_spill-"


def merge_newest(store: DeltaTables, table: str, rows: Rows, key: str, order: Sequence[str]) -> TableHandle:
    """Merge a batch into a table that holds one row a key.

    Between the table and the batch the row with the greatest `order` wins, a missing value being the smallest; between
    equals the batch's, and of these the last. Rows that an earlier attempt at the same batch left and that are not in
    it any more are removed. Merging the same rows again changes nothing and commits nothing.

    Args:
        key: column that is never null.
        order: columns that say which row is newer, the first deciding.

    Returns:
        A handle of the batch's rows in the table.

    Raises:
        TableError: the table cannot be written; its old content is intact. What the stream raises is passed on.
    """
    location = store.location(table)
    schema = table_schema(rows, location).append(pa.field(BUCKET, pa.int32()))
    if present := open_delta(location):
        require_same_columns(arrow_schema(present), schema, location)
    folder = TableFolder.at(location)
    with _Spill(store.folder, schema.remove(schema.get_field_index(BUCKET))) as spill:
        with closing(incoming(rows)) as batches:
            for batch in batches:
                spill.add(batch, _buckets(batch.column(key)))
        spill.close()
        with Staging(folder, rows.batch.id, store.file_bytes) as staging:
            require_same_columns(arrow_schema(create_delta(location, schema, partition_by=BUCKET)), schema, location)
            merge = _Merge(folder, staging, spill, rows.batch.id, key, tuple(order))
            # One fence for all merges: two that both find a bucket empty would each add the same customer.
            version = commit(location, staging, merge, fence="merge", batch_id=rows.batch.id)
    handle = store.open(table, rows.batch, version)
    if handle is None:
        raise not_readable(location)
    return replace(handle, notes=rows.notes)


def _buckets(keys: pa.Array) -> np.ndarray[Any, np.dtype[np.int32]]:
    """Bucket of each key; the same in every process and on every machine."""
    from pandas.util import hash_array

    hashes = hash_array(keys.cast(pa.string()).to_numpy(zero_copy_only=False).astype(object), categorize=False)
    return (hashes % BUCKETS).astype(np.int32)


class _Spill:
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


@dataclass(frozen=True)
class _Merged:
    """A bucket merged from these files; `staged` is None if that changed nothing."""

    sources: tuple[str, ...]
    staged: list[StagedFile] | None


class _Merge:
    """What a merge adds and removes, decided for the table as it is at each try; unchanged buckets are not redone."""

    def __init__(
        self, folder: TableFolder, staging: Staging, spill: _Spill, batch_id: str, key: str, order: tuple[str, ...]
    ) -> None:
        self._folder, self._staging, self._spill = folder, staging, spill
        self._batch_id, self._key, self._order = batch_id, key, order
        self._done: dict[int, _Merged] = {}

    def __call__(self, table: DeltaTable) -> Changes | None:
        files: dict[int, list[DeltaFile]] = defaultdict(list)
        for file in active_files(table):
            files[int(file.partition[BUCKET])].append(file)
        stale = {bucket for bucket, held in files.items() if any(file.may_hold(self._batch_id) for file in held)}
        adds: list[StagedFile] = []
        removes: list[DeltaFile] = []
        for bucket in sorted(self._spill.buckets | stale):
            staged = self._merged(bucket, files[bucket])
            if staged is not None:
                adds += staged
                removes += files[bucket]
        return Changes(adds, removes) if adds or removes else None

    def _merged(self, bucket: int, files: list[DeltaFile]) -> list[StagedFile] | None:
        sources = tuple(file.path for file in files)
        done = self._done.get(bucket)
        if done is None or done.sources != sources:
            done = self._done[bucket] = _Merged(sources, self._merge(bucket, files))
        return done.staged

    def _merge(self, bucket: int, files: list[DeltaFile]) -> list[StagedFile] | None:
        key, ranked = self._key, [self._key, *self._order]
        old = self._read(files, [*ranked, "batch_id"])
        new = self._spill.read(bucket)
        new = new.filter(pa.array(is_newest(new, key, self._order)))
        own = pc.equal(old["batch_id"], self._batch_id).to_numpy()
        # Only customers that are on both sides are compared: the others cost a look-up and no sorting.
        rivals = ~own & pc.is_in(old[key], value_set=new[key].combine_chunks()).to_numpy()
        both = pa.concat_tables([old.select(ranked).filter(pa.array(rivals)), new.select(ranked)])
        won = is_newest(both, key, self._order)
        kept = ~own
        kept[rivals] = won[: rivals.sum()]
        new = new.filter(pa.array(won[rivals.sum() :]))
        if not (~kept & ~own).any() and self._are_already_there(new, files, own):
            return None
        with closing(read_ahead(self._rows(files, kept, new))) as merged:
            return self._staging.write(merged, {BUCKET: str(bucket)})

    def _are_already_there(self, new: pa.Table, files: list[DeltaFile], own: Mask) -> bool:
        """Whether the rows that an earlier attempt left (`own`) are the new ones."""
        if own.sum() != new.num_rows:
            return False
        start = 0
        for there in _filtered(self._current(files), own):
            arrived = new.slice(start, there.num_rows)
            # One dictionary for both sides, so that values are compared and not their codes.
            both = pa.concat_tables([pa.Table.from_batches([there]), arrived]).unify_dictionaries().combine_chunks()
            if not both.slice(0, there.num_rows).equals(both.slice(there.num_rows)):
                return False
            start += there.num_rows
        return True

    def _rows(self, files: list[DeltaFile], kept: Mask, new: pa.Table) -> Iterator[pa.RecordBatch]:
        yield from _filtered(self._current(files), kept)
        yield from new.to_batches(ROWS_PER_BATCH)

    def _current(self, files: list[DeltaFile], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        for file in files:
            yield from read_rows(self._folder, file, self._spill.schema, columns or self._spill.schema.names)

    def _read(self, files: list[DeltaFile], columns: Sequence[str]) -> pa.Table:
        schema = pa.schema([self._spill.schema.field(name) for name in columns])
        return pa.Table.from_batches(self._current(files, columns), schema)


def _filtered(batches: Iterator[pa.RecordBatch], mask: Mask) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in batches:
        yield batch.filter(pa.array(mask[start : start + batch.num_rows]))
        start += batch.num_rows


def is_newest(table: pa.Table, key: str, order: Sequence[str]) -> Mask:
    """Whether each row is the newest of its key: one row a key is.

    The greatest `order` wins, a missing value being the smallest; between equals the last row.
    """
    keys = table[key].combine_chunks().dictionary_encode().indices
    columns = [keys, *(table[name] for name in order), np.arange(table.num_rows)]
    names = ["key", *(f"rank {i}" for i in range(len(order))), "number"]
    newest_first = [(name, "descending", "at_end") for name in names[1:]]
    ranked = pa.table(columns, names=names)
    by = pc.sort_indices(ranked, sort_keys=[("key", "ascending", "at_end"), *newest_first]).to_numpy()
    sorted_keys = keys.to_numpy()[by]
    newest = np.zeros(table.num_rows, dtype=bool)
    newest[by[:1]] = True
    newest[by[1:]] = sorted_keys[1:] != sorted_keys[:-1]
    return newest
