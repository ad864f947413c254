"""What people and schedules start: jobs, named by what they do.

Belongs here: selections of assets, the one job that is not about assets, and all of it as one code location. Does
not: the work itself.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from churn_pipeline import checks
from churn_pipeline.assets.customers import customers
from churn_pipeline.assets.exported_predictions import exported_predictions
from churn_pipeline.assets.model import churn_model
from churn_pipeline.assets.predictions import churn_predictions
from churn_pipeline.assets.published import published
from churn_pipeline.assets.scored_batches import current_churn_scores, scored_batches
from churn_pipeline.assets.topics import customer_messages
from churn_pipeline.assets.training import trained_model, training_customers
from churn_pipeline.io_managers.base import TableStore
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.maintenance import maintain
from churn_pipeline.io_managers.run_values import RunValues
from churn_pipeline.resources.customer_sources.query_snapshots import QuerySnapshots

#: Every asset, in the order of flow.
ASSETS: list[dg.AssetsDefinition | dg.AssetSpec] = [
    customer_messages,
    training_customers,
    trained_model,
    churn_model,
    customers,
    churn_predictions,
    scored_batches,
    current_churn_scores,
    exported_predictions,
    published,
]

#: Tables a scoring run writes.
TABLES = (
    "customers",
    "rejected_customers",
    "churn_predictions",
    "unscored_customers",
    "scored_batches",
    "current_churn_scores",
)

#: Assets of a scoring run; training stays out of it.
SCORING = ("churn_model", *TABLES, "exported_predictions", "prediction_messages", "dead_letters")
TRAINING = ("training_customers", "trained_model")

#: How long hand-over values, and snapshots of queries, are of use.
_KEEP_DAYS = 30


score_customers = dg.define_asset_job(
    "score_customers",
    selection=dg.AssetSelection.assets(*SCORING),
    description="Read one batch of customers, score it with the registered model, and write the ledger.",
    # A lost process is worth another try; an error of the run's own is not, as dagster.yaml says.
    tags={"dagster/max_retries": "2"},
)

train_model = dg.define_asset_job(
    "train_model",
    selection=dg.AssetSelection.assets(*TRAINING),
    description="Train and register a model version; the alias moves only if it passes the gate.",
)


@dg.op(description="Compact closed days, vacuum, checkpoint and clean up every table.")
def maintain_every_table(
    context: dg.OpExecutionContext,
    table_store: dg.ResourceParam[TableStore],
    run_values: dg.ResourceParam[RunValues],
    query_snapshots: dg.ResourceParam[QuerySnapshots],
) -> None:
    """Tables whose store needs no upkeep are left alone."""
    swept = run_values.sweep(_KEEP_DAYS)
    context.log.info("Removed the hand-over values of %d old runs.", swept)
    context.log.info("Removed %d old snapshots of queries.", query_snapshots.sweep(_KEEP_DAYS))
    if isinstance(table_store, DeltaTables):
        done = maintain(table_store)
        for table, upkeep in done.tables.items():
            context.log.info("%s: %s", table, upkeep)


@dg.job(description="Compact closed days, vacuum, checkpoint, clean the log and sweep strays.")
def maintain_tables() -> None:
    """Upkeep of the tables."""
    maintain_every_table()


def code_location(resources: Mapping[str, Any], **more: Any) -> dg.Definitions:
    """Every asset, check and job on these resources (role → resource), with what only the UI's location has."""
    return dg.Definitions(
        assets=ASSETS,
        asset_checks=checks.ALL,
        jobs=[score_customers, train_model, maintain_tables],
        resources=resources,
        # Scoring is one process by design: what crosses an edge is small, and a second interpreter is not.
        executor=dg.in_process_executor,
        **more,
    )
