"""Rows of `churn_predictions` and `unscored_customers`: what the kernel said of customers, as the tables have it.

Belongs here: the columns of both tables, making their rows, and what a batch's rows come to. Does not: the kernel,
where it runs (`scored_part.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.assets.reasons import FirstReasons
from churn_pipeline.constant_columns import WORD, constant
from churn_pipeline.contract.definition import ARROW_TYPES, Contract
from churn_pipeline.io_managers.base import TableHandle
from churn_pipeline.io_managers.later_columns import filled
from churn_pipeline.io_managers.spill import Spill
from churn_pipeline.kernel.explanations.reason_columns import REASON_FIELDS
from churn_pipeline.kernel.model_version import ModelVersion

_BARS = 20

#: Columns that tables of an earlier release lack.
LATER = frozenset(field.name for field in REASON_FIELDS)


def predictions_schema(contract: Contract, *, with_reasons: bool = True) -> pa.Schema:
    """Columns of `churn_predictions`: one row a scored customer, without a copy of all inputs.

    Files of a batch without reasons leave their columns out, which the table has nonetheless.
    """
    features = {name: contract.features[name] for name in contract.passthrough}
    always = partial(pa.field, nullable=False)
    return pa.schema(
        [
            always(contract.id.column, pa.string()),
            *(pa.field(name, ARROW_TYPES[item.type], nullable=item.nullable) for name, item in features.items()),
            always("churn_probability", pa.float64()),
            always("prediction", pa.int32()),
            always("threshold", pa.float64()),
            pa.field("revenue_at_risk", pa.float64()),
            always("model_name", WORD),
            always("model_version", WORD),
            always("backend", WORD),
            always("source_partition", WORD),
            always("source_position", pa.int64()),
            always("event_at", ARROW_TYPES["timestamp"]),
            always("scored_at", ARROW_TYPES["timestamp"]),
            *(REASON_FIELDS if with_reasons else ()),
        ]
    )


def stream_predictions(predictions: TableHandle, contract: Contract) -> Iterator[pa.RecordBatch]:
    """Rows of `churn_predictions` with every column of its schema: null where the table is older than the column."""
    schema = predictions_schema(contract)
    present = [name for name in schema.names if name not in LATER or name in predictions.schema.names]
    return (filled(batch, schema) for batch in predictions.stream(present))


def unscored_schema(contract: Contract) -> pa.Schema:
    """Columns of `unscored_customers`; the record itself stands in `customers`."""
    return pa.schema(
        [
            (contract.id.column, pa.string()),
            ("error_type", pa.string()),
            ("error", pa.string()),
            ("model_name", WORD),
            ("model_version", WORD),
            ("source_partition", WORD),
            ("source_position", pa.int64()),
            ("event_at", ARROW_TYPES["timestamp"]),
            ("scored_at", ARROW_TYPES["timestamp"]),
        ]
    )


@dataclass
class Summary:
    """Sums over prediction rows; those of parts of a batch add up to those of the batch.

    Attributes:
        most: reasons up, and down, on each row, at most.
    """

    most: int = 0
    rows: int = 0
    churn: int = 0
    probability: float = 0.0
    revenue: float = 0.0
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BARS, np.int64))
    first: FirstReasons = field(default_factory=FirstReasons)

    def add(self, rows: pa.RecordBatch) -> None:
        """Take in more rows."""
        probability = rows.column("churn_probability").to_numpy(zero_copy_only=False)
        self.rows += rows.num_rows
        self.churn += pc.sum(rows.column("prediction")).as_py() or 0
        self.probability += float(probability.sum())
        self.revenue += pc.sum(rows.column("revenue_at_risk")).as_py() or 0.0
        bars = np.minimum((probability * _BARS).astype(np.intp), _BARS - 1)  # numpy's own search takes thrice as long
        self.counts += np.bincount(bars, minlength=_BARS)
        if self.most:
            self.first.add(rows.column("reasons_up"))

    def __add__(self, other: Summary) -> Summary:
        """Of both."""
        return Summary(
            max(self.most, other.most),
            self.rows + other.rows,
            self.churn + other.churn,
            self.probability + other.probability,
            self.revenue + other.revenue,
            self.counts + other.counts,
            self.first + other.first,
        )

    def notes(self) -> dict[str, Any]:
        """What the ledger says of the predictions."""
        mean = self.probability / self.rows if self.rows else None
        return {"rows_churn": self.churn, "mean_probability": mean, "revenue_at_risk": self.revenue}


class PredictionRows:
    """Makes rows of what the kernel scored; without reasons they lack `LATER`.

    Args:
        constants: see `constants_of`.
        most: reasons up, and down, that the kernel gives each row, at most.
        unscored: takes the rows of `unscored_customers`.
    """

    def __init__(self, contract: Contract, constants: dict[str, Any], most: int, unscored: Spill) -> None:
        self.summary = Summary(most)
        self.schema = predictions_schema(contract, with_reasons=most > 0)
        self._contract, self._constants, self._unscored = contract, constants, unscored

    def of(self, scored: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Yield rows of `churn_predictions` and put those of customers that were not scored aside."""
        for batch in scored:
            failed = batch.column("churn_probability").is_null()
            if pc.any(failed).as_py():
                self._unscored.add(_select(batch.filter(failed), self._unscored.schema, self._constants))
                batch = batch.filter(pc.invert(failed))
            rows = _select(_with_revenue(batch, self._contract), self.schema, self._constants)
            self.summary.add(rows)
            yield rows


def constants_of(model: ModelVersion, backend: str, scored_at: datetime) -> dict[str, Any]:
    """Column → value, for those that are the same on every row of a batch."""
    named = {"model_name": model.name, "model_version": model.version, "backend": backend}
    return {**named, "threshold": model.threshold, "scored_at": scored_at}


def needed(customers: pa.Schema, model: ModelVersion, contract: Contract) -> list[str]:
    """Columns of `customers` that scoring takes: the model's inputs, and what goes onto the prediction row."""
    needed = {item.name for item in model.inputs} | set(predictions_schema(contract).names)
    if contract.amount_at_risk:
        needed.add(contract.amount_at_risk.feature)
    return [name for name in customers.names if name in needed]


def _with_revenue(batch: pa.RecordBatch, contract: Contract) -> pa.RecordBatch:
    """Add `revenue_at_risk`, null without an amount."""
    if contract.amount_at_risk is None:
        revenue = pa.nulls(batch.num_rows, pa.float64())
    else:
        amount = batch.column(contract.amount_at_risk.feature).cast(pa.float64())
        revenue = pc.multiply(batch.column("churn_probability"), amount)
    return batch.append_column("revenue_at_risk", revenue)


def _select(batch: pa.RecordBatch, schema: pa.Schema, constants: dict[str, Any]) -> pa.RecordBatch:
    """The schema's columns: from the batch, or one value for all rows."""
    return pa.RecordBatch.from_arrays(
        [constant(constants[f.name], batch.num_rows, f.type) if f.name in constants else batch.column(f.name)
         for f in schema],
        schema=schema,
    )  # fmt: skip
