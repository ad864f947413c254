"""Tables: what a writer must be able to do, and the small value that assets hand each other.

Belongs here: the port (`TableStore`), the handle, the rows on their way in. Does not: a format (one file each
beside this one), Dagster (`dagster_io.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from churn_pipeline.batches import Batch
from churn_pipeline.errors import TableError

if TYPE_CHECKING:
    import pandas as pd

#: `append` adds; `replace_batch` replaces what an earlier attempt at this batch wrote; `replace_all` the table.
WriteMode = Literal["append", "replace_batch", "replace_all"]

#: Rows in a record batch on the way through: large enough for vectorised work, small enough for flat memory.
ROWS_PER_BATCH = 65_536


class ConditionalWriteUnknown(TableError):
    """This kind of table cannot be written on a condition."""


class NotInParts(TableError):
    """This kind of table cannot be written or read in parts."""


@dataclass(frozen=True)
class Rows:
    """Rows to write for one batch: a stream that is read once.

    Attributes:
        batch: whose rows they are; the writer adds `batch_id` and `batch_date`.
        schema: of every record batch, without those two columns.
        stream: record batches. It may raise at any time, also at its end: then nothing is committed.
        notes: plain values for whoever reads these rows, filled while the stream runs.
        metadata: what the UI shows of them, filled while the stream runs.
        files: what `TableStore.stage` gave, in order, where the rows were written already; there is no stream then.
            They may leave columns of `later` out.
        later: columns that a table of an earlier release lacks; it gets them, and its older rows have null.
    """

    batch: Batch
    schema: pa.Schema
    stream: Iterable[pa.RecordBatch] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    later: Collection[str] = frozenset()
    files: Sequence[Any] | None = None


class TablePart(ABC):
    """Some of the rows of a handle; can be sent to another process."""

    @abstractmethod
    def stream(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """These rows in the order they were written, as record batches of at most `ROWS_PER_BATCH`."""


@dataclass(frozen=True)
class TableHandle:
    """Where a batch's rows are: what crosses an edge of the asset graph instead of the rows.

    Attributes:
        table: its name.
        location: path or URI of the table.
        batch: the batch (None: the whole table).
        version: table version that holds exactly these rows; None for writers without versions.
        rows: how many rows.
        schema: with `batch_id` and `batch_date`.
        store: the store that can open it.
        notes: what the producer said of these rows (`Rows.notes`).
    """

    table: str
    location: str
    batch: Batch | None
    version: int | None
    rows: int
    schema: pa.Schema
    store: TableStore = field(repr=False, compare=False)
    notes: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def stream(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in the order they were written, as record batches of at most `ROWS_PER_BATCH`."""
        return self.store.stream(self, columns)

    def to_arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows at once: for small tables."""
        schema = self.schema if columns is None else pa.schema([self.schema.field(c) for c in columns])
        return pa.Table.from_batches(list(self.stream(columns)), schema)

    def to_pandas(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows at once as a data frame: for small tables."""
        return self.to_arrow(columns).to_pandas()


class TableStore(ABC):
    """A folder of tables. Writing is atomic: a reader, and a later attempt, sees a batch whole or not at all."""

    #: What follows a table's name in its location, such as `.csv`; empty where a table is a folder of its own.
    suffix: str = ""

    @abstractmethod
    def location(self, table: str) -> str:
        """Path or URI of a table, whether it exists or not."""

    @abstractmethod
    def write(self, table: str, rows: Rows, mode: WriteMode) -> TableHandle:
        """Write a batch's rows, adding `batch_id` (string) and `batch_date` (date32).

        Raises:
            TableError: the table cannot be written; the old content is intact.
        """

    def replace_if(self, table: str, rows: Rows, fence: str, allowed: Callable[[TableHandle], bool]) -> bool:  # noqa: ARG002
        """Replace a batch's rows if the table, as it is at the moment of writing, allows it; else write nothing.

        Args:
            fence: of two writers with the same fence only one can be looking and writing at a time.
            allowed: asked with the whole table; asked again if someone else was faster.

        Raises:
            TableError: the table cannot be written, or this kind of store cannot promise it.
        """
        raise ConditionalWriteUnknown(
            f"{self.location(table)} cannot be written on a condition: plain files have no transactions. "
            "Keep these rows in Delta tables."
        )

    @abstractmethod
    def open(self, table: str, batch: Batch | None = None, version: int | None = None) -> TableHandle | None:
        """The rows of a batch (None: of the whole table), or None if there is no such table."""

    @abstractmethod
    def stream(
        self, handle: TableHandle, columns: Sequence[str] | None = None, since: datetime | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows a handle stands for; see `TableHandle.stream`.

        Args:
            since: rows that were written before are not asked for; a store that knows when leaves them out.
        """

    def stage(self, table: str, rows: Rows) -> Sequence[Any]:  # noqa: ARG002
        """Write rows where nobody sees them, for `write` in another process to show; what is never shown is swept.

        Returns:
            Values for `Rows.files`, which can be sent to that process.

        Raises:
            NotInParts: this kind of store cannot do that.
            TableError: the storage refuses.
        """
        raise self._not_in_parts(table)

    def parts(self, handle: TableHandle, count: int) -> Sequence[TablePart]:  # noqa: ARG002
        """The rows a handle stands for as about `count` parts, in order, for several processes to read.

        Raises:
            NotInParts: this kind of store cannot do that.
        """
        raise self._not_in_parts(handle.table)

    def staged_parts(self, table: str, rows: Rows) -> Sequence[TablePart]:  # noqa: ARG002
        """The rows that were staged, a part each file, before anybody sees them.

        Raises:
            NotInParts: this kind of store cannot do that.
        """
        raise self._not_in_parts(table)

    def _not_in_parts(self, table: str) -> NotInParts:
        return NotInParts(
            f"{self.location(table)} cannot be written or read in parts. Keep these rows in Delta tables."
        )

    @abstractmethod
    def tables(self) -> list[str]:
        """Names of the tables that exist, sorted."""
