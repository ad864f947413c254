"""Arrow columns as formats that know few types can hold them, and back.

Belongs here: which text a value of each type becomes in CSV and JSON Lines. Does not: files.
"""

from __future__ import annotations

import msgspec
import pyarrow as pa
import pyarrow.compute as pc


def plain_type(kind: pa.DataType, *, nested_as_json: bool) -> pa.DataType:
    """What a column becomes: dictionaries their values, dates and times text, lists and structs JSON text if asked."""
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return pa.string()
    return pa.string() if pa.types.is_nested(kind) and nested_as_json else kind


def as_plain(batch: pa.RecordBatch, plain: pa.Schema) -> pa.RecordBatch:
    """The batch in plain types; times in ISO 8601, UTC, with `T` and `Z`."""
    return pa.RecordBatch.from_arrays(
        [_plain(column, field.type) for column, field in zip(batch.columns, plain, strict=True)], schema=plain
    )


def from_plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Read back what `as_plain` made of a batch of `schema`."""
    columns = [_restored(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _plain(column: pa.Array, target: pa.DataType) -> pa.Array:
    if column.type == target:
        return column
    if pa.types.is_timestamp(column.type):
        return pc.replace_substring(column.cast(pa.string()), " ", "T")
    if pa.types.is_nested(column.type):
        return pa.array([None if v is None else msgspec.json.encode(v).decode() for v in column.to_pylist()], target)
    return column.cast(target)


def _restored(column: pa.Array, target: pa.DataType) -> pa.Array:
    if column.type == target:
        return column
    if pa.types.is_dictionary(target):
        return column.dictionary_encode().cast(target)
    if pa.types.is_nested(target):
        return pa.array([None if v is None else msgspec.json.decode(v) for v in column.to_pylist()], target)
    return column.cast(target)
