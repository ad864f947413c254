"""Parquet files of a Delta table that no reader sees yet.

Belongs here: writing them, measuring them for the log, deleting them if they are not wanted. Does not: the commit
that makes them visible (`delta_commit.py`).
"""

from __future__ import annotations

import json
import re
import threading
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn_pipeline.io_managers.delta_files import DeltaFile, TableFolder
from churn_pipeline.io_managers.table_errors import storage_errors
from churn_pipeline.row_groups import row_groups

#: Rows in a row group: two record batches; larger ones cost memory, smaller ones bytes.
ROWS_PER_GROUP = 131_072

#: A file that has this many bytes is followed by the next one. Compaction leaves files of this size alone, so the
#: pieces of a large batch keep their order.
FILE_BYTES = 128 * 1024 * 1024

#: Rows that mostly show whether a column's values repeat: counting all of a row group takes as long as writing it.
_LOOKED_AT = 16_384


@dataclass(frozen=True)
class StagedFile(DeltaFile):
    """A file as the log will describe it.

    Attributes:
        stats: Delta's statistics, JSON: number of rows, and the range of batch id and event time only. Statistics of
            all columns would make every checkpoint seven times larger, and nobody prunes on a probability.
    """

    stats: str


class Staging:
    """The files one write has made so far, from any thread; after an error in its `with` block they are deleted.

    Attributes:
        in_doubt: a commit that names them may have succeeded. Then they are never deleted: a file too many is swept
            by maintenance, a file too few is a broken table.
    """

    def __init__(self, folder: TableFolder, batch_id: str, file_bytes: int = FILE_BYTES) -> None:
        self.in_doubt = False
        self._file_bytes = file_bytes
        self._folder = folder
        # Letters that a path in the log would have to escape are left out; the id itself is in the column.
        self._stem = f"{re.sub(r'[^A-Za-z0-9._-]', '_', batch_id)[:80]}-{uuid.uuid4().hex[:12]}"
        self._paths: list[str] = []
        self._modified = 0
        self._one_at_a_time = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not self.in_doubt:
            self.discard()

    def write(self, batches: Iterable[pa.RecordBatch], partition: Mapping[str, str]) -> list[StagedFile]:
        """Write record batches, which hold no partition column, to as many files as their size asks for.

        Raises:
            TableNotWritable: the storage refuses. What `batches` raises is passed on as it is.
        """
        written: list[StagedFile] = []
        current: _OpenFile | None = None
        try:
            for group in row_groups(batches, ROWS_PER_GROUP):
                with storage_errors(self._folder.location):
                    if current is None:
                        current = self._new_file(group, partition)
                    current.write(group)
                    if current.size >= self._file_bytes:
                        written.append(current.finish())
                        current = None
            if current is not None:
                with storage_errors(self._folder.location):
                    written.append(current.finish())
                    current = None
        finally:
            if current is not None:
                current.abandon()
        return written

    def adopt(self, files: Sequence[StagedFile]) -> list[StagedFile]:
        """Take over what other processes have written, in this order."""
        self._paths += [file.path for file in files]
        return [replace(file, modified=self._next_moment()) for file in files]

    def discard(self, keep: Collection[str] = ()) -> None:
        """Delete the files written, but for the paths in `keep`."""
        for path in self._paths:
            if path not in keep:
                # What cannot be deleted now is deleted by maintenance.
                with suppress(OSError):
                    self._folder.files.delete_file(self._folder.path(path))
        self._paths = [path for path in self._paths if path in keep]

    def _new_file(self, first: pa.Table, partition: Mapping[str, str]) -> _OpenFile:
        below = "/".join(f"{name}={value}" for name, value in partition.items())
        self._folder.files.create_dir(self._folder.path(below))
        with self._one_at_a_time:
            path = f"{below}/{self._stem}-{len(self._paths):05d}.parquet"
            self._paths.append(path)
            modified = self._next_moment()
        return _OpenFile(self._folder, path, first, partition, modified)

    def _next_moment(self) -> int:
        """Readers order files by this time: it must not run backwards even if the clock does."""
        self._modified = max(self._modified + 1, int(time.time() * 1000))
        return self._modified


