"""Reasons as columns of a record batch: what stands on a prediction row.

Belongs here: the two columns, and how `Reasons` become them. Does not: finding reasons (`reasons.py`), which rows get
them (`resources/inference/`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.explanations.explanation import Floats
from churn_pipeline.kernel.explanations.reasons import Reasons, explanation_of, reasons
from churn_pipeline.kernel.plan import Plan

REASONS = pa.list_(pa.struct([("column", pa.string()), ("contribution", pa.float64())]))

#: What raised the answer, and what lowered it; the largest contribution first.
REASON_FIELDS = (pa.field("reasons_up", REASONS), pa.field("reasons_down", REASONS))

#: Digits after the point: nobody acts on more, and numbers that repeat are stored in a quarter of the bytes.
DIGITS = 4


def with_reasons(batch: pa.RecordBatch, plan: Plan, most: int) -> pa.RecordBatch:
    """Add `REASON_FIELDS` to customers.

    A row of which nothing can be said has null in both. One that nothing raised (lowered) has an empty list; so has one
    whose contributions round to 0.

    Args:
        batch: n customers; the columns of the model's signature and any others.
        most: reasons up, and reasons down, on each row.

    Raises:
        ReasonsUnavailable: for this plan there are none.
    """
    found = reasons(batch, plan, min(most, len(explanation_of(plan).names)))
    columns = [_column(found, found.up, found.up_by), _column(found, found.down, found.down_by)]
    return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=pa.schema([*batch.schema, *REASON_FIELDS]))


def _column(found: Reasons, places: npt.NDArray[np.int16], amounts: Floats) -> pa.ListArray:
    """(n, k) places in the names and their contributions, as n lists of what is left of them when rounded."""
    rounded = amounts.round(DIGITS)
    kept = rounded != 0
    ends = np.concatenate([[0], kept.sum(axis=1).cumsum()]).astype(np.int32)
    names = pa.array(found.names, pa.string()).take(pa.array(places[kept]))
    said = pa.StructArray.from_arrays([names, pa.array(rounded[kept])], fields=list(REASONS.value_type))
    return pa.ListArray.from_arrays(pa.array(ends), said, type=REASONS, mask=pa.array(~found.known))
