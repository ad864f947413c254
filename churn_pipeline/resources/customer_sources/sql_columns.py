"""Columns as a database gives them, made columns that a Parquet file keeps and a contract can judge.

Numbers, truth values and texts stay what they are. What Arrow has no type for comes as bytes or in a wrapping, and some
of it would be taken for something else: money for an integer number of cents, the bytes of an address for a text. A
column that no contract type can hold keeps its values to look at, and costs its rows, as in Parquet.

Belongs here: one column at a time. Does not: asking (`databases.py`), what a contract takes (`typed_columns.py`).
"""

from __future__ import annotations

from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

_TYPE = b"POSTGRESQL:type"

#: PostgreSQL's times reach further than Arrow's, whose values wrap around. What is before this is none: in days, and
#: in microseconds since 1970. Among them are the two that stand for no time at all.
_FIRST = {"date": -10_000_000, "timestamp": -300_000_000_000_000_000}
_ENDLESS = {
    -2_147_472_692: "infinity", -2_147_472_691: "-infinity",
    -9_222_425_352_054_775_809: "infinity", -9_222_425_352_054_775_808: "-infinity",
}  # fmt: skip


def stored_column(values: pa.Array, field: pa.Field, kind: str | None) -> pa.Array:
    """A column of a batch, of a type that follows from its field and kind alone.

    Args:
        field: the column's, as the driver has it.
        kind: contract type, as in `Contract.type_of`.

    Returns:
        Numbers of any precision as float64 where a number is wanted, else as text; UUIDs as text; a time as text where
        one is wanted; a struct with the value's text where nothing of that type is ever wanted.
    """
    named = (field.metadata or {}).get(_TYPE, b"").decode()
    if isinstance(values, pa.ExtensionArray):
        return _unwrapped(values, named, kind)
    given = values.type
    if pat.is_date(given) or pat.is_timestamp(given):
        texts = _times(values)
        return texts if kind == "timestamp" else _shown(texts, named or "time")
    if named == "money":
        return _shown(pc.cast(values, pa.string()), named)
    if pat.is_interval(given) or pat.is_duration(given) or pat.is_time(given):
        return _shown(
            pa.array([None if v is None else str(v) for v in values.to_pylist()], pa.string()), named or "time"
        )
    return values


def _unwrapped(values: pa.ExtensionArray, named: str, kind: str | None) -> pa.Array:
    plain = values.storage
    if values.type.extension_name == "arrow.uuid":
        return pa.array([None if v is None else str(UUID(bytes=v)) for v in plain.to_pylist()], pa.string())
    if named == "numeric" and kind in ("number", "integer"):
        return plain.cast(pa.float64())
    if pat.is_string(plain.type):
        return plain
    return _shown(plain, named or "value")


def _times(values: pa.Array) -> pa.Array:
    """Times as text, those of a zone in UTC."""
    kind = "date" if pat.is_date(values.type) else "timestamp"
    if kind == "timestamp":
        # Without its zone, in which every source takes a time for UTC: text that names one is read more slowly.
        values = values.cast(pa.timestamp("us"))
    numbers = values.cast(pa.int32()).cast(pa.int64()) if kind == "date" else values.cast(pa.int64())
    beyond = pc.less(numbers, _FIRST[kind])
    if not pc.any(beyond).as_py():
        return values.cast(pa.string())
    words = [_ENDLESS.get(number, "out of range") for number in numbers.filter(beyond).to_pylist()]
    return pc.replace_with_mask(values.cast(pa.string()), beyond.fill_null(False), pa.array(words, pa.string()))


def _shown(values: pa.Array, named: str) -> pa.Array:
    """Values of a type that no contract type can hold: a struct, which `typed_columns.py` shows as JSON."""
    return pa.StructArray.from_arrays([values], [named], mask=values.is_null())
