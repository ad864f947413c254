"""`churn_predictions` and `unscored_customers`: what the model says of every customer of a batch, in one pass.

Belongs here: mapping the engine over the stream and building prediction rows. Does not: the kernel, choosing a
backend (`resources/inference/`), the ledger (`scored_batches.py`).
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from churn_pipeline import pictures
from churn_pipeline.assets.columns import column_schema, lineage
from churn_pipeline.assets.defaults import RunDefaults
from churn_pipeline.assets.reasons import FirstReasons, told
from churn_pipeline.contract.definition import ARROW_TYPES, Contract
from churn_pipeline.io_managers.base import Rows, TableHandle
from churn_pipeline.io_managers.later_columns import filled
from churn_pipeline.io_managers.spill import Spill
from churn_pipeline.kernel.explanations.reason_columns import REASON_FIELDS
from churn_pipeline.kernel.explanations.reasons import explanation_of
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.proof import Comparison
from churn_pipeline.progress import Progress
from churn_pipeline.read_ahead import read_ahead
from churn_pipeline.resources.inference.choice import Choice, Inference

_WORD = pa.dictionary(pa.int32(), pa.string())
_BARS = 20

#: Columns that tables of an earlier release lack.
LATER = frozenset(field.name for field in REASON_FIELDS)


class PredictionsConfig(dg.Config):
    """How to score."""

    backend: str | None = Field(None, description="sklearn, spark or auto.")
    reasons: int | None = Field(None, ge=0, description="Reasons on each row: this many up, and down; 0 for none.")


def predictions_schema(contract: Contract) -> pa.Schema:
    """Columns of `churn_predictions`: one row a scored customer, without a copy of all inputs."""
    return pa.schema(
        [
            (contract.id.column, pa.string()),
            *((name, ARROW_TYPES[contract.features[name].type]) for name in contract.passthrough),
            ("churn_probability", pa.float64()),
            ("prediction", pa.int32()),
            ("threshold", pa.float64()),
            ("revenue_at_risk", pa.float64()),
            ("model_name", _WORD),
            ("model_version", _WORD),
            ("backend", _WORD),
            ("source_partition", _WORD),
            ("source_position", pa.int64()),
            ("event_at", ARROW_TYPES["timestamp"]),
            ("scored_at", ARROW_TYPES["timestamp"]),
            *REASON_FIELDS,
        ]
    )


def prediction_rows(predictions: TableHandle, contract: Contract) -> Iterator[pa.RecordBatch]:
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
            ("model_name", _WORD),
            ("model_version", _WORD),
            ("source_partition", _WORD),
            ("source_position", pa.int64()),
            ("event_at", ARROW_TYPES["timestamp"]),
            ("scored_at", ARROW_TYPES["timestamp"]),
        ]
    )


@dg.multi_asset(
    name="score_customers_of_batch",
    description="Score one batch of customers.",
    group_name="scoring",
    ins={"customers": dg.AssetIn(), "churn_model": dg.AssetIn()},
    outs={
        "churn_predictions": dg.AssetOut(
            io_manager_key="tables",
            description="Probability of churn, prediction and revenue at risk of every scored customer.",
            owners=["team:retention"],
            kinds={"python", "deltalake", "table"},
            code_version="1",
        ),
        "unscored_customers": dg.AssetOut(
            io_manager_key="tables",
            description="Customers that keep the contract and that the model could not score, with its error.",
            owners=["team:data-science"],
            kinds={"python", "deltalake", "table"},
            code_version="1",
        ),
    },
)
def churn_predictions(
    context: dg.AssetExecutionContext,
    config: PredictionsConfig,
    customers: TableHandle,
    churn_model: ModelVersion,
    inference: dg.ResourceParam[Inference],
    contract: dg.ResourceParam[Contract],
    defaults: dg.ResourceParam[RunDefaults],
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.MaterializeResult[Rows]]:
    """Score one batch of customers."""
    choice = inference.choose(config.backend or defaults.backend)
    most = defaults.reasons if config.reasons is None else config.reasons
    context.log.info("Scoring %d customers with %s. %s", customers.rows, churn_model, choice.reason)
    assert customers.batch is not None
    version = dg.DataVersion(f"{customers.batch.id}/{churn_model.name}/{churn_model.version}")
    with Spill(unscored_schema(contract)) as unscored:
        notes, metadata = dict[str, Any](), dict[str, Any]()
        stream = _score(customers, churn_model, choice, contract, most, unscored, progress, notes, metadata)
        rows = Rows(customers.batch, predictions_schema(contract), stream, notes, metadata, LATER)
        yield dg.MaterializeResult(asset_key="churn_predictions", value=rows, data_version=version)
        metadata = {
            "dagster/column_schema": column_schema(unscored.schema, contract),
            "share_unscored": unscored.rows / customers.rows if customers.rows else 0.0,
        }
        left = Rows(customers.batch, unscored.schema, unscored.stream(), metadata=metadata)
        yield dg.MaterializeResult(asset_key="unscored_customers", value=left, data_version=version)


def _score(
    customers: TableHandle,
    model: ModelVersion,
    choice: Choice,
    contract: Contract,
    most: int,
    unscored: Spill,
    progress: Progress,
    notes: dict[str, Any],
    metadata: dict[str, Any],
) -> Iterator[pa.RecordBatch]:
    """Yield prediction rows and put unscored customers aside; fills `notes` and `metadata` at the end.

    Args:
        most: reasons up, and down, on each row.
    """
    started, scored_at = time.monotonic(), datetime.now(UTC)
    summary = _Summary(most)
    constants = {
        "model_name": model.name,
        "model_version": model.version,
        "backend": choice.engine.backend,
        "threshold": model.threshold,
        "scored_at": scored_at,
        **({} if most else dict.fromkeys(LATER)),
    }
    with closing(read_ahead(customers.stream(_needed(customers, model, contract)), depth=2)) as ahead:
        for batch in choice.engine.score(ahead, model, most):
            failed = batch.column("churn_probability").is_null()
            if pc.any(failed).as_py():
                unscored.add(_select(batch.filter(failed), unscored.schema, constants))
                batch = batch.filter(pc.invert(failed))
            rows = _select(_with_revenue(batch, contract), predictions_schema(contract), constants)
            summary.add(rows)
            progress.advance("score", rows.num_rows)
            yield rows
    plan = choice.engine.plan(model)
    seconds = time.monotonic() - started
    notes.update(
        backend=choice.engine.backend,
        kernel_tier=plan.tier,
        kernel_proof=_proof(plan, choice.engine.canary, most),
        scored_at=scored_at.isoformat(),
        stage_seconds={"score": seconds},
        **summary.notes(),
    )
    metadata.update(_metadata(choice, plan, contract, summary, seconds))


def _metadata(choice: Choice, plan: Plan, contract: Contract, summary: "_Summary", seconds: float) -> dict[str, Any]:
    """What the UI shows of the predictions."""
    canary = choice.engine.canary
    return {
        "dagster/column_schema": column_schema(predictions_schema(contract), contract),
        "dagster/column_lineage": lineage(contract),
        "output_shape": f"{summary.rows:,} × 3 (id, probability, prediction)",
        "model_name": plan.model.name,
        "model_version": plan.model.version,
        "backend": choice.engine.backend,
        "backend_asked": choice.asked,
        "backend_reason": choice.reason,
        "kernel_tier": plan.tier,
        "kernel_plan": str(plan),
        **({"canary_rows": canary.rows, "canary_difference": canary.difference} if canary else {}),
        "rows_per_second": round(summary.rows / seconds, 1) if seconds else 0.0,
        **summary.metadata(plan, contract),
    }


def _proof(plan: Plan, canary: Comparison | None, most: int) -> dict[str, Any]:
    """What the ledger says of how the batch was scored."""
    return {
        "proof": plan.proof.to_json() if plan.proof else None,
        "canary": canary.to_json() if canary else None,
        "why": plan.why,
        **({"reasons": told(explanation_of(plan), most)} if most else {}),
    }


def _needed(customers: TableHandle, model: ModelVersion, contract: Contract) -> list[str]:
    """Columns of `customers` that scoring takes: the model's inputs, and what goes onto the prediction row."""
    needed = {item.name for item in model.inputs} | set(predictions_schema(contract).names)
    if contract.amount_at_risk:
        needed.add(contract.amount_at_risk.feature)
    return [name for name in customers.schema.names if name in needed]


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
        [_constant(constants[f.name], batch.num_rows, f.type) if f.name in constants else batch.column(f.name)
         for f in schema],
        schema=schema,
    )  # fmt: skip


