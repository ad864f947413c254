"""Tables in memory: for tests, notebooks and trying things out.

Belongs here: the store that keeps nothing. Does not: anything on a disk.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime

import pyarrow as pa

from churn_pipeline.batches import Batch
from churn_pipeline.io_managers.base import ROWS_PER_BATCH, Rows, TableHandle, TableStore, WriteMode
from churn_pipeline.io_managers.incoming_rows import incoming, table_schema
from churn_pipeline.io_managers.later_columns import filled, require_same_columns


@dataclass(frozen=True)
class _Table:
    schema: pa.Schema
    #: Batch id and rows, in the order they were written.
    parts: tuple[tuple[str, pa.Table], ...]


class MemoryTables(TableStore):
    """Tables that live as long as this object; threads may share it. There are no versions."""

    def __init__(self) -> None:
        self._tables: dict[str, _Table] = {}
        self._lock = threading.RLock()

    def location(self, table: str) -> str:
        return f"memory://{table}"

    def write(self, table: str, rows: Rows, mode: WriteMode) -> TableHandle:
        schema = table_schema(rows, self.location(table))
        if present := self._tables.get(table):
            require_same_columns(present.schema, schema, self.location(table), rows.later)
        staged = self.stage(table, rows) if rows.files is None else rows.files
        new = pa.concat_tables([schema.empty_table(), *staged], promote_options="default")
        with self._lock:
            old = self._tables.get(table, _Table(schema, ()))
            require_same_columns(old.schema, schema, self.location(table), rows.later)
            kept = {
                "append": old.parts,
                "replace_batch": tuple(part for part in old.parts if part[0] != rows.batch.id),
                "replace_all": (),
            }[mode]
            self._tables[table] = _Table(schema, (*kept, (rows.batch.id, new)))
        return replace(self._handle(table, rows.batch, self._tables[table]), notes=rows.notes)

    def stage(self, table: str, rows: Rows) -> list[pa.Table]:
        schema = table_schema(rows, self.location(table))
        with closing(incoming(rows)) as batches:
            return [pa.Table.from_batches([batch.cast(schema) for batch in batches], schema)]

    def replace_if(self, table: str, rows: Rows, fence: str, allowed: Callable[[TableHandle], bool]) -> bool:  # noqa: ARG002
        with self._lock:
            empty = _Table(table_schema(rows, self.location(table)), ())
            if not allowed(self._handle(table, None, self._tables.setdefault(table, empty))):
                return False
            self.write(table, rows, "replace_batch")
        return True

    def open(self, table: str, batch: Batch | None = None, version: int | None = None) -> TableHandle | None:  # noqa: ARG002
        found = self._tables.get(table)
        return None if found is None else self._handle(table, batch, found)

    def stream(
        self,
        handle: TableHandle,
        columns: Sequence[str] | None = None,
        since: datetime | None = None,  # noqa: ARG002
    ) -> Iterator[pa.RecordBatch]:
        wanted = pa.schema([handle.schema.field(n) for n in (handle.schema.names if columns is None else columns)])
        for part in _parts(self._tables[handle.table], handle.batch):
            yield from (filled(batch, wanted) for batch in part.to_batches(ROWS_PER_BATCH) if batch.num_rows)

    def tables(self) -> list[str]:
        return sorted(self._tables)

    def _handle(self, table: str, batch: Batch | None, found: _Table) -> TableHandle:
        rows = sum(part.num_rows for part in _parts(found, batch))
        return TableHandle(table, self.location(table), batch, None, rows, found.schema, self)


def _parts(table: _Table, batch: Batch | None) -> list[pa.Table]:
    return [part for batch_id, part in table.parts if batch is None or batch_id == batch.id]
