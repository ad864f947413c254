"""Reasons as columns of a record batch: what stands on a prediction row.

Belongs here: the two columns, and how `Reasons` become them. Does not: finding reasons (`reasons.py`), which rows get
them (`resources/inference/`).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.kernel.explanations.explanation import AND, Floats, parts_of
from churn_pipeline.kernel.explanations.reasons import Reasons, explanation_of, reasons
from churn_pipeline.kernel.plan import Plan

REASONS = pa.list_(pa.struct([("column", pa.string()), ("value", pa.string()), ("contribution", pa.float64())]))

#: What raised the answer, and what lowered it; the largest contribution first.
REASON_FIELDS = (pa.field("reasons_up", REASONS), pa.field("reasons_down", REASONS))

#: Digits after the point: nobody acts on more, and numbers that repeat are stored in a quarter of the bytes.
DIGITS = 4


def with_reasons(batch: pa.RecordBatch, plan: Plan, most: int) -> pa.RecordBatch:
    """Add `REASON_FIELDS` to customers.

    A reason is a column, what is in it as text (null if nothing is), and its contribution. A row of which nothing can
    be said has null in both lists. One that nothing raised (lowered) has an empty list; so has one whose contributions
    round to 0.

    Args:
        batch: n customers; the columns of the model's signature and any others.
        most: reasons up, and reasons down, on each row.

    Raises:
        ReasonsUnavailable: for this plan there are none.
    """
    found = reasons(batch, plan, min(most, len(explanation_of(plan).names)))
    columns = [_column(batch, found, found.up, found.up_by), _column(batch, found, found.down, found.down_by)]
    return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=pa.schema([*batch.schema, *REASON_FIELDS]))


def _column(batch: pa.RecordBatch, found: Reasons, places: npt.NDArray[np.int16], amounts: Floats) -> pa.ListArray:
    """(n, k) places in the names and their contributions, as n lists of what is left of them when rounded."""
    rounded = amounts.round(DIGITS)
    kept = rounded != 0
    ends = np.concatenate([[0], kept.sum(axis=1).cumsum()]).astype(np.int32)
    named = places[kept]
    parts = [
        pa.array(found.names, pa.string()).take(pa.array(named)),
        _values(batch, found.names, named, np.nonzero(kept)[0]),
        pa.array(rounded[kept]),
    ]
    said = pa.StructArray.from_arrays(parts, fields=list(REASONS.value_type))
    return pa.ListArray.from_arrays(pa.array(ends), said, type=REASONS, mask=pa.array(~found.known))


def _values(
    batch: pa.RecordBatch, names: tuple[str, ...], named: npt.NDArray[np.int16], rows: npt.NDArray[np.intp]
) -> pa.Array:
    """What is in the named column of each of these rows, as text."""
    by_name = np.argsort(named, kind="stable")
    ends = np.searchsorted(named[by_name], np.arange(len(names) + 1))
    texts = [
        _texts(batch, name, rows[by_name[start:end]])
        for name, (start, end) in zip(names, pairwise(ends), strict=True)
        if end > start
    ]
    back = np.empty(len(named), dtype=np.intp)
    back[by_name] = np.arange(len(named))
    return pa.concat_arrays([*texts, pa.array([], pa.string())]).take(pa.array(back))


def _texts(batch: pa.RecordBatch, name: str, rows: npt.NDArray[np.intp]) -> pa.Array:
    """A column's values in some rows; those of several that are combined, with `&` between them."""
    found = [batch.column(part).take(pa.array(rows)).cast(pa.string()) for part in parts_of(name, batch.schema.names)]
    if not found:
        return pa.nulls(len(rows), pa.string())
    return found[0] if len(found) == 1 else pc.binary_join_element_wise(*found, AND, null_handling="replace")
