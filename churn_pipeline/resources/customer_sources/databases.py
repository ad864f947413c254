"""A database, asked through ADBC: Arrow comes as a stream, without a row made in Python.

Belongs here: connecting, one query in a transaction that only reads, and what went wrong in words. Does not: what is
asked (`sql_queries.py`), what becomes of the database's types (`sql_columns.py`).

No text of a driver is passed on as it is: where connecting fails it may hold the URL, and with it the password; where
reading rows fails it may hold a customer's values. A database's words about the statement itself are passed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pyarrow as pa

from churn_pipeline.errors import SourceError, UsageError

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor, Error

_READ_ONLY = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_CONNECT_SECONDS = 10

#: Classes of SQLSTATE whose message is about the statement, the session or the server, and holds no value of a row.
_NO_VALUES = ("0A", "25", "3D", "3F", "42", "53", "54", "55", "57", "58")

#: What SQLite says about a statement; it has no SQLSTATE.
_OF_SQLITE = re.compile(
    r"no such (?:table|column|function): [^\n]+|near \"[^\n]+\": syntax error|incomplete input"
    r"|attempt to write a readonly database"
)
_MIXED = re.compile(r"Type mismatch in column (\d+)")

_LOST = re.compile(r"closed the connection|terminating connection|connection to server|could not receive data|SSL SYS")
_REFUSED = re.compile(r"authentication failed|no password supplied|no pg_hba\.conf entry|role .* does not exist")
_NO_DATABASE = re.compile(r"database .* does not exist")


class DatabaseUrlWrong(UsageError):
    """CHURN_DATABASE_URL is missing, or is not the URL of a database that can be read."""


class SqlUnavailable(UsageError):
    """Customers are in a database, and the packages that read it are not installed."""


class DatabaseUnreachable(SourceError):
    """The database does not answer, or was lost while it did."""


class DatabaseRefused(SourceError):
    """The database answered and does not let this user read."""


class QueryFailed(SourceError):
    """The database cannot answer the query.

    Attributes:
        lacks_table: because there is no such table.
    """

    lacks_table = False


@dataclass(frozen=True)
class _Driver:
    """How a database is reached.

    Attributes:
        where: its name for messages.
        begin: what makes a transaction that only reads, unless the connection is one.
        options: of every statement.
    """

    connect: Callable[[], Connection]
    where: str
    begin: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


class Database:
    """The database of a URL.

    Args:
        url: `postgresql://…` or `sqlite:///PATH`; a secret. Looked at only when the database is asked.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection, in one transaction that reads and sees one state of the database.

        Raises:
            DatabaseUrlWrong, SqlUnavailable
            DatabaseUnreachable, DatabaseRefused
        """
        driver = self._driver()
        from adbc_driver_manager import dbapi

        try:
            connection = driver.connect()
        except dbapi.Error as error:
            raise _not_connected(str(error), driver.where) from None
        with closing(connection), closing(connection.cursor(adbc_stmt_kwargs=driver.options)) as cursor:
            session = Session(connection, cursor, driver.where)
            session.begin(driver.begin)
            yield session

    def _driver(self) -> _Driver:
        if not self._url:
            raise DatabaseUrlWrong(
                "The source is a table or query, and CHURN_DATABASE_URL does not say of which database. Set it to "
                "postgresql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///PATH."
            )
        if find_spec("adbc_driver_manager") is None:
            raise SqlUnavailable(
                "Customers are in a database (CHURN_DATABASE_URL), and its drivers are not installed. Install them: "
                "pip install churn-pipeline[sql]"
            )
        if self._url.startswith("sqlite:"):
            return _sqlite(self._url)
        if self._url.startswith(("postgresql://", "postgres://")):
            return _postgresql(self._url)
        raise DatabaseUrlWrong(
            "CHURN_DATABASE_URL begins with neither postgresql:// nor sqlite:///. Other databases are not read."
        )


@dataclass(frozen=True)
class Answer:
    """What a query gives, as a stream."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


