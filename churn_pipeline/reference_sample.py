"""Customers made up from the contract, to try models on before any customer is read.

Belongs here: the sample and the ends of what the contract allows. Does not: making rows (`sample.py`), judging them
(`contract/`), what they are used for (`kernel/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.contract.definition import Contract, Feature
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.contract.validation import validate

_ROWS = 2_000
_SEED = 11

#: Of numbers to which the contract sets no upper end.
_WIDE = 1_000_000.0
_UNSEEN = "a value nobody has seen"


def reference_sample(contract: Contract, rows: int = _ROWS, *, whole_range: bool = False) -> pa.RecordBatch:
    """Customers that keep the contract, as the validator hands them on; the same ones each time.

    Args:
        whole_range: spread the numbers of every other customer over all that the contract allows. Such customers try a
            model; what is said of them is not what it would say of anybody's.
    """
    # Not above: the definitions reach this module, and making rows takes pandas, a fifth of their import.
    from churn_pipeline.sample import sample

    table = sample(contract, rows, seed=_SEED)
    table = (_spread(table, contract) if whole_range else table).combine_chunks()
    found = SourceRows(table.to_batches()[0], "made up", pa.array(range(1, rows + 1), pa.int64()))
    return validate(found, contract, datetime(2026, 1, 1, tzinfo=UTC)).customers


def _spread(table: pa.Table, contract: Contract) -> pa.Table:
    rng = np.random.default_rng(_SEED)
    for name, feature in contract.features.items():
        if feature.type in ("integer", "number"):
            low = feature.min or 0.0
            high = feature.max if feature.max is not None else low + _WIDE
            # Small numbers more often than large ones: most ranges allow more than what customers have.
            spread = low + (high - low) * rng.random(table.num_rows) ** 3
            place = table.column_names.index(feature.source or name)
            column = table.column(place)
            spread = np.floor(spread) if pa.types.is_integer(column.type) else np.round(spread, 2).clip(low, high)
            other = pa.array(np.arange(table.num_rows) % 2 == 1)
            kept = pc.if_else(pc.and_(other, column.is_valid()), pa.array(spread).cast(column.type), column)
            table = table.set_column(place, table.schema.field(place), kept)
    return table


def extremes(contract: Contract) -> dict[str, Sequence[Any]]:
    """Feature → values at the ends of what may come, and beyond: every category, an unseen one, a missing one."""
    return {name: [None, *_ends(feature)] for name, feature in contract.features.items()}


def _ends(feature: Feature) -> Sequence[Any]:
    if feature.type == "boolean":
        return (False, True)
    if feature.type in ("category", "text"):
        return (*(feature.allowed or ()), _UNSEEN, "")
    ends = [end for end in (feature.min, feature.max) if end is not None]
    return [int(end) for end in ends] if feature.type == "integer" else ends
