"""Made-up customers: one known customer with some of the columns changed.

Belongs here: making them as record batches in the signature's types. Does not: what they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from churn_pipeline.kernel.model_version import ModelInput

ARROW_TYPES = {
    "double": pa.float64(), "float": pa.float32(), "long": pa.int64(), "integer": pa.int32(),
    "boolean": pa.bool_(), "string": pa.string(),
}  # fmt: skip


def as_signature(batch: pa.RecordBatch, inputs: Sequence[ModelInput]) -> pa.RecordBatch:
    """The signature's columns of a batch, in its order and types (text plain, not as a dictionary)."""
    arrays = [batch.column(item.name).cast(ARROW_TYPES[item.type]) for item in inputs]
    return pa.RecordBatch.from_arrays(arrays, [item.name for item in inputs])


def changed(base: pa.RecordBatch, values: Mapping[str, Sequence[Any] | pa.Array]) -> pa.RecordBatch:
    """As many copies of a customer as there are values, with these in place of its own.

    Args:
        base: one row.
        values: column → n values in the column's type, None or null for missing.
    """
    rows = len(next(iter(values.values())))
    first = pa.array(np.zeros(rows, dtype=np.int32))
    arrays = [
        pa.array(values[field.name], field.type) if field.name in values else base.column(field.name).take(first)
        for field in base.schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=base.schema)


def stacked(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of all rows."""
    table = pa.Table.from_batches(batches).combine_chunks()
    return table.to_batches()[0] if table.num_rows else batches[0].slice(0, 0)