class Session:
    """A connection, for as long as it is open."""

    def __init__(self, connection: Connection, cursor: Cursor, where: str) -> None:
        self._connection, self._cursor, self._where = connection, cursor, where

    def begin(self, statement: str) -> None:
        """Say first what the transaction may do.

        Raises:
            see `query`
        """
        if statement:
            with self._explained():
                self._cursor.execute(statement)

    def query(self, text: str) -> Answer:
        """Ask; the answer before it is forgotten.

        Raises:
            QueryFailed, DatabaseRefused, DatabaseUnreachable: here, or while rows come.
        """
        with self._explained():
            # The drivers put the query in brackets: a comment at its end must not swallow the last of them.
            self._cursor.execute(f"{text}\n")
            rows = self._cursor.fetch_record_batch()
        return Answer(rows.schema, self._batches(rows))

    def _batches(self, rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        with self._explained():
            yield from rows

    def tables(self) -> list[str]:
        """Tables and views that this user sees, with and without their schema; none where nobody says."""
        from adbc_driver_manager import dbapi

        try:
            self._connection.rollback()
            catalogs = self._connection.adbc_get_objects(depth="tables").read_all().to_pylist()
        except (dbapi.Error, OSError, pa.ArrowException):
            return []
        schemas = [schema for catalog in catalogs for schema in catalog["catalog_db_schemas"] or ()]
        named = [(s["db_schema_name"], t["table_name"]) for s in schemas for t in s["db_schema_tables"] or ()]
        return [name for _, name in named] + [f"{schema}.{name}" for schema, name in named if schema]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from adbc_driver_manager import dbapi

        try:
            yield
        except dbapi.Error as error:
            raise self._failed(error) from None
        except (OSError, pa.ArrowException) as error:
            # While rows come there is no more than a text.
            raise self._stopped(str(error)) from None

    def _failed(self, error: Error) -> SourceError:
        state, text = error.sqlstate or "", str(error)
        if state.startswith(("08", "57P")) or (not state and _LOST.search(text)):
            return _lost(self._where)
        said = _primary(error) if state.startswith(_NO_VALUES) else ""
        if found := _OF_SQLITE.search(text.partition("\nquery:")[0]) if not state else None:
            said = found[0]
        if state.startswith("28") or state == "42501":
            return DatabaseRefused(
                f"{self._where} does not let this user read: {said or 'access denied'}. Grant SELECT to the user of "
                "CHURN_DATABASE_URL, or name another."
            )
        failed = QueryFailed(
            f"{self._where} cannot answer the query{f' (SQLSTATE {state})' if state else ''}: "
            f"{said or 'what it says may quote a row, and is not repeated'}. Try it in the database's own client."
        )
        failed.lacks_table = state == "42P01" or said.startswith("no such table")
        return failed

    def _stopped(self, text: str) -> SourceError:
        if _LOST.search(text):
            return _lost(self._where)
        if mixed := _MIXED.search(text):
            return QueryFailed(
                f"{self._where}: column number {int(mixed[1]) + 1} of the query has values of several types. Let the "
                "query give it one: CAST(column AS TEXT), or AS REAL."
            )
        return QueryFailed(
            f"{self._where} began to answer the query and failed at one of its rows. What it says may quote the row, "
            "and is not repeated. Run the query in the database's own client to see it."
        )


def _sqlite(url: str) -> _Driver:
    path = url.removeprefix("sqlite:///")
    if path == url or not path:
        raise DatabaseUrlWrong(
            "CHURN_DATABASE_URL names no file. Write sqlite:///PATH, with four slashes from the root."
        )
    from adbc_driver_sqlite import dbapi

    # The driver takes the types of columns from its first batch: SQLite itself has none.
    options = {"adbc.sqlite.query.batch_rows": "65536"}
    return _Driver(lambda: dbapi.connect(f"file:{quote(path)}?mode=ro"), f"The SQLite database {path}", options=options)


def _postgresql(url: str) -> _Driver:
    from adbc_driver_postgresql import dbapi

    unclear = DatabaseUrlWrong(
        "CHURN_DATABASE_URL cannot be taken apart. Write letters such as / ? # @ : [ in its password as %2F %3F %23 "
        "%40 %3A %5B."
    )
    try:
        parts = urlsplit(url)
    except ValueError:
        raise unclear from None
    # Where there is another @ the password ends somewhere else than it looks, and no part of it may be shown.
    if "@" in parts.path + parts.query + parts.fragment:
        raise unclear
    more = {"connect_timeout": str(_CONNECT_SECONDS), "application_name": "churn_pipeline"}
    added = "&".join(f"{name}={value}" for name, value in more.items() if f"{name}=" not in parts.query)
    full = f"{url}{'&' if parts.query else '?'}{added}"
    where = f"The PostgreSQL database {parts.netloc.rpartition('@')[2]}{parts.path}"
    return _Driver(lambda: dbapi.connect(full), where, _READ_ONLY)


def _not_connected(text: str, where: str) -> SourceError:
    if _REFUSED.search(text):
        return DatabaseRefused(f"{where} does not accept the user and password of CHURN_DATABASE_URL. Correct them.")
    if _NO_DATABASE.search(text):
        return DatabaseRefused(f"{where} is not there, though its server is. Correct the name in CHURN_DATABASE_URL.")
    return DatabaseUnreachable(
        f"{where} does not answer. See that it is there and can be reached, and that CHURN_DATABASE_URL is right."
    )


def _lost(where: str) -> DatabaseUnreachable:
    return DatabaseUnreachable(f"{where} was lost while it was asked. Nothing was kept of the answer. Run again.")


def _primary(error: Error) -> str:
    details: list[tuple[Any, Any]] = list(error.details or ())
    found = [value for name, value in details if name in ("PG_DIAG_MESSAGE_PRIMARY", b"PG_DIAG_MESSAGE_PRIMARY")]
    return found[0].decode(errors="replace") if found else ""
