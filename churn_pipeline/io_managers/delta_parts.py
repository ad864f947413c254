"""The rows of a Delta table's handle in parts, for several processes to read.

Belongs here: dividing files by their row groups, and reading a part. Does not: which files a handle stands for
(`delta_tables.py`), how a file is read (`delta_files.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from churn_pipeline.io_managers.base import TableHandle, TablePart
from churn_pipeline.io_managers.delta_files import DeltaFile, TableFolder, read_rows
from churn_pipeline.io_managers.table_errors import not_readable

#: A file, and some of its row groups.
Piece = tuple[DeltaFile, range]


@dataclass(frozen=True)
class DeltaPart(TablePart):
    """Neighbouring row groups of a handle's files."""

    handle: TableHandle
    pieces: tuple[Piece, ...]

    def stream(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        folder, handle = TableFolder.at(self.handle.location), self.handle
        names = handle.schema.names if columns is None else columns
        only = handle.batch.id if handle.batch else None
        for file, groups in self.pieces:
            try:
                yield from read_rows(folder, file, handle.schema, names, only=only, row_groups=groups)
            except (OSError, pa.ArrowInvalid) as error:
                raise not_readable(handle.location) from error


def divided(handle: TableHandle, files: Sequence[DeltaFile], count: int) -> list[DeltaPart]:
    """At most `count` parts, in order, of about as many row groups each."""
    groups = [(file, number) for file in files for number in range(_row_groups(handle, file))]
    size = max(1, -(-len(groups) // count))
    return [DeltaPart(handle, _joined(groups[start : start + size])) for start in range(0, len(groups), size)]


def _row_groups(handle: TableHandle, file: DeltaFile) -> int:
    folder = TableFolder.at(handle.location)
    try:
        with folder.files.open_input_file(folder.path(file.path)) as source:
            return int(pq.read_metadata(source).num_row_groups)
    except (OSError, pa.ArrowInvalid) as error:
        raise not_readable(handle.location) from error


def _joined(groups: Sequence[tuple[DeltaFile, int]]) -> tuple[Piece, ...]:
    """Row groups of the same file as one range; they are in order."""
    pieces: list[Piece] = []
    for file, number in groups:
        if pieces and pieces[-1][0] is file:
            pieces[-1] = file, range(pieces[-1][1].start, number + 1)
        else:
            pieces.append((file, range(number, number + 1)))
    return tuple(pieces)
