"""The ledger's row: what is known of a batch once it is done.

Belongs here: the value, its Arrow schema, the two equations. Does not: the table `scored_batches` itself
(`io_managers/scored_batches.py`), words about it for people (`resources/alerts.py`, `cli.py`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Self

import pyarrow as pa

from churn_pipeline.batches import Batch

_JSON = ("cells_cleaned", "table_versions", "stage_seconds", "kernel_proof")


@dataclass(frozen=True)
class ScoredBatch:
    """One row of `scored_batches`; a batch is done when its row is there.

    Attributes:
        batch: source and bounds.
        contract: name of the contract.
        bytes_read: what was read of the source.
        rows_read: rows and broken lines found within the bounds.
        rows_customers: of these, rows that kept the contract.
        rows_rejected: the others. `rows_read = rows_customers + rows_rejected`.
        rows_scored: customers with a prediction.
        rows_unscored: the others. `rows_customers = rows_scored + rows_unscored`.
        rows_duplicate: rows whose id an earlier row of the batch has.
        rows_churn: customers predicted to churn.
        cells_cleaned: column → cells the contract's cleaning changed.
        mean_probability: over scored rows; None if there are none.
        revenue_at_risk: sum of probability times amount, in the contract's unit; None without such a feature.
        backend, kernel_tier: what really scored.
        table_versions: table → version that holds this batch's rows.
        stage_seconds: stage → seconds; `seconds` is the run from its first stage to this row.
        run_id: Dagster's.
        scored_at: when scoring began, UTC.
        kernel_proof: `proof` before and `canary` while running, as `kernel.proof.Comparison` writes them, or None each;
            `why` nothing faster scored; `fallback`, the cause, where something stood in for Spark.
    """

    batch: Batch
    contract: str
    bytes_read: int
    rows_read: int
    rows_customers: int
    rows_rejected: int
    rows_scored: int
    rows_unscored: int
    rows_duplicate: int
    rows_churn: int
    cells_cleaned: dict[str, int]
    mean_probability: float | None
    revenue_at_risk: float | None
    model_name: str
    model_version: str
    threshold: float
    backend: str
    kernel_tier: str
    table_versions: dict[str, int]
    stage_seconds: dict[str, float]
    seconds: float
    run_id: str
    scored_at: datetime
    kernel_proof: dict[str, Any] = field(default_factory=dict)

    @property
    def share_churn(self) -> float | None:
        """Share of scored customers predicted to churn; None if none was scored."""
        return self.rows_churn / self.rows_scored if self.rows_scored else None

    @property
    def scored_by(self) -> str:
        """Backend and tier, such as `sklearn (linear)`, and whether it stood in for Spark."""
        cause = self.kernel_proof.get("fallback")
        return f"{self.backend} ({self.kernel_tier}){f', in place of Spark ({cause})' if cause else ''}"

    @property
    def output_shape(self) -> tuple[int, int]:
        """Rows and columns an analyst gets: scored customers, and id, probability, label."""
        return (self.rows_scored, 3)

    def to_record(self) -> dict[str, Any]:
        """Values of `LEDGER_SCHEMA`, nested ones as JSON text."""
        record = {item.name: getattr(self, item.name) for item in fields(self)}
        record["batch"] = json.dumps(self.batch.to_json())
        for name in _JSON:
            record[name] = json.dumps(record[name], sort_keys=True)
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Self:
        """Read what `to_record` wrote; further columns are ignored."""
        values = {item.name: record[item.name] for item in fields(cls)}
        values["batch"] = Batch.from_json(json.loads(values["batch"]))
        for name in _JSON:
            values[name] = json.loads(values[name])
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Plain values for `--json` and logs."""
        return {**asdict(self), "batch": self.batch.to_json(), "scored_at": self.scored_at.isoformat()}


LEDGER_SCHEMA = pa.schema(
    [
        ("batch", pa.string()),
        ("contract", pa.string()),
        ("bytes_read", pa.int64()),
        ("rows_read", pa.int64()),
        ("rows_customers", pa.int64()),
        ("rows_rejected", pa.int64()),
        ("rows_scored", pa.int64()),
        ("rows_unscored", pa.int64()),
        ("rows_duplicate", pa.int64()),
        ("rows_churn", pa.int64()),
        ("cells_cleaned", pa.string()),
        ("mean_probability", pa.float64()),
        ("revenue_at_risk", pa.float64()),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("threshold", pa.float64()),
        ("backend", pa.string()),
        ("kernel_tier", pa.string()),
        ("table_versions", pa.string()),
        ("stage_seconds", pa.string()),
        ("seconds", pa.float64()),
        ("run_id", pa.string()),
        ("scored_at", pa.timestamp("us", tz="UTC")),
        ("kernel_proof", pa.string()),
    ]
)
