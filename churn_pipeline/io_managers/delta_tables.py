"""Tables as Delta Lake, through delta-rs: the default.

Belongs here: the store, and which files a write replaces. Does not: the commit (`delta_commit.py`), files
(`delta_staging.py`, `delta_files.py`), the one table with a row a customer (`current_scores.py`), upkeep
(`maintenance.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable

from churn_pipeline.batches import Batch
from churn_pipeline.io_managers.base import Rows, TableHandle, TableStore, WriteMode
from churn_pipeline.io_managers.delta_commit import Changes, add_columns, commit, create_delta
from churn_pipeline.io_managers.delta_files import (
    DeltaFile,
    TableFolder,
    active_files,
    arrow_schema,
    open_delta,
    read_rows,
)
from churn_pipeline.io_managers.delta_parts import DeltaPart, divided
from churn_pipeline.io_managers.delta_staging import FILE_BYTES, StagedFile, Staging
from churn_pipeline.io_managers.incoming_rows import incoming, table_schema
from churn_pipeline.io_managers.later_columns import require_same_columns
from churn_pipeline.io_managers.table_errors import TableNotReadable, not_readable


class DeltaTables(TableStore):
    """Delta tables in one folder, partitioned by `batch_date`.

    A batch is written to Parquet files that nobody sees, and one commit shows them and hides what an earlier attempt
    wrote. Any number of processes may write, to the same batch too. Readers see a batch whole or not at all.
    """

    def __init__(self, folder: str, file_bytes: int = FILE_BYTES) -> None:
        """
        Args:
            folder: a local path or a URI such as `s3://bucket/tables`.
            file_bytes: size at which a batch goes on in another file; compaction makes files of this size.
        """
        self.file_bytes = file_bytes
        self.folder = folder.rstrip("/") if "://" in folder else str(Path(folder).absolute())

    def location(self, table: str) -> str:
        return f"{self.folder}/{table}"

    def write(self, table: str, rows: Rows, mode: WriteMode) -> TableHandle:
        folder = TableFolder.at(self.location(table))
        with self._staged(table, rows) as (staging, staged):
            decide = _Replacement(folder, staging, staged, rows.batch.id, mode)
            fence = f"batch:{rows.batch.id}"
            version = commit(folder.location, staging, decide, fence=fence, batch_id=rows.batch.id)
        handle = self.open(table, rows.batch, version)
        if handle is None:
            raise not_readable(self.location(table))
        return replace(handle, notes=rows.notes)

    def replace_if(self, table: str, rows: Rows, fence: str, allowed: Callable[[TableHandle], bool]) -> bool:
        written = True
        folder = TableFolder.at(self.location(table))
        with self._staged(table, rows) as (staging, staged):
            replacement = _Replacement(folder, staging, staged, rows.batch.id, "replace_batch")

            def decide(found: DeltaTable) -> Changes | None:
                nonlocal written
                handle = self.open(table, version=found.version())
                written = handle is not None and allowed(handle)
                return replacement(found) if written else None

            commit(folder.location, staging, decide, fence=fence, batch_id=rows.batch.id)
        return written

    @contextmanager
    def _staged(self, table: str, rows: Rows) -> Iterator[tuple[Staging, list[StagedFile]]]:
        """The rows in files that nobody sees yet, beside a table that fits them."""
        location = self.location(table)
        schema = table_schema(rows, location)
        if present := open_delta(location):
            require_same_columns(arrow_schema(present), schema, location, rows.later)
        with Staging(TableFolder.at(location), rows.batch.id, self.file_bytes) as staging:
            staged = _written(staging, rows) if rows.files is None else staging.adopt(rows.files)
            created = create_delta(location, schema, partition_by="batch_date")
            add_columns(location, require_same_columns(arrow_schema(created), schema, location, rows.later))
            yield staging, staged

    def stage(self, table: str, rows: Rows) -> list[StagedFile]:
        with Staging(TableFolder.at(self.location(table)), rows.batch.id, self.file_bytes) as staging:
            return _written(staging, rows)

    def parts(self, handle: TableHandle, count: int) -> list[DeltaPart]:
        loaded = self._load(handle.location, handle.batch, handle.version)
        if loaded is None:
            raise not_readable(handle.location)
        return divided(handle, _files(loaded, handle.batch), count)

    def staged_parts(self, table: str, rows: Rows) -> list[DeltaPart]:
        location, files = self.location(table), rows.files or ()
        handle = TableHandle(table, location, rows.batch, None, 0, table_schema(rows, location), self)
        return [part for file in files for part in divided(handle, [file], 1)]

    def open(self, table: str, batch: Batch | None = None, version: int | None = None) -> TableHandle | None:
        """The rows of a batch (None: of the whole table), or None if there is no such table.

        A version whose files or log are gone by now is replaced by the newest one, which still has the batch.
        """
        location = self.location(table)
        loaded = self._load(location, batch, version)
        if loaded is None:
            return None
        folder, schema = TableFolder.at(location), arrow_schema(loaded)
        rows = sum(_count(folder, file, schema, batch) for file in _files(loaded, batch))
        return TableHandle(table, location, batch, loaded.version(), rows, schema, self)

    def stream(
        self, handle: TableHandle, columns: Sequence[str] | None = None, since: datetime | None = None
    ) -> Iterator[pa.RecordBatch]:
        loaded = self._load(handle.location, handle.batch, handle.version)
        if loaded is None:
            raise not_readable(handle.location)
        folder = TableFolder.at(handle.location)
        only = handle.batch.id if handle.batch else None
        names = handle.schema.names if columns is None else columns
        oldest = since.timestamp() * 1000 if since else 0.0
        for file in (file for file in _files(loaded, handle.batch) if file.modified >= oldest):
            try:
                yield from read_rows(folder, file, handle.schema, names, only=only)
            except (OSError, pa.ArrowInvalid) as error:
                raise not_readable(handle.location) from error

    def tables(self) -> list[str]:
        root = TableFolder.at(self.folder)
        found = root.files.get_file_info(pafs.FileSelector(root.root, allow_not_found=True))
        logs = root.files.get_file_info([f"{info.path}/_delta_log" for info in found])
        names = [info.base_name for info, log in zip(found, logs, strict=True) if log.type == pafs.FileType.Directory]
        return sorted(names)

    def _load(self, location: str, batch: Batch | None, version: int | None) -> DeltaTable | None:
        if version is None:
            return open_delta(location)
        try:
            loaded = open_delta(location, version)
        except TableNotReadable:
            return open_delta(location)
        if loaded is None:
            return None
        folder = TableFolder.at(location)
        infos = folder.files.get_file_info([folder.path(file.path) for file in _files(loaded, batch)])
        vacuumed = any(info.type == pafs.FileType.NotFound for info in infos)
        return open_delta(location) if vacuumed else loaded


def _written(staging: Staging, rows: Rows) -> list[StagedFile]:
    with closing(incoming(rows)) as batches:
        stored = (batch.drop_columns(["batch_date"]) for batch in batches)
        return staging.write(stored, {"batch_date": rows.batch.date.isoformat()})


def _files(table: DeltaTable, batch: Batch | None) -> list[DeltaFile]:
    return [file for file in active_files(table) if batch is None or file.may_hold(batch.id)]


def _count(folder: TableFolder, file: DeltaFile, schema: pa.Schema, batch: Batch | None) -> int:
    only = batch.id if batch else None
    if file.rows is not None and (only is None or file.holds_only(only)):
        return file.rows
    return sum(found.num_rows for found in read_rows(folder, file, schema, ["batch_id"], only=only))


class _Replacement:
    """What a write removes, decided for the table as it is at each try.

    A file is removed if it holds this batch only. One that compaction has merged with other batches is replaced by a
    copy without this batch's rows, in the same commit.
    """

    def __init__(
        self, folder: TableFolder, staging: Staging, staged: list[StagedFile], batch_id: str, mode: WriteMode
    ) -> None:
        self._folder, self._staging, self._staged = folder, staging, staged
        self._batch_id, self._mode = batch_id, mode
        self._rests: dict[str, list[StagedFile] | None] = {}

    def __call__(self, table: DeltaTable) -> Changes:
        if self._mode == "append":
            return Changes(self._staged, [])
        files = active_files(table)
        if self._mode == "replace_all":
            return Changes(self._staged, files)
        adds, removes = list(self._staged), []
        for file in files:
            if file.may_hold(self._batch_id):
                rest = self._rest(file, arrow_schema(table))
                if rest is not None:
                    adds += rest
                    removes.append(file)
        return Changes(adds, removes)

    def _rest(self, file: DeltaFile, schema: pa.Schema) -> list[StagedFile] | None:
        """The file without this batch's rows; None if it has none of them."""
        if file.holds_only(self._batch_id):
            return []
        if file.path not in self._rests:
            self._rests[file.path] = self._copied(file, schema)
        return self._rests[file.path]

    def _copied(self, file: DeltaFile, schema: pa.Schema) -> list[StagedFile] | None:
        if not any(True for _ in read_rows(self._folder, file, schema, ["batch_id"], only=self._batch_id)):
            return None
        columns = [name for name in schema.names if name not in file.partition]
        others = read_rows(self._folder, file, schema, columns, without=self._batch_id)
        return self._staging.write(others, file.partition)
