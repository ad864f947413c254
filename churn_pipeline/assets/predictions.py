"""`churn_predictions` and `unscored_customers`: what the model says of every customer of a batch, in one pass.

Belongs here: mapping the engine over the stream, or over the workers of a cluster, and what the UI shows of it. Does
not: rows of the tables (`prediction_rows.py`), a part of a batch on a worker (`prediction_parts.py`), the kernel,
choosing a backend (`resources/inference/`), the ledger (`scored_batches.py`).
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
from pydantic import Field

from churn_pipeline import pictures
from churn_pipeline.assets.columns import column_schema, lineage
from churn_pipeline.assets.defaults import RunDefaults
from churn_pipeline.assets.prediction_parts import score_on_workers
from churn_pipeline.assets.prediction_rows import (
    LATER,
    PredictionRows,
    Summary,
    constants_of,
    needed,
    predictions_schema,
    unscored_schema,
)
from churn_pipeline.assets.reasons import told
from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.base import Rows, TableHandle
from churn_pipeline.io_managers.spill import Spill
from churn_pipeline.kernel.explanations.reasons import explanation_of
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.proof import Comparison
from churn_pipeline.progress import Progress
from churn_pipeline.read_ahead import read_ahead
from churn_pipeline.resources.inference.choice import Choice, Inference


class PredictionsConfig(dg.Config):
    """How to score."""

    backend: str | None = Field(None, description="sklearn, spark or auto.")
    reasons: int | None = Field(None, ge=0, description="Reasons on each row: this many up, and down; 0 for none.")


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
    choice = inference.choose(config.backend or defaults.backend, lambda: customers.rows, churn_model)
    most = defaults.reasons if config.reasons is None else config.reasons
    say = context.log.warning if choice.is_warned else context.log.info
    say("Scoring %d customers with %s. %s", customers.rows, churn_model, choice.reason)
    assert customers.batch is not None
    version = dg.DataVersion(f"{customers.batch.id}/{churn_model.name}/{churn_model.version}")
    with Spill(unscored_schema(contract)) as unscored:
        notes, metadata = dict[str, Any](), dict[str, Any]()
        rows = Rows(customers.batch, predictions_schema(contract), (), notes, metadata, LATER)
        left = Rows(customers.batch, unscored.schema)
        scoring = _Scoring(customers, churn_model, choice, contract, most, notes, metadata)
        if choice.workers is None:
            rows = replace(rows, stream=scoring.here(unscored, progress))
            left = replace(left, stream=unscored.stream())
        else:
            predictions, others = scoring.on_workers(progress)
            rows, left = replace(rows, files=predictions), replace(left, files=others)
        yield dg.MaterializeResult(asset_key="churn_predictions", value=rows, data_version=version)
        metadata = {
            "dagster/column_schema": column_schema(left.schema, contract),
            "share_unscored": scoring.unscored / customers.rows if customers.rows else 0.0,
        }
        yield dg.MaterializeResult(
            asset_key="unscored_customers", value=replace(left, metadata=metadata), data_version=version
        )


class _Scoring:
    """Scores a batch, here or on workers; fills `notes` and `metadata` when it is done.

    Args:
        most: reasons up, and down, on each row.
    """

    def __init__(
        self,
        customers: TableHandle,
        model: ModelVersion,
        choice: Choice,
        contract: Contract,
        most: int,
        notes: dict[str, Any],
        metadata: dict[str, Any],
    ) -> None:
        self.unscored, self._most = 0, most
        self._customers, self._model, self._choice, self._contract = customers, model, choice, contract
        self._notes, self._metadata = notes, metadata
        self._started, self._scored_at = time.monotonic(), datetime.now(UTC)
        self._constants = constants_of(model, choice.backend, self._scored_at, most)
        self._columns = needed(customers.schema, model, contract)

    def here(self, unscored: Spill, progress: Progress) -> Iterator[pa.RecordBatch]:
        """Yield prediction rows and put unscored customers aside."""
        made = PredictionRows(self._contract, self._constants, self._most, unscored)
        engine = self._choice.engine
        with closing(read_ahead(self._customers.stream(self._columns), depth=2)) as ahead:
            for rows in made.of(engine.score(ahead, self._model, self._most)):
                progress.advance("score", rows.num_rows)
                yield rows
        self.unscored = unscored.rows
        self._say(made.summary, engine.canary)

    def on_workers(self, progress: Progress) -> tuple[list[Any], list[Any]]:
        """Files of both tables, which workers have written and nobody sees yet."""
        workers, engine = self._choice.workers, self._choice.engine
        assert workers is not None
        parts = score_on_workers(
            workers, engine, self._customers, self._model, self._contract, self._constants, self._most
        )
        self.unscored = sum(part.unscored for part in parts)
        summary = sum((part.summary for part in parts), Summary(self._most))
        progress.advance("score", summary.rows)
        canaries = [part.canary for part in parts if part.canary]
        self._say(summary, sum(canaries[1:], canaries[0]) if canaries else None)
        return [file for part in parts for file in part.predictions], [f for part in parts for f in part.left]

    def _say(self, summary: Summary, canary: Comparison | None) -> None:
        choice, model = self._choice, self._model
        plan = choice.engine.plan(model)
        seconds = time.monotonic() - self._started
        self._notes.update(
            backend=choice.backend,
            kernel_tier=plan.tier,
            kernel_proof=_proof(plan, canary, choice.fallback, self._most),
            scored_at=self._scored_at.isoformat(),
            stage_seconds={"score": seconds},
            **summary.notes(),
        )
        self._metadata.update(
            {
                "dagster/column_schema": column_schema(predictions_schema(self._contract), self._contract),
                "dagster/column_lineage": lineage(self._contract),
                "output_shape": f"{summary.rows:,} × 3 (id, probability, prediction)",
                "model_name": model.name,
                "model_version": model.version,
                "backend": choice.backend,
                "backend_asked": choice.asked,
                "backend_reason": choice.reason,
                **({"fallback": choice.fallback} if choice.fallback else {}),
                "kernel_tier": plan.tier,
                "kernel_plan": str(plan),
                **({"canary_rows": canary.rows, "canary_difference": canary.difference} if canary else {}),
                "rows_per_second": round(summary.rows / seconds, 1) if seconds else 0.0,
                **_measures(summary, plan, self._contract),
            }
        )


def _proof(plan: Plan, canary: Comparison | None, fallback: str, most: int) -> dict[str, Any]:
    """What the ledger says of how the batch was scored."""
    return {
        "proof": plan.proof.to_json() if plan.proof else None,
        "canary": canary.to_json() if canary else None,
        "why": plan.why,
        **({"fallback": fallback} if fallback else {}),
        **({"reasons": told(explanation_of(plan), most)} if most else {}),
    }


def _measures(summary: Summary, plan: Plan, contract: Contract) -> dict[str, Any]:
    """Stable numeric keys, which the UI plots over batches, and the histogram."""
    if not summary.rows:
        return {}
    said: dict[str, Any] = {
        "mean_probability": summary.probability / summary.rows,
        "share_churn": summary.churn / summary.rows,
    }
    if contract.amount_at_risk:
        said["revenue_at_risk"] = round(summary.revenue, 2)
    said["histogram"] = dg.MetadataValue.md(histogram(summary.counts, plan.model.threshold))
    return {**said, **summary.first.metadata(explanation_of(plan), summary.most)} if summary.most else said


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
