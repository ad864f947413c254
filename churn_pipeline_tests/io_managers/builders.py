"""Rows and batches for the tests of the tables."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from churn_pipeline.batches import Batch, FileBatch, FileBound
from churn_pipeline.io_managers.base import Rows

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("plan", pa.dictionary(pa.int32(), pa.string())),
        ("amount", pa.float64()),
        ("tenure", pa.int64()),
        ("active", pa.bool_()),
        ("event_at", pa.timestamp("us", tz="UTC")),
        ("rules", pa.list_(pa.string())),
    ]
)


def batch(name: str = "a", day: date = date(2026, 3, 1), content: str = "") -> Batch:
    """A batch of one file; `name` decides its id, `day` its date."""
    modified = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    return FileBatch(f"/data/{name}.csv", "csv", (FileBound(f"/data/{name}.csv", 10, f"{name}{content}", modified),))


def record(number: int, amount: float | None = None) -> dict[str, object]:
    """One row; the third of every three has nothing but its id."""
    if number % 3 == 2:
        return {"id": f"c{number}"}
    return {
        "id": f"c{number}",
        "plan": ["basic", "größer 😀", "", 'a "quoted", text\nwith a line'][number % 4],
        "amount": number / 7 if amount is None else amount,
        "tenure": number - 5,
        "active": number % 2 == 0,
        "event_at": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=number * 1_000_001),
        "rules": ["too_small", "ü"] if number % 4 else [],
    }


def piece(numbers: Iterable[int], amount: float | None = None) -> pa.RecordBatch:
    """A record batch of `record`s."""
    return pa.RecordBatch.from_pylist([record(n, amount) for n in numbers], SCHEMA)


def rows(of: Batch, *pieces: pa.RecordBatch) -> Rows:
    """Rows of a batch, as a stream."""
    return Rows(of, SCHEMA, iter(pieces))


def ids(table: pa.Table) -> list[str]:
    """The `id` column as a list."""
    return table["id"].to_pylist()
