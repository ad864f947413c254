"""The one table with a row a customer: the newest score wins.

Belongs here: merging a batch into that table in flat memory. Does not: tables that keep every batch
(`delta_tables.py`).

The table is partitioned by `id_bucket`, a stable hash of the key, one file a bucket. A batch is spilled to disk by
bucket, then each bucket is merged by itself and one commit shows all of them: memory follows the largest bucket, not
the batch. `DeltaTable.merge` needs the whole batch in memory: 13 GB for 10 million rows into 6 million, against 0.3 GB
here, and it rewrites every file that holds a customer just the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from churn_pipeline.fingerprints import fingerprints, shared
from churn_pipeline.io_managers.base import Rows, TableHandle
from churn_pipeline.io_managers.bucket_spill import BucketSpill, buckets_of
from churn_pipeline.io_managers.delta_commit import Changes, add_columns, commit, create_delta
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
from churn_pipeline.io_managers.incoming_rows import incoming, table_schema
from churn_pipeline.io_managers.later_columns import require_same_columns
from churn_pipeline.io_managers.table_errors import not_readable

Mask = np.ndarray[Any, np.dtype[np.bool_]]
_SMALLEST = np.iinfo(np.int64).min

BUCKET = "id_bucket"

#: Tables made with 32 bits spread their customers by another hash, and are refused.
_BUCKET_TYPE = pa.int64()

#: Keys that are hashed at once.
_HASHED = 131_072

#: Rows up to which two buckets are merged at a time; past it memory is dearer than time.
_FEW_ROWS = 4_000_000


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
    schema = table_schema(rows, location).append(pa.field(BUCKET, _BUCKET_TYPE))
    if present := open_delta(location):
        require_same_columns(arrow_schema(present), schema, location, rows.later)
    folder = TableFolder.at(location)
    with BucketSpill(store.folder, schema.remove(schema.get_field_index(BUCKET))) as spill:
        with closing(incoming(rows)) as batches:
            for batch in batches:
                spill.add(batch.cast(spill.schema), buckets_of(batch.column(key)))
        spill.close()
        with Staging(folder, rows.batch.id, store.file_bytes) as staging:
            created = create_delta(location, schema, partition_by=BUCKET)
            add_columns(location, require_same_columns(arrow_schema(created), schema, location, rows.later))
            merge = _Merge(folder, staging, spill, rows.batch.id, key, tuple(order))
            # One fence for all merges: two that both find a bucket empty would each add the same customer.
            version = commit(location, staging, merge, fence="merge", batch_id=rows.batch.id)
    handle = store.open(table, rows.batch, version)
    if handle is None:
        raise not_readable(location)
    return replace(handle, notes=rows.notes)


@dataclass(frozen=True)
class _Merged:
    """A bucket merged from these files; `staged` is None if that changed nothing."""

    sources: tuple[str, ...]
    staged: list[StagedFile] | None


class _Merge:
    """What a merge adds and removes, decided for the table as it is at each try; unchanged buckets are not redone."""

    def __init__(
        self, folder: TableFolder, staging: Staging, spill: BucketSpill, batch_id: str, key: str, order: tuple[str, ...]
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
        buckets = sorted(self._spill.buckets | stale)
        rows = self._spill.rows + sum(file.rows or 0 for held in files.values() for file in held)
        with ThreadPoolExecutor(2 if rows <= _FEW_ROWS else 1) as pool:
            merged = list(pool.map(self._merged, buckets, [files[bucket] for bucket in buckets]))
        for bucket, staged in zip(buckets, merged, strict=True):
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
        own, kept, won = self._newest(bucket, files)
        if np.array_equal(kept, ~own) and self._are_already_there(bucket, won, files, own):
            return None
        return self._staging.write(self._rows(bucket, files, kept, won), {BUCKET: str(bucket)})

    def _newest(self, bucket: int, files: list[DeltaFile]) -> tuple[Mask, Mask, Mask]:
        """Of the rows there, which are of an earlier attempt and which stay; which of the new ones come."""
        key, ranked = self._key, [self._key, *self._order]
        old, new = self._read(files, [*ranked, "batch_id"]), self._spill.read(bucket, ranked)
        own = pc.equal(old["batch_id"], self._batch_id).to_numpy()
        # Only customers on both sides are compared: for the others a look-up is enough.
        rivals = ~own
        if rivals.any():
            rivals &= pc.is_in(old[key], value_set=new[key].combine_chunks()).to_numpy()
        if rivals.any():
            new = pa.concat_tables([old.select(ranked).filter(pa.array(rivals)), new])
        old_won, won = np.split(is_newest(new, key, self._order), [rivals.sum()])
        kept = ~own
        kept[rivals] = old_won
        return own, kept, won

    def _are_already_there(self, bucket: int, won: Mask, files: list[DeltaFile], own: Mask) -> bool:
        """Whether the rows that an earlier attempt left (`own`) are the new ones that won."""
        if own.sum() != won.sum():
            return False
        new, start = pa.Table.from_batches(_filtered(self._spill.stream(bucket), won), self._spill.schema), 0
        for there in _filtered(self._current(files), own):
            arrived = new.slice(start, there.num_rows)
            # One dictionary for both sides, so that values are compared and not their codes.
            both = pa.concat_tables([pa.Table.from_batches([there]), arrived]).unify_dictionaries().combine_chunks()
            if not both.slice(0, there.num_rows).equals(both.slice(there.num_rows)):
                return False
            start += there.num_rows
        return True

    def _rows(self, bucket: int, files: list[DeltaFile], kept: Mask, won: Mask) -> Iterator[pa.RecordBatch]:
        yield from _filtered(self._current(files), kept)
        yield from _filtered(self._spill.stream(bucket), won)

    def _current(self, files: list[DeltaFile], columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        for file in files:
            yield from read_rows(self._folder, file, self._spill.schema, columns or self._spill.schema.names)

    def _read(self, files: list[DeltaFile], columns: Sequence[str]) -> pa.Table:
        schema = pa.schema([self._spill.schema.field(name) for name in columns])
        return pa.Table.from_batches(self._current(files, columns), schema)


def _filtered(batches: Iterator[pa.RecordBatch], mask: Mask) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in batches:
        part = mask[start : start + batch.num_rows]
        yield batch if part.all() else batch.filter(pa.array(part))
        start += batch.num_rows


def is_newest(table: pa.Table, key: str, order: Sequence[str]) -> Mask:
    """Whether each row is the newest of its key: exactly one row a key is.

    The greatest `order` wins, a missing value being the smallest; between equals the last row.
    """
    newest = np.ones(table.num_rows, dtype=bool)
    # Most keys come once, and hashes show that in less than half of the memory that a dictionary takes.
    parts = [table[key].slice(start, _HASHED) for start in range(0, max(1, table.num_rows), _HASHED)]
    suspects = shared(np.concatenate([fingerprints(part.combine_chunks()) for part in parts]))
    if suspects is not None:
        newest[suspects] = _is_newest(table.filter(pa.array(suspects)), key, order)
    return newest


def _is_newest(table: pa.Table, key: str, order: Sequence[str]) -> Mask:
    codes = pc.dictionary_encode(table[key].combine_chunks(), null_encoding="encode").indices.to_numpy()
    newest = np.ones(table.num_rows, dtype=bool)
    # Column after column, whoever is below the best of its key drops out. That is 20 times faster than sorting.
    for rank in [*(_ranks(table[name]) for name in order), np.arange(len(codes))]:
        best = np.full(len(codes), _SMALLEST)
        np.maximum.at(best, codes[newest], rank[newest])
        newest[newest] = rank[newest] == best[codes[newest]]
    return newest


def _ranks(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Numbers in the order of the values, a missing value being the smallest."""
    if pa.types.is_timestamp(column.type) or pa.types.is_signed_integer(column.type):
        return pc.fill_null(column.cast(pa.int64()), _SMALLEST).to_numpy()
    values = column.combine_chunks()
    ranks = pc.rank(values, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64)
    ranks[values.is_null().to_numpy(zero_copy_only=False)] = _SMALLEST
    return ranks
