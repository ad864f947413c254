"""What a Delta table is made of, and how one of its files is read.

Belongs here: active files, the table's Arrow schema, reading. Does not: writing files (`delta_staging.py`),
committing them (`delta_commit.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from churn_pipeline.io_managers.base import ROWS_PER_BATCH
from churn_pipeline.io_managers.later_columns import filled
from churn_pipeline.io_managers.table_errors import not_readable

#: Metadata of a Delta field whose Arrow type is a dictionary: Delta itself knows only `string`.
_DICTIONARY = {"churn.dictionary": "true"}


@dataclass(frozen=True)
class TableFolder:
    """Where a table's files are, and the file system that reaches them."""

    location: str
    files: pafs.FileSystem
    root: str

    @classmethod
    def at(cls, location: str) -> TableFolder:
        """A local path or a URI such as `s3://bucket/folder`."""
        if "://" in location:
            return cls(location, *pafs.FileSystem.from_uri(location))
        return cls(location, pafs.LocalFileSystem(), location)

    def path(self, relative: str) -> str:
        """Full path of a file, for `files`."""
        return f"{self.root}/{relative}"


@dataclass(frozen=True)
class DeltaFile:
    """One active file of a table.

    Attributes:
        path: below the table's folder.
        size: bytes.
        rows: number of rows; None if the writer did not say.
        partition: partition column → value as text.
        first_batch, last_batch: smallest and largest batch id inside, perhaps shortened; None: unknown.
        modified: milliseconds since 1970; files of one batch are in the order they were written.
    """

    path: str
    size: int
    rows: int | None
    partition: Mapping[str, str]
    first_batch: str | None
    last_batch: str | None
    modified: int

    def may_hold(self, batch_id: str) -> bool:
        """Whether rows of the batch may be inside."""
        if self.first_batch is None or self.last_batch is None:
            return True
        return self.first_batch <= batch_id <= self.last_batch

    def holds_only(self, batch_id: str) -> bool:
        """Whether every row is of the batch."""
        return self.first_batch == self.last_batch == batch_id


def open_delta(location: str, version: int | None = None) -> DeltaTable | None:
    """Load a table, or None if there is none.

    Raises:
        TableNotReadable: there is one, and its log or that version of it cannot be read.
    """
    try:
        return DeltaTable(location, version=version)
    except TableNotFoundError:
        return None
    except (DeltaError, OSError) as error:
        raise not_readable(location) from error


def active_files(table: DeltaTable) -> list[DeltaFile]:
    """Files of the table at its loaded version, in the order they were written."""
    found = [_file_of(action) for action in pa.table(table.get_add_actions(flatten=True)).to_pylist()]
    return sorted(found, key=lambda file: (file.modified, file.path))


def _file_of(action: dict[str, Any]) -> DeltaFile:
    partition = {
        name.removeprefix("partition."): str(value) for name, value in action.items() if name.startswith("partition.")
    }
    return DeltaFile(
        path=action["path"],
        size=action["size_bytes"],
        rows=action["num_records"],
        partition=partition,
        first_batch=action.get("min.batch_id"),
        last_batch=action.get("max.batch_id"),
        modified=action["modification_time"],
    )


def delta_schema(schema: pa.Schema) -> pa.Schema:
    """The Arrow schema as Delta stores it; `arrow_schema` turns it back."""
    fields = [
        pa.field(f.name, f.type.value_type, metadata=_DICTIONARY) if pa.types.is_dictionary(f.type) else f
        for f in schema
    ]
    return pa.schema(fields)


def arrow_schema(table: DeltaTable) -> pa.Schema:
    """Schema of a table as its rows are handed out, dictionaries included."""
    marked = {field.name for field in table.schema().fields if field.metadata.items() >= _DICTIONARY.items()}
    plain = [pa.field(f.name, f.type) for f in pa.schema(table.schema().to_arrow())]
    return pa.schema([f.with_type(pa.dictionary(pa.int32(), f.type)) if f.name in marked else f for f in plain])


def read_rows(
    folder: TableFolder,
    file: DeltaFile,
    schema: pa.Schema,
    columns: Sequence[str],
    *,
    only: str | None = None,
    without: str | None = None,
    row_groups: range | None = None,
) -> Iterator[pa.RecordBatch]:
    """Read one file in flat memory, in order, at most `ROWS_PER_BATCH` rows at a time.

    Args:
        schema: of the whole table.
        columns: the columns wanted, in that order.
        only, without: keep only the rows of this batch, or all but these.
        row_groups: read only these of the file.
    """
    wanted = pa.schema([schema.field(name) for name in columns])
    filtered = (only is not None and not file.holds_only(only)) or without is not None
    stored = [name for name in columns if name not in file.partition]
    needed = list(dict.fromkeys([*stored, "batch_id"])) if filtered else stored
    dictionaries = [f.name for f in wanted if pa.types.is_dictionary(f.type)]
    with folder.files.open_input_file(folder.path(file.path)) as source:
        # No pre-buffering: it would hold a whole row group of compressed pages in memory.
        parquet = pq.ParquetFile(source, read_dictionary=dictionaries, pre_buffer=False)
        groups = _groups(parquet, only) if filtered and only else list(range(parquet.num_row_groups))
        if row_groups is not None:
            groups = [number for number in groups if number in row_groups]
        # One thread: several are no faster beside a writer and a scorer, and hold memory.
        batches = parquet.iter_batches(ROWS_PER_BATCH, row_groups=groups, columns=needed, use_threads=False)
        for batch in batches:
            if filtered:
                ids = batch.column("batch_id")
                batch = batch.filter(pc.equal(ids, only) if only is not None else pc.not_equal(ids, without))
            if batch.num_rows:
                yield _shaped(batch, wanted, file.partition)


def _groups(parquet: pq.ParquetFile, batch_id: str) -> list[int]:
    """Row groups that may hold the batch, from the footer."""
    column = [parquet.schema.column(i).path for i in range(len(parquet.schema))].index("batch_id")
    groups = []
    for number in range(parquet.num_row_groups):
        stats = parquet.metadata.row_group(number).column(column).statistics
        if stats is None or not stats.has_min_max or stats.min <= batch_id <= stats.max:
            groups.append(number)
    return groups


def _shaped(batch: pa.RecordBatch, wanted: pa.Schema, partition: Mapping[str, str]) -> pa.RecordBatch:
    """The columns wanted, of the types wanted; partition columns come from the log."""
    for field in wanted:
        if field.name in partition:
            value = pa.scalar(partition[field.name]).cast(field.type)
            batch = batch.append_column(field, pa.repeat(value, batch.num_rows))
    return filled(batch, wanted)
