"""A small contract with a column of every type, and customers that keep it, written in every format."""

import csv
import io
import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import write_deltalake

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources.base import CustomerSource
from churn_pipeline.resources.customer_sources.databases import Database
from churn_pipeline.resources.customer_sources.delta_tables import DeltaSource
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline.resources.customer_sources.memory import MemorySource
from churn_pipeline.resources.customer_sources.query_snapshots import QuerySnapshots
from churn_pipeline.resources.customer_sources.sql_queries import SqlSource

CONTRACT = Contract.model_validate(
    {
        "name": "shops",
        "description": "Shops that buy from us.",
        "id": {"column": "shop", "description": "Its number."},
        "event_time": {"column": "seen", "description": "When it was like this."},
        "label": {"column": "left", "positive": "yes", "negative": "no", "description": "Whether it left."},
        "features": {
            "spend": {"type": "number", "nullable": True, "description": "Money.", "source": "Spend, monthly"},
            "visits": {"type": "integer", "description": "Visits."},
            "size": {"type": "category", "allowed": ["small", "large"], "description": "Size."},
            "online": {"type": "boolean", "description": "Sells online."},
            "note": {"type": "text", "nullable": True, "description": "Anything."},
        },
    }
)

#: Columns stand in another order than in the contract, and one is not in it at all.
SHOPS: list[dict[str, Any]] = [
    {
        "note": note,
        "shop": f"S{n}",
        "left": "no" if n % 2 else "yes",
        "Spend, monthly": None if n == 2 else n + 0.5,
        "extra": n,
        "visits": n,
        "size": "small" if n < 3 else "large",
        "online": n != 4,
        "seen": f"2024-05-0{n}T10:00:00Z",
    }
    for n, note in enumerate(['two "quoted", words', "plain", None, "zwölf\nlines", ""], start=1)
]

KINDS = ["csv", "parquet", "jsonl", "table", "frame", "delta", "sqlite"]


def written(kind: str, rows: list[dict[str, Any]], folder: Path, name: str = "shops") -> CustomerSource:
    """A source of this kind that holds `rows`."""
    if kind == "table":
        return MemorySource(pa.Table.from_pylist(rows), name, datetime(2024, 6, 1, tzinfo=UTC))
    if kind == "frame":
        return MemorySource(pd.DataFrame(rows), name, datetime(2024, 6, 1, tzinfo=UTC))
    if kind == "delta":
        shutil.rmtree(folder / name, ignore_errors=True)
        write_deltalake(folder / name, pa.Table.from_pylist(rows))
        return DeltaSource(str(folder / name))
    if kind == "sqlite":
        return sqlite_table(folder, rows, name)
    path = folder / f"{name}.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        path.write_bytes(as_csv(rows))
    return FileSource(str(path))


def sqlite_table(folder: Path, rows: list[dict[str, Any]], name: str = "shops", query: str = "") -> SqlSource:
    """A table of a SQLite database, made anew, or a query of it."""
    file = folder / "shops.db"
    columns = ", ".join(f'"{column}"' for column in rows[0])
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(f"drop table if exists {name}")
        connection.execute(f"create table {name} ({columns})")
        values = ", ".join("?" * len(rows[0]))
        connection.executemany(f"insert into {name} values ({values})", [tuple(row.values()) for row in rows])
    snapshots = QuerySnapshots(folder / "snapshots")
    return SqlSource(f"sql:{query or name}", Database(f"sqlite:///{file}"), CONTRACT, snapshots)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """CSV in which a missing value is an empty cell and an empty text is `""`."""
    text = io.StringIO()
    text.write(",".join(_cell(name) for name in rows[0]) + "\n")
    for row in rows:
        text.write(",".join(_cell(value) for value in row.values()) + "\n")
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if value == "":
        return '""'
    if str(value).isalnum():
        return str(value)
    text = io.StringIO()
    csv.writer(text).writerow([value])
    return text.getvalue().removesuffix("\r\n")


def read(source: CustomerSource, contract: Contract = CONTRACT, *, with_label: bool = False) -> list[SourceRows]:
    """Plan and read everything."""
    return list(source.read(source.plan(), contract, with_label=with_label))


def ids(found: list[SourceRows]) -> list[str]:
    """The first column as text."""
    values = [value for part in found for value in part.rows.column(0).to_pylist()]
    return [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values]


def positions(found: list[SourceRows]) -> list[int]:
    return [position for part in found for position in part.positions.to_pylist()]


def broken(found: list[SourceRows]) -> list[tuple[int, str, str]]:
    return [(line.position, line.rule, line.text) for part in found for line in part.broken]
