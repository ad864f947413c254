"""A table or a query of a database as customer source.

A database has no versions that could be read again. So planning asks once, and keeps the answer: the batch is the
snapshot, and whoever reads it needs no database.

Belongs here: what is asked, and the source. Does not: the database (`databases.py`), its types (`sql_columns.py`),
keeping snapshots (`query_snapshots.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from churn_pipeline.batches import SQL_SCHEME, Batch, FileBatch
from churn_pipeline.contract.definition import Contract, nearest
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.errors import UsageError
from churn_pipeline.resources.customer_sources.base import CustomerSource, SourceChanged, SourceNotFound
from churn_pipeline.resources.customer_sources.databases import Database, QueryFailed, Session
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline.resources.customer_sources.query_snapshots import QuerySnapshots
from churn_pipeline.resources.customer_sources.sql_columns import stored_column

_NAME = r'(?:"[^"]+"|[^\W\d][\w$]*)'
_TABLE = re.compile(rf"{_NAME}(?:\.{_NAME}){{0,2}}")


class QueryMissing(UsageError):
    """A location names a database and neither a table nor a query."""


class SqlSource(CustomerSource):
    """A table or a query.

    Args:
        location: `sql:customers`, `sql:sales.customers` or `sql:SELECT …`.
        contract: the columns that are asked for; its id orders the rows of a table.
        snapshots: where answers are kept.

    Raises:
        QueryMissing
    """

    def __init__(self, location: str, database: Database, contract: Contract, snapshots: QuerySnapshots) -> None:
        self._location, self._database, self._contract, self._snapshots = location, database, contract, snapshots
        self._asked = location.removeprefix(SQL_SCHEME).strip().rstrip(";").rstrip()
        if not self._asked:
            raise QueryMissing("sql: names no table and no query. Write sql:customers, or sql:SELECT …")
        self._table = self._asked if _TABLE.fullmatch(self._asked) else None
        self._files = FileSource(location, "parquet")

    def __reduce__(self) -> tuple[Any, ...]:
        # Other processes read snapshots. The database's URL is a secret and stays in this one.
        return FileSource, (self._location, "parquet")

    def describe(self) -> str:
        """The location as it was given."""
        return self._location

    def plan(self, limit: int | None = None) -> FileBatch:
        """Ask once, in one transaction, and keep the answer.

        Raises:
            DatabaseUrlWrong, SqlUnavailable
            DatabaseUnreachable, DatabaseRefused, QueryFailed, SourceNotFound
            MissingColumn, AmbiguousColumn: the answer lacks a column of the contract.
            SnapshotNotWritable
        """
        with self._database.session() as session:
            answer = session.query(self._query(session, limit))
            fields = {name: answer.schema.field(name) for name in self._wanted(answer.schema.names)}
            no_rows = pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in answer.schema], schema=answer.schema)
            found = (_batch(batch, fields, self._contract) for batch in _first(answer.batches, limit))
            bound = self._snapshots.keep(_batch(no_rows, fields, self._contract).schema, found)
        return FileBatch(self._location, "parquet", (bound,), limit)

    def look(self) -> list[str]:
        """Names of the columns that the database would answer with; no row is asked for, and nothing kept.

        Raises:
            see `plan`
        """
        with self._database.session() as session:
            return self._names(session)

    def about(self, batch: Batch) -> int:
        """Rows of the snapshot."""
        return self._files.about(self._kept(batch))

    def parts(self, batch: Batch, count: int) -> Sequence[Batch] | None:
        """Row groups of the snapshot; see `FileSource.parts`."""
        return self._files.parts(self._kept(batch), count)

    def columns(self, batch: Batch) -> dict[str, list[str]]:
        """Names of the columns that were asked for: those of the contract."""
        return self._files.columns(self._kept(batch))

    def read(self, batch: Batch, contract: Contract, *, with_label: bool = False) -> Iterator[SourceRows]:
        """Stream the snapshot's rows; see `CustomerSource.read`."""
        return self._files.read(self._kept(batch), contract, with_label=with_label)

    def _kept(self, batch: Batch) -> Batch:
        if isinstance(batch, FileBatch) and not all(Path(bound.path).is_file() for bound in batch.files):
            raise SourceChanged(
                f"The snapshot of batch {batch.id} ({batch.source}) is gone. Snapshots are removed 30 days after they "
                "were planned last. Start a new run, which asks the database again."
            )
        return batch

    def _query(self, session: Session, limit: int | None) -> str:
        if self._table is None:
            return self._asked
        chosen = ", ".join(_quoted(name) for name in self._wanted(self._names(session)))
        first = "" if limit is None else f" LIMIT {limit}"
        return f"SELECT {chosen} FROM {self._table} ORDER BY {_quoted(self._contract.id.column)}{first}"

    def _names(self, session: Session) -> list[str]:
        asked = self._table or f"({self._asked}\n) AS asked"
        try:
            return list(session.query(f"SELECT * FROM {asked} LIMIT 0").schema.names)
        except QueryFailed as error:
            if self._table and error.lacks_table:
                near = nearest(self._table, session.tables())
                raise SourceNotFound(
                    f"The database of CHURN_DATABASE_URL has no table {self._table}{near} that this user sees. Check "
                    "the name; one with capitals or spaces stands in double quotes."
                ) from None
            raise

    def _wanted(self, names: list[str]) -> list[str]:
        """Columns of the contract; the label where there is one, as the same snapshot may be trained on."""
        label = self._contract.label
        has_label = label is not None and label.column in names
        self._contract.check_columns(names, self._location, with_label=has_label)
        return self._contract.columns(with_label=has_label)


def _first(rows: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    left = limit
    for batch in rows:
        yield batch if left is None else batch.slice(0, left)
        if left is not None and (left := left - batch.num_rows) <= 0:
            return


def _batch(batch: pa.RecordBatch, fields: dict[str, pa.Field], contract: Contract) -> pa.RecordBatch:
    columns = [stored_column(batch.column(name), field, contract.type_of(name)) for name, field in fields.items()]
    return pa.RecordBatch.from_arrays(columns, list(fields))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