def _constant(value: Any, count: int, kind: pa.DataType) -> pa.Array:
    if value is None:
        return pa.nulls(count, kind)
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value], pa.string()))
    return pa.repeat(pa.scalar(value, kind), count)


class _Summary:
    """Sums over a stream of prediction rows, each with at most `most` reasons up, and down."""

    def __init__(self, most: int) -> None:
        self.most, self.first = most, FirstReasons()
        self.rows = self.churn = 0
        self.probability = self.revenue = 0.0
        self.counts = np.zeros(_BARS, np.int64)

    def add(self, rows: pa.RecordBatch) -> None:
        probability = rows.column("churn_probability").to_numpy(zero_copy_only=False)
        self.rows += rows.num_rows
        self.churn += pc.sum(rows.column("prediction")).as_py() or 0
        self.probability += float(probability.sum())
        self.revenue += pc.sum(rows.column("revenue_at_risk")).as_py() or 0.0
        self.counts += np.histogram(probability, bins=_BARS, range=(0, 1))[0]
        if self.most:
            self.first.add(rows.column("reasons_up"))

    def notes(self) -> dict[str, Any]:
        """What the ledger says of the predictions."""
        mean = self.probability / self.rows if self.rows else None
        return {"rows_churn": self.churn, "mean_probability": mean, "revenue_at_risk": self.revenue}

    def metadata(self, plan: Plan, contract: Contract) -> dict[str, Any]:
        """Stable numeric keys, which the UI plots over batches, and the histogram."""
        if not self.rows:
            return {}
        said: dict[str, Any] = {"mean_probability": self.probability / self.rows, "share_churn": self.churn / self.rows}
        if contract.amount_at_risk:
            said["revenue_at_risk"] = round(self.revenue, 2)
        said["histogram"] = dg.MetadataValue.md(histogram(self.counts, plan.model.threshold))
        return {**said, **self.first.metadata(explanation_of(plan), self.most)} if self.most else said


def histogram(counts: Iterable[int], threshold: float) -> str:
    """Bars of how many customers have which probability, small enough to show without a click."""
    values = [float(n) for n in counts]
    svg = pictures.bars(
        values,
        labels=("0", "1"),
        title="Customers by churn probability",
        alt=f"Histogram of {int(sum(values)):,} churn probabilities",
        mark=(threshold, "threshold"),
    )
    return pictures.markdown(svg)
