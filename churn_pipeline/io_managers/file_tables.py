"""Tables as plain files that other tools can open: a folder a table, a file a batch.

Belongs here: the folder and how a batch takes its place in it, whatever the format. Does not: the formats
(`parquet_files.py`, `csv_files.py`, `json_lines.py`), one named file (`exports.py`), the default (`delta_tables.py`).
"""

from __future__ import annotations

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import pyarrow as pa

from churn_pipeline.batches import Batch
from churn_pipeline.io_managers.atomic_files import atomic_file
from churn_pipeline.io_managers.base import Rows, TableHandle, TableStore, WriteMode
from churn_pipeline.io_managers.incoming_rows import Watched, incoming, table_schema
from churn_pipeline.io_managers.later_columns import require_same_columns
from churn_pipeline.io_managers.table_errors import not_readable, not_writable, storage_errors

_SCHEMA = ".schema.arrow"


class FileFormat(ABC):
    """How record batches become one file, and back."""

    #: Ending of a file's name.
    extension: str

    @abstractmethod
    def write(self, file: BinaryIO, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        """Write record batches of `schema` in flat memory."""

    @abstractmethod
    def read(self, path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Read the columns of `schema`, in that order, at most `ROWS_PER_BATCH` rows at a time; null if not there."""


class FileTables(TableStore):
    """Exports: `<folder>/<table>/<batch id><extension>`.

    `replace_batch` is one rename, so it is atomic. `append` adds a file of its own beside it. Where a replace has to
    remove further files (appended ones, or other batches' in `replace_all`), it does so after the new file is there:
    a process killed between leaves old rows beside the new ones until the next such write. There are no versions.
    Column types stand in a hidden file beside the batches, since CSV and JSON know few. A file that was written before
    the table gained a column is read as if that were empty.
    """

    format: FileFormat

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()

    def location(self, table: str) -> str:
        return str(self.folder / table)

    def write(self, table: str, rows: Rows, mode: WriteMode) -> TableHandle:
        folder = self.folder / table
        schema = table_schema(rows, str(folder))
        present = self._schema(folder)
        known = present is not None and not require_same_columns(present, schema, str(folder), rows.later)
        old = self._files(folder, rows.batch if mode == "replace_batch" else None) if mode != "append" else []
        target = folder / self._name(rows.batch, mode)
        with closing(incoming(rows)) as batches:
            watched = Watched(batches)
            try:
                with atomic_file(target) as file:
                    self.format.write(file, watched, schema)
                    if not known:
                        _write_schema(folder, schema)
            except OSError as error:
                if error is watched.error:
                    raise
                raise not_writable(str(folder), error) from error
        with storage_errors(str(folder)):
            for path in old:
                if path != target:
                    path.unlink(missing_ok=True)
        count = watched.rows if mode != "append" else self._count(folder, rows.batch, schema)
        return TableHandle(table, str(folder), rows.batch, None, count, schema, self, rows.notes)

    def open(self, table: str, batch: Batch | None = None, version: int | None = None) -> TableHandle | None:  # noqa: ARG002
        folder = self.folder / table
        schema = self._schema(folder)
        if schema is None:
            return None
        return TableHandle(table, str(folder), batch, None, self._count(folder, batch, schema), schema, self)

    def stream(
        self,
        handle: TableHandle,
        columns: Sequence[str] | None = None,
        since: datetime | None = None,  # noqa: ARG002
    ) -> Iterator[pa.RecordBatch]:
        names = handle.schema.names if columns is None else columns
        wanted = pa.schema([handle.schema.field(name) for name in names])
        for path in self._files(Path(handle.location), handle.batch):
            try:
                yield from self.format.read(path, wanted)
            except (OSError, ValueError) as error:
                raise not_readable(str(path)) from error

    def tables(self) -> list[str]:
        return sorted(path.parent.name for path in self.folder.glob(f"*/{_SCHEMA}"))

    def _count(self, folder: Path, batch: Batch | None, schema: pa.Schema) -> int:
        handle = TableHandle(folder.name, str(folder), batch, None, 0, schema, self)
        return sum(found.num_rows for found in self.stream(handle, ["batch_id"]))

    def _name(self, batch: Batch, mode: WriteMode) -> str:
        # `+` cannot be in a quoted id: what stands behind it is not part of the id.
        appended = f"+{time.time_ns():020d}-{uuid.uuid4().hex[:8]}" if mode == "append" else ""
        return f"{quote(batch.id, safe='')}{appended}{self.format.extension}"

    def _files(self, folder: Path, batch: Batch | None) -> list[Path]:
        """Files of a batch (None: of all), in the order they were written."""
        paths = [path for path in folder.glob(f"*{self.format.extension}") if not path.name.startswith(".")]
        if batch is not None:
            name = quote(batch.id, safe="")
            paths = [p for p in paths if p.name.removesuffix(self.format.extension).split("+")[0] == name]
        return sorted(paths, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def _schema(self, folder: Path) -> pa.Schema | None:
        try:
            return pa.ipc.read_schema(pa.py_buffer((folder / _SCHEMA).read_bytes()))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, pa.ArrowInvalid) as error:
            raise not_readable(str(folder / _SCHEMA)) from error


def _write_schema(folder: Path, schema: pa.Schema) -> None:
    with atomic_file(folder / _SCHEMA) as file:
        file.write(schema.serialize().to_pybytes())
