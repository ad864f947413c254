"""`churn_predictions` and `unscored_customers`: what the model says of every customer of a batch, in one pass.

Belongs here: whether a batch was scored ahead, or is scored now, here or on workers, and what the UI shows of it. Does
not: rows of the tables (`prediction_rows.py`), scoring a stream (`scored_part.py`), a part of a batch on a worker
(`prediction_parts.py`), the kernel, choosing a backend (`resources/inference/`), the ledger (`scored_batches.py`).
"""

import operator
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from functools import reduce
from typing import Any

import dagster as dg
from pydantic import Field

from churn_pipeline import pictures
from churn_pipeline.assets.columns import column_schema, lineage
from churn_pipeline.assets.defaults import RunDefaults
from churn_pipeline.assets.prediction_parts import score_on_workers
from churn_pipeline.assets.prediction_rows import LATER, Summary, needed, predictions_schema, unscored_schema
from churn_pipeline.assets.reasons import told
from churn_pipeline.assets.scored_ahead import ScoredAhead
from churn_pipeline.assets.scored_part import PredictionFiles, ScoredPart, Scorer
from churn_pipeline.assets.scoring_step import SCORING_STEP
from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.base import Rows, TableHandle
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
    name=SCORING_STEP,
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
    scored_ahead: dg.ResourceParam[ScoredAhead],
) -> Iterator[dg.MaterializeResult[Rows]]:
    """Score one batch of customers."""
    choice = inference.choose(config.backend or defaults.backend, lambda: customers.rows, churn_model)
    most = defaults.reasons if config.reasons is None else config.reasons
    say = context.log.warning if choice.is_warned else context.log.info
    say("Scoring %d customers with %s. %s", customers.rows, churn_model, choice.reason)
    assert customers.batch is not None
    version = dg.DataVersion(f"{customers.batch.id}/{churn_model.name}/{churn_model.version}")
    files = PredictionFiles(customers.store, customers.batch, churn_model, contract, choice.backend, most)
    files, part = _scored(customers, files, choice, scored_ahead, progress)
    rows = Rows(
        customers.batch,
        predictions_schema(contract),
        notes=_notes(files, part, choice),
        metadata=_metadata(files, part, choice),
        later=LATER,
        files=part.predictions,
    )
    yield dg.MaterializeResult(asset_key="churn_predictions", value=rows, data_version=version)
    metadata = {
        "dagster/column_schema": column_schema(unscored_schema(contract), contract),
        "share_unscored": part.unscored / customers.rows if customers.rows else 0.0,
    }
    left = Rows(customers.batch, unscored_schema(contract), metadata=metadata, files=part.left)
    yield dg.MaterializeResult(asset_key="unscored_customers", value=left, data_version=version)


def _scored(
    customers: TableHandle, files: PredictionFiles, choice: Choice, scored_ahead: ScoredAhead, progress: Progress
) -> tuple[PredictionFiles, ScoredPart]:
    """What the model says of a batch, in files that nobody sees yet: scored ahead, on workers, or now."""
    if ahead := scored_ahead.take(files):
        return ahead
    columns = needed(customers.schema, files.model, files.contract)
    if choice.workers is None:
        with closing(read_ahead(customers.stream(columns))) as rows:
            return files, Scorer(files, choice.engine, progress)(rows)
    started = time.monotonic()
    parts = score_on_workers(choice.workers, choice.engine, customers, columns, files)
    # Where every row was rejected there are no parts.
    nothing = ScoredPart([], [], Summary(files.most), 0, None, 0.0)
    part = replace(reduce(operator.add, parts, nothing), seconds=time.monotonic() - started)
    progress.advance("score", part.summary.rows)
    return files, part


def _notes(files: PredictionFiles, part: ScoredPart, choice: Choice) -> dict[str, Any]:
    """What the ledger says of the predictions."""
    plan = choice.engine.plan(files.model)
    return {
        "backend": choice.backend,
        "kernel_tier": plan.tier,
        "kernel_proof": _proof(plan, part.canary, choice.fallback, files.most),
        "scored_at": files.scored_at.isoformat(),
        "stage_seconds": {"score": part.seconds},
        **part.summary.notes(),
    }


def _metadata(files: PredictionFiles, part: ScoredPart, choice: Choice) -> dict[str, Any]:
    """What the UI shows of the predictions."""
    model, plan, summary = files.model, choice.engine.plan(files.model), part.summary
    canary = part.canary
    return {
        "dagster/column_schema": column_schema(predictions_schema(files.contract), files.contract),
        "dagster/column_lineage": lineage(files.contract),
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
        "rows_per_second": round(summary.rows / part.seconds, 1) if part.seconds else 0.0,
        **_measures(summary, plan, files.contract),
    }


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
