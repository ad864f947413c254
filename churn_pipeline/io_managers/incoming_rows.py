"""Rows on their way into a table: read ahead in a thread, with `batch_id` and `batch_date` added.

Belongs here: what every writer does with `Rows` before its format matters. Does not: formats.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

import pyarrow as pa

from churn_pipeline.constant_columns import WORD, constant
from churn_pipeline.io_managers.base import ROWS_PER_BATCH, Rows
from churn_pipeline.io_managers.table_errors import UnsupportedColumn
from churn_pipeline.read_ahead import read_ahead


def table_schema(rows: Rows, location: str) -> pa.Schema:
    """Schema of a table that holds `rows`: their columns, all nullable, then `batch_id` and `batch_date`.

    Raises:
        UnsupportedColumn: a type that the formats cannot keep (timestamps without zone, unsigned and half numbers).
    """
    for field in rows.schema:
        kind = field.type
        naive = pa.types.is_timestamp(kind) and kind.tz is None
        if naive or pa.types.is_unsigned_integer(kind) or pa.types.is_float16(kind) or pa.types.is_time(kind):
            raise UnsupportedColumn(
                f"{location} cannot hold column {field.name!r}: type {kind} would not come back as it went in. "
                "Use UTC timestamps, signed integers and 32 or 64 bit floats."
            )
    fields = [pa.field(field.name, field.type) for field in rows.schema]
    return pa.schema([*fields, pa.field("batch_id", pa.string()), pa.field("batch_date", pa.date32())])


def incoming(rows: Rows) -> Generator[pa.RecordBatch]:
    """The rows with their `batch_id` and `batch_date`, at most `ROWS_PER_BATCH` a record batch, read ahead.

    `batch_id` comes as a dictionary of one word, whatever the table's schema says: half a hundred megabytes of the same
    text for every million rows would be made for nothing.
    """
    with closing(read_ahead(rows.stream)) as ahead:
        for batch in ahead:
            for start in range(0, batch.num_rows, ROWS_PER_BATCH):
                yield _labelled(batch.slice(start, ROWS_PER_BATCH), rows)


def _labelled(batch: pa.RecordBatch, rows: Rows) -> pa.RecordBatch:
    ids = constant(rows.batch.id, batch.num_rows, WORD)
    dates = constant(rows.batch.date, batch.num_rows, pa.date32())
    columns = [*batch.select(rows.schema.names).columns, ids, dates]
    names = [*rows.schema.names, "batch_id", "batch_date"]
    # What is never missing is said to the formats: Parquet then keeps no account of it.
    never = {field.name for field in rows.schema if not field.nullable} | {"batch_id", "batch_date"}
    fields = [pa.field(n, column.type, nullable=n not in never) for n, column in zip(names, columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


class Watched:
    """A stream that counts its rows and remembers what it raised, so that a writer can tell that from its own errors.

    Attributes:
        rows: rows handed on so far.
        error: what the stream raised, if it did.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self.rows = 0
        self.error: OSError | None = None
        self._batches = batches

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                self.rows += batch.num_rows
                yield batch
        except OSError as error:
            self.error = error
            raise
