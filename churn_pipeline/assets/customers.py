"""`customers` and `rejected_customers`: a source's rows, split by the contract in one pass.

Belongs here: planning, wrapping for Dagster. Does not: the pass (`reading.py`), judging (`contract/`), sources
(`resources/customer_sources/`), writing (`io_managers/`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import dagster as dg
from pydantic import Field

from churn_pipeline.assets.columns import column_schema
from churn_pipeline.assets.defaults import RunDefaults
from churn_pipeline.assets.reading import Reading
from churn_pipeline.assets.scored_ahead import ScoredAhead
from churn_pipeline.assets.topics import customer_messages
from churn_pipeline.batches import Batch
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.validation import RejectLimit, Tally, customers_schema, rejected_schema
from churn_pipeline.errors import UsageError
from churn_pipeline.io_managers.base import Rows, TableStore
from churn_pipeline.io_managers.spill import Spill
from churn_pipeline.progress import Progress
from churn_pipeline.resources.customer_sources.base import CustomerSource
from churn_pipeline.resources.customer_sources.duplicates import policy_of
from churn_pipeline.resources.inference.choice import Inference
from churn_pipeline.resources.run_processes import BATCH_TAG

OpenSource = Callable[[str], CustomerSource]


class RejectLimitInvalid(UsageError):
    """The limit of rejected rows is neither a count nor a share."""


class CustomersConfig(dg.Config):
    """What to read. Everything has a default from the deployment's settings."""

    source: str | None = Field(
        None, description="File, folder or glob of CSV, Parquet or JSON Lines; a Delta table; kafka:TOPIC; sql:TABLE."
    )
    batch: dict[str, Any] | None = Field(None, description="Bounds fixed by an earlier plan; a retry reads the same.")
    limit: int | None = Field(None, description="Read only this many rows.", gt=0)
    reject_limit: str | None = Field(None, description="Most rejected rows: a count (100) or a share (0.05).")
    duplicates: str | None = Field(None, description="Rows with an id seen before: keep, last or reject.")
    backend: str | None = Field(None, description="What will score: on Spark's workers, they read too where they can.")


def read_limit(text: str | None, default: RejectLimit) -> RejectLimit:
    """Read a limit as people write it.

    Raises:
        RejectLimitInvalid: neither a count nor a share.
    """
    try:
        return default if text is None else RejectLimit.parse(text)
    except ValueError:
        raise RejectLimitInvalid(f"{text!r} is no limit. Write a count such as 100, or a share such as 0.05.") from None


@dg.multi_asset(
    name="read_customers",
    description="Read one batch of the source and split it by the contract.",
    group_name="scoring",
    deps=[customer_messages],
    outs={
        "customers": dg.AssetOut(
            io_manager_key="tables",
            description="Customer records of a batch that keep the contract, cleaned and typed.",
            owners=["team:data-engineering"],
            kinds={"python", "deltalake", "table"},
            code_version="1",
        ),
        "rejected_customers": dg.AssetOut(
            io_manager_key="tables",
            description="Rows that broke the contract, kept with every rule broken and the offending values.",
            owners=["team:data-engineering"],
            kinds={"python", "deltalake", "table"},
            code_version="1",
        ),
    },
)
def customers(
    context: dg.AssetExecutionContext,
    config: CustomersConfig,
    customer_source: dg.ResourceParam[OpenSource],
    contract: dg.ResourceParam[Contract],
    defaults: dg.ResourceParam[RunDefaults],
    inference: dg.ResourceParam[Inference],
    progress: dg.ResourceParam[Progress],
    scored_ahead: dg.ResourceParam[ScoredAhead],
    table_store: dg.ResourceParam[TableStore],
) -> Iterator[dg.MaterializeResult[Rows]]:
    """Read one batch of the source and split it by the contract."""
    _stop_without_a_model(context)
    batch = Batch.from_json(config.batch) if config.batch else None
    source = customer_source(batch.source if batch else config.source or defaults.source)
    batch = batch or source.plan(config.limit)
    context.log.info("Batch %s: %s.", batch.id, batch.describe())
    source.claim(batch)
    context.instance.add_run_tags(context.run.run_id, {BATCH_TAG: batch.id})
    tally = Tally(read_limit(config.reject_limit, defaults.reject_limit))
    reading = Reading(source, batch, contract, tally, policy_of(config.duplicates or defaults.duplicates), progress)
    about = partial(source.about, batch)
    choice = inference.choose(config.backend or defaults.backend, about)
    version = dg.DataVersion(batch.id)
    with Spill(rejected_schema(contract)) as rejected:
        kept = Rows(batch, customers_schema(contract), notes=reading.notes, metadata=reading.metadata)
        left = Rows(batch, rejected.schema)
        if choice.workers and (files := reading.on_workers(choice.workers, table_store)):
            kept, left = replace(kept, files=files.customers), replace(left, files=files.rejected)
        else:
            stream = scored_ahead.beside(reading.here(rejected), batch, about, contract, table_store, progress)
            kept, left = replace(kept, stream=stream), replace(left, stream=rejected.stream())
        yield dg.MaterializeResult(asset_key="customers", value=kept, data_version=version)
        metadata = {
            "dagster/column_schema": column_schema(left.schema, contract),
            "share_rejected": tally.rejected / tally.read if tally.read else 0.0,
            "commonest_reasons": tally.commonest() or "none",
        }
        left = replace(left, metadata=metadata)
        yield dg.MaterializeResult(asset_key="rejected_customers", value=left, data_version=version)


def _stop_without_a_model(context: dg.AssetExecutionContext) -> None:
    """Read nothing in a run whose model was refused; Dagster itself goes on with steps that do not depend on it."""
    stats = context.instance.get_run_step_stats(context.run.run_id, ["churn_model"])
    if any(step.status and step.status.value == "FAILURE" for step in stats):
        raise dg.Failure("No customer was read: churn_model failed in this run.", allow_retries=False)
