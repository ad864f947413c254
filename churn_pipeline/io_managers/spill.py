"""Rows put aside while a stream is split in two, so that the second half can be written after the first.

Belongs here: a temporary Arrow file that takes record batches and gives them back once. Does not: tables.
"""

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import pyarrow as pa

#: Bytes kept in memory before the rest goes to disk: quarantine is small in most batches.
_IN_MEMORY = 4 << 20


class Spill:
    """Record batches of one schema, in a file that nobody else sees and that is gone when it is closed."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows = 0
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  closed by __exit__
        # Dictionaries may differ from batch to batch, which only the stream format takes.
        self._writer = pa.ipc.new_stream(self._file, schema)

    def add(self, batch: pa.RecordBatch) -> None:
        """Put a batch aside; empty ones are dropped."""
        if batch.num_rows:
            self._writer.write_batch(batch)
            self.rows += batch.num_rows

    def stream(self) -> Iterator[pa.RecordBatch]:
        """Give back what was put aside, in order; nothing can be added any more."""
        self._writer.close()
        self._file.seek(0)
        yield from pa.ipc.open_stream(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
