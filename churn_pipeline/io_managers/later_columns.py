"""Columns that a table gains after it was made: a release added them, and its tables go on.

Belongs here: telling them from columns that do not fit, and reading rows that are older than they are. Does not:
giving them to a table (each store does, in its own way).
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from churn_pipeline.io_managers.table_errors import TableSchemaChanged


def require_same_columns(
    present: pa.Schema, incoming: pa.Schema, location: str, later: Collection[str] = frozenset()
) -> list[pa.Field]:
    """Fail before the first row is read if a table has other columns than the rows.

    Args:
        later: columns of the rows that the table may lack.

    Returns:
        What it lacks of these.

    Raises:
        TableSchemaChanged: names the columns that differ.
    """
    old = {field.name: field.type for field in present}
    new = {field.name: field.type for field in incoming}
    lacking = [field for field in incoming if field.name in later and field.name not in old]
    added, missing = sorted(new.keys() - old.keys() - set(later)), sorted(old.keys() - new.keys())
    changed = [f"{name} ({old[name]} → {new[name]})" for name in old if name in new and old[name] != new[name]]
    parts = {"new": added, "missing": missing, "of another type": changed}
    said = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)
    if not said:
        return lacking
    raise TableSchemaChanged(
        f"{location} was made with other columns than these rows have ({said}). "
        "Move the table away, or set CHURN_HOME to a new folder, and score the batches again."
    )


def filled(batch: pa.RecordBatch, wanted: pa.Schema) -> pa.RecordBatch:
    """The columns of `wanted`, in that order and of those types; null where the rows are older than a column."""
    if batch.schema.equals(wanted):
        return batch
    return pa.RecordBatch.from_arrays([_of(batch, field) for field in wanted], schema=wanted)


def _of(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    column = batch.column(field.name)
    return column if column.type == field.type else column.cast(field.type)
