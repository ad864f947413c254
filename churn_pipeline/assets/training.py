"""`training_customers` and `trained_model`: labelled records become a registered version.

Belongs here: fetching, calling `training/`, wrapping for Dagster. Does not: estimators, metrics, the gate
(`training/`), the registry (`resources/`).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pyarrow as pa
from pydantic import Field

from churn_pipeline import pictures
from churn_pipeline.assets.columns import column_schema
from churn_pipeline.assets.customers import OpenSource, read_limit
from churn_pipeline.assets.defaults import RunDefaults
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.validation import Tally, customers_schema, validate
from churn_pipeline.errors import ContractError
from churn_pipeline.io_managers.base import Rows, TableHandle
from churn_pipeline.resources.experiment_tracking import ExperimentTracking
from churn_pipeline.resources.model_registry import ModelRegistry
from churn_pipeline.resources.run_processes import BATCH_TAG
from churn_pipeline.training.estimators import Engine
from churn_pipeline.training.promotion import MARGIN
from churn_pipeline.training.registration import TrainingConfig, TrainingResult, train


class NoLabel(ContractError):
    """The contract names no label, so that nothing can be trained on it."""


class TrainingCustomersConfig(dg.Config):
    """What to train on."""

    source: str | None = Field(None, description="Labelled records: file, folder, glob or Delta table.")
    reject_limit: str | None = Field(None, description="Most rejected rows: a count (100) or a share (0.05).")


class TrainedModelConfig(dg.Config):
    """How to train."""

    estimator: str | None = Field(
        None, description="logistic_regression, gradient_boosting, hist_gradient_boosting or random_forest."
    )
    engine: Engine = Field("sklearn", description="What fits and later scores it: sklearn or spark.")
    seed: int = Field(0, description="Of the estimator and its folds.")
    margin: float = Field(MARGIN, description="How much ROC AUC below the champion's still passes the gate.", ge=0)


@dg.asset(
    group_name="model",
    io_manager_key="tables",
    owners=["team:data-science"],
    kinds={"python", "deltalake", "table"},
    code_version="1",
)
def training_customers(
    context: dg.AssetExecutionContext,
    config: TrainingCustomersConfig,
    customer_source: dg.ResourceParam[OpenSource],
    contract: dg.ResourceParam[Contract],
    defaults: dg.ResourceParam[RunDefaults],
) -> dg.MaterializeResult[Rows]:
    """Labelled customer records that keep the contract; the others are counted and left out."""
    if contract.label is None:
        raise NoLabel(f"Contract {contract.name!r} names no label. Add label with column, positive and negative.")
    source = customer_source(config.source or defaults.training_source)
    batch = source.plan()
    context.instance.add_run_tags(context.run.run_id, {BATCH_TAG: batch.id})
    tally = Tally(read_limit(config.reject_limit, defaults.reject_limit))
    schema, metadata = customers_schema(contract, with_label=True), dict[str, Any]()

    def stream() -> Iterator[pa.RecordBatch]:
        for found in source.read(batch, contract, with_label=True):
            part = validate(found, contract, batch.as_of, with_label=True)
            tally.add(part)
            yield part.customers
        tally.finish()
        metadata.update(
            {
                "dagster/column_schema": column_schema(schema, contract),
                "source": batch.source,
                "rows_read": tally.read,
                "rows_left_out": tally.rejected,
                "commonest_reasons": tally.commonest() or "none",
                "cells_cleaned": sum(tally.cleaned.values()),
            }
        )

    return dg.MaterializeResult(
        value=Rows(batch, schema, stream(), metadata=metadata), data_version=dg.DataVersion(batch.id)
    )


@dg.asset(
    group_name="model",
    owners=["team:data-science"],
    kinds={"mlflow", "scikitlearn"},
    code_version="1",
)
def trained_model(
    context: dg.AssetExecutionContext,
    config: TrainedModelConfig,
    training_customers: TableHandle,
    model_registry: dg.ResourceParam[ModelRegistry],
    experiment_tracking: dg.ResourceParam[ExperimentTracking],
    contract: dg.ResourceParam[Contract],
    defaults: dg.ResourceParam[RunDefaults],
) -> dg.MaterializeResult[Any]:
    """A newly trained and registered version; the alias moves to it only if it is not worse than the champion."""
    result = train(
        training_customers.to_arrow(),
        contract,
        TrainingConfig(
            estimator=config.estimator or defaults.estimator,
            engine=config.engine,
            model_name=defaults.model_name,
            alias=defaults.alias,
            seed=config.seed,
            margin=config.margin,
        ),
        model_registry,
        experiment_tracking,
        run_id=context.run.run_id,
        job_name=context.job_name,
        log=context.log,
        spark=defaults.spark,
    )
    context.log.info("Version %s: %s", result.model_version, result.verdict.reason)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{result.model_name}/{result.model_version}"),
        metadata={
            "model_name": result.model_name,
            "model_version": result.model_version,
            "promoted": result.promoted,
            "verdict": result.verdict.reason,
            "mlflow_run_id": result.run_id,
            "tracking_uri": result.tracking_uri,
            "threshold": result.threshold,
            "train_rows": result.train_rows,
            "holdout_rows": result.holdout_rows,
            "calibration": dg.MetadataValue.md(calibration_picture(result)),
            **result.metrics,
        },
    )


def calibration_picture(result: TrainingResult) -> str:
    """Predicted against observed churn on the holdout, small enough to show without a click."""
    points = [(point["predicted"], point["churned"]) for point in result.calibration]
    alt = f"Calibration over {result.holdout_rows:,} customers"
    svg = pictures.line(points, labels=("predicted", "churned"), title="Calibration", alt=alt)
    return pictures.markdown(svg)
