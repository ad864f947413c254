"""`scored_batches`, the ledger, and `current_churn_scores`, the newest score of every customer.

Belongs here: the ledger row of a finished batch, and what follows it. Does not: predictions, alerts.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pyarrow as pa
from pydantic import Field

from churn_pipeline.assets.columns import column_schema
from churn_pipeline.assets.prediction_rows import LATER, predictions_schema, stream_predictions
from churn_pipeline.contract.definition import Contract
from churn_pipeline.errors import TableError
from churn_pipeline.io_managers.base import Rows, TableHandle
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.ledger import LEDGER_SCHEMA, ScoredBatch


class BatchDoesNotAddUp(TableError):
    """Rows were lost or doubled between two tables; the batch does not count as done."""


@dg.asset(
    group_name="scoring",
    io_manager_key="tables",
    owners=["team:data-engineering"],
    kinds={"deltalake", "table", "report"},
    code_version="1",
)
def scored_batches(
    context: dg.AssetExecutionContext,
    customers: TableHandle,
    rejected_customers: TableHandle,
    churn_predictions: TableHandle,
    unscored_customers: TableHandle,
    churn_model: ModelVersion,
    contract: dg.ResourceParam[Contract],
) -> dg.MaterializeResult[Rows]:
    """The ledger: one row a batch, written last. A batch is done when its row is there."""
    tables = (customers, rejected_customers, churn_predictions, unscored_customers)
    row = ledger_row(*tables, model=churn_model, contract=contract, run_id=context.run.run_id)
    add_up(row)
    schema = LEDGER_SCHEMA
    rows = pa.RecordBatch.from_pylist([row.to_record()], schema=schema)
    numbers = {
        "rows_read": row.rows_read,
        "rows_scored": row.rows_scored,
        "rows_rejected": row.rows_rejected,
        "rows_unscored": row.rows_unscored,
        "rows_duplicate": row.rows_duplicate,
        "seconds": round(row.seconds, 3),
        **({} if row.share_churn is None else {"share_churn": row.share_churn}),
        **({} if row.revenue_at_risk is None else {"revenue_at_risk": round(row.revenue_at_risk, 2)}),
    }
    metadata = {
        "dagster/column_schema": column_schema(schema, contract),
        "output_shape": f"{row.output_shape[0]:,} × {row.output_shape[1]}",
        "model_version": row.model_version,
        "backend": row.backend,
        "kernel_tier": row.kernel_tier,
        **numbers,
    }
    return dg.MaterializeResult(
        value=Rows(row.batch, schema, [rows], metadata=metadata),
        data_version=dg.DataVersion(f"{row.batch.id}/{row.model_name}/{row.model_version}"),
    )


class CurrentScoresConfig(dg.Config):
    """Whether a batch that was scored again counts."""

    update: bool = Field(False, description="Let a batch that was scored again replace current scores.")


@dg.asset(
    group_name="scoring",
    io_manager_key="current_scores",
    output_required=False,
    owners=["team:retention"],
    kinds={"deltalake", "table"},
    code_version="1",
    # Nobody should call customers by scores that are older than a day and a half.
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36)),
)
def current_churn_scores(
    context: dg.AssetExecutionContext,
    config: CurrentScoresConfig,
    scored_batches: TableHandle,
    churn_predictions: TableHandle,
    contract: dg.ResourceParam[Contract],
) -> Iterator[dg.MaterializeResult[Rows]]:
    """The newest score of every customer: what a retention team works from."""
    batch = churn_predictions.batch
    assert batch is not None
    del scored_batches  # only after the ledger row: a batch that is not done is nobody's current score
    if batch.again and not config.update:
        context.log.info("Batch %s was scored again by %s; current scores stay as they are.", batch.id, batch.again)
        return
    schema = predictions_schema(contract)
    metadata = {"dagster/column_schema": column_schema(schema, contract)}
    stream = stream_predictions(churn_predictions, contract)
    yield dg.MaterializeResult(value=Rows(batch, schema, stream, metadata=metadata, later=LATER))


def ledger_row(
    customers: TableHandle,
    rejected: TableHandle,
    predictions: TableHandle,
    unscored: TableHandle,
    *,
    model: ModelVersion,
    contract: Contract,
    run_id: str,
) -> ScoredBatch:
    """The batch's ledger row.

    Counts of rows come from the tables, at the versions they were written. Sums are what the scorer counted; a blocking
    check has held them against the table by now.
    """
    assert customers.batch is not None
    notes, scored = customers.notes, predictions.notes
    started = datetime.fromisoformat(str(notes.get("started_at", scored["scored_at"])))
    tables = (customers, rejected, predictions, unscored)
    return ScoredBatch(
        batch=customers.batch,
        contract=contract.name,
        bytes_read=int(notes["bytes_read"]),
        rows_read=int(notes["rows_read"]),
        rows_customers=customers.rows,
        rows_rejected=rejected.rows,
        rows_scored=predictions.rows,
        rows_unscored=unscored.rows,
        rows_duplicate=int(notes["rows_duplicate"]),
        rows_churn=int(scored["rows_churn"]),
        cells_cleaned=dict(notes["cells_cleaned"]),
        mean_probability=scored["mean_probability"],
        revenue_at_risk=scored["revenue_at_risk"] if contract.amount_at_risk else None,
        model_name=model.name,
        model_version=model.version,
        threshold=model.threshold,
        backend=str(scored["backend"]),
        kernel_tier=str(scored["kernel_tier"]),
        table_versions={t.table: t.version for t in tables if t.version is not None},
        stage_seconds={**notes["stage_seconds"], **scored["stage_seconds"]},
        seconds=(datetime.now(UTC) - started).total_seconds(),
        run_id=run_id,
        scored_at=datetime.fromisoformat(str(scored["scored_at"])),
        kernel_proof=dict(predictions.notes.get("kernel_proof", {})),
    )


def add_up(row: ScoredBatch) -> None:
    """Hold the two equations before the batch is called done.

    Raises:
        BatchDoesNotAddUp: says which equation, with its numbers.
    """
    equations = [
        ("read", row.rows_read, "customers", row.rows_customers, "rejected", row.rows_rejected),
        ("customers", row.rows_customers, "scored", row.rows_scored, "unscored", row.rows_unscored),
    ]
    for whole, n, first, a, second, b in equations:
        if n != a + b:
            raise BatchDoesNotAddUp(
                f"Batch {row.batch.id}: {n:,} {whole} are not {a:,} {first} + {b:,} {second}. The batch does not count "
                "as done. Run it again; if it stays so, another writer changes these tables."
            )