@dataclass
class _Ranges:
    """Least and greatest batch id and event time (microseconds since 1970) seen, for the log."""

    batch_ids: list[str] = field(default_factory=list)
    events: list[int] = field(default_factory=list)

    def add(self, group: pa.Table) -> None:
        seen = [*self.batch_ids, *pc.unique(group["batch_id"]).to_pylist()]
        self.batch_ids = [min(seen), max(seen)]
        if "event_at" in group.column_names and pa.types.is_timestamp(group.schema.field("event_at").type):
            found = pc.min_max(group["event_at"].cast(pa.timestamp("us", "UTC")))
            if found["min"].is_valid:
                seen_at = [*self.events, found["min"].value, found["max"].value]
                self.events = [min(seen_at), max(seen_at)]

    def stats(self, rows: int) -> str:
        ranges = [{"batch_id": batch_id} for batch_id in self.batch_ids]
        # A time outside the years 1 to 9999 has no form in the log; the file is then never pruned by time.
        with suppress(OverflowError):
            for known, event_at in zip(ranges, [_iso(event) for event in self.events], strict=False):
                known["event_at"] = event_at
        return json.dumps(
            {"numRecords": rows, "minValues": ranges[0], "maxValues": ranges[1], "nullCount": {"batch_id": 0}}
        )


def _iso(microseconds: int) -> str:
    moment = datetime(1970, 1, 1) + timedelta(microseconds=microseconds)
    return moment.isoformat(timespec="microseconds") + "Z"


class _OpenFile:
    """One Parquet file while it is written, encoded as suits its first row group."""

    def __init__(
        self, folder: TableFolder, path: str, first: pa.Table, partition: Mapping[str, str], modified: int
    ) -> None:
        self._path, self._partition, self._modified = path, partition, modified
        self._rows, self._ranges = 0, _Ranges()
        self._sink = folder.files.open_output_stream(folder.path(path))
        few = _few_valued(first)
        self._writer = pq.ParquetWriter(
            self._sink,
            first.schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=few,
            column_encoding={f.name: "DELTA_BINARY_PACKED" for f in first.schema if _is_count(f) and f.name not in few},
            write_statistics=["batch_id"],
        )

    @property
    def size(self) -> int:
        return int(self._sink.tell())

    def write(self, group: pa.Table) -> None:
        self._writer.write_table(group, row_group_size=ROWS_PER_GROUP)
        self._rows += group.num_rows
        self._ranges.add(group)

    def finish(self) -> StagedFile:
        self._writer.close()
        size = self.size
        self._sink.close()
        first, last = self._ranges.batch_ids
        stats = self._ranges.stats(self._rows)
        return StagedFile(self._path, size, self._rows, self._partition, first, last, self._modified, stats)

    def abandon(self) -> None:
        # The footer may not fit on a full disk either; the file is deleted anyway.
        with suppress(OSError):
            self._writer.close()
        with suppress(OSError):
            self._sink.close()


def _few_valued(group: pa.Table) -> list[str]:
    """Columns whose values repeat: there dictionary pages save time and bytes, elsewhere they cost both.

    Returns:
        Their paths in Parquet: `id`; `reasons_up.list.element.column` for what is in lists and structs.
    """
    return [
        path
        for name in group.column_names
        for path, values in _leaves(name, group[name])
        if path == "batch_id" or pa.types.is_dictionary(values.type) or (_is_plain(values.type) and _repeats(values))
    ]


def _leaves(path: str, values: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """What Parquet keeps apart of a column."""
    if pa.types.is_list(values.type):
        yield from _leaves(f"{path}.list.element", pc.list_flatten(values))
    elif pa.types.is_struct(values.type):
        for part in values.type:
            yield from _leaves(f"{path}.{part.name}", pc.struct_field(values, part.name))
    else:
        yield path, values


def _is_plain(kind: pa.DataType) -> bool:
    return not pa.types.is_nested(kind) and not pa.types.is_boolean(kind)


def _repeats(values: pa.ChunkedArray) -> bool:
    """Whether each value comes four times, on average."""
    some = values.slice(0, _LOOKED_AT)
    distinct = pc.count_distinct(some, mode="all").as_py()
    # Where all values come four times each, a fifth of these came before; only in between is it worth counting all.
    if len(some) < 4 * distinct <= 3.6 * len(some):
        some, distinct = values, pc.count_distinct(values, mode="all").as_py()
    return bool(4 * distinct <= len(some))


def _is_count(f: pa.Field) -> bool:
    """Whether neighbours are near each other: places, numbers of things, times."""
    return pa.types.is_integer(f.type) or pa.types.is_timestamp(f.type) or pa.types.is_date(f.type)
