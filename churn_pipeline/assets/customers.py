"""`customers` and `rejected_customers`: a source's rows, split by the contract in one pass.

Belongs here: fetching, calling the validator, wrapping for Dagster. Does not: judging (`contract/`), reading
(`resources/customer_sources/`), writing (`io_managers/`).
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa
from pydantic import Field

from churn_pipeline.assets.columns import column_schema
from churn_pipeline.assets.defaults import RunDefaults
from churn_pipeline.assets.topics import customer_messages
from churn_pipeline.batches import Batch
from churn_pipeline.contract.columns import judge, rules_of
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.validation import RejectLimit, Tally, customers_schema, rejected_schema, validate
from churn_pipeline.errors import UsageError
from churn_pipeline.io_managers.base import Rows
from churn_pipeline.io_managers.spill import Spill
from churn_pipeline.progress import Progress
from churn_pipeline.read_ahead import read_ahead
from churn_pipeline.resources.customer_sources.base import CustomerSource
from churn_pipeline.resources.customer_sources.duplicates import IdRegister, Policy, policy_of, superseded_by
from churn_pipeline.resources.run_processes import BATCH_TAG

OpenSource = Callable[[str], CustomerSource]


class RejectLimitInvalid(UsageError):
    """The limit of rejected rows is neither a count nor a share."""


class CustomersConfig(dg.Config):
    """What to read. Everything has a default from the deployment's settings."""

    source: str | None = Field(None, description="File, folder or glob of CSV, Parquet or JSON Lines; or kafka:TOPIC.")
    batch: dict[str, Any] | None = Field(None, description="Bounds fixed by an earlier plan; a retry reads the same.")
    limit: int | None = Field(None, description="Read only this many rows.", gt=0)
    reject_limit: str | None = Field(None, description="Most rejected rows: a count (100) or a share (0.05).")
    duplicates: str | None = Field(None, description="Rows with an id seen before: keep, last or reject.")


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
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.MaterializeResult[Rows]]:
    """Read one batch of the source and split it by the contract."""
    _stop_without_a_model(context)
    batch = Batch.from_json(config.batch) if config.batch else None
    source = customer_source(batch.source if batch else config.source or defaults.source)
    batch = batch or source.plan(config.limit)
    context.log.info("Batch %s: %s.", batch.id, batch.describe())
    source.claim(batch)
    context.instance.add_run_tags(context.run.run_id, {BATCH_TAG: batch.id})
    policy = policy_of(config.duplicates or defaults.duplicates)
    tally = Tally(read_limit(config.reject_limit, defaults.reject_limit))
    version = dg.DataVersion(batch.id)
    with Spill(rejected_schema(contract)) as rejected:
        schema = customers_schema(contract)
        notes, metadata = dict[str, Any](), dict[str, Any]()
        stream = split(source, batch, contract, tally, rejected, policy, progress, notes, metadata)
        yield dg.MaterializeResult(
            asset_key="customers", value=Rows(batch, schema, stream, notes, metadata), data_version=version
        )
        metadata = {
            "dagster/column_schema": column_schema(rejected.schema, contract),
            "share_rejected": tally.rejected / tally.read if tally.read else 0.0,
            "commonest_reasons": tally.commonest() or "none",
        }
        rows = Rows(batch, rejected.schema, rejected.stream(), metadata=metadata)
        yield dg.MaterializeResult(asset_key="rejected_customers", value=rows, data_version=version)


def _stop_without_a_model(context: dg.AssetExecutionContext) -> None:
    """Read nothing in a run whose model was refused; Dagster itself goes on with steps that do not depend on it."""
    stats = context.instance.get_run_step_stats(context.run.run_id, ["churn_model"])
    if any(step.status and step.status.value == "FAILURE" for step in stats):
        raise dg.Failure("No customer was read: churn_model failed in this run.", allow_retries=False)


def split(
    source: CustomerSource,
    batch: Batch,
    contract: Contract,
    tally: Tally,
    rejected: Spill,
    policy: Policy,
    progress: Progress,
    notes: dict[str, Any],
    metadata: dict[str, Any],
) -> Iterator[pa.RecordBatch]:
    """Yield customers and put the rest aside; raises before the end, so that nothing is committed, past a limit."""
    started, started_at = time.monotonic(), datetime.now(UTC).isoformat()
    superseded = None if policy == "keep" else superseded_by(policy, _ids(source, batch, contract))
    repeated = size = 0
    # Parsing, judging and writing are a thread each.
    with closing(IdRegister()) as register, closing(read_ahead(source.read(batch, contract), depth=2)) as ahead:
        for found in ahead:
            mask = superseded(found.rows.num_rows) if superseded else None
            part = validate(found, contract, batch.as_of, superseded=mask)
            tally.add(part)
            rejected.add(part.rejected)
            size += found.size
            if mask is None:
                register.add(part.customers.column(contract.id.column))
            else:
                repeated += int(mask.sum())
            progress.advance("read", found.count)
            yield part.customers
        tally.finish()
        repeated += register.repeated()
    notes.update(
        bytes_read=size if batch.size is None else batch.size,
        rows_read=tally.read,
        rows_duplicate=repeated,
        cells_cleaned=dict(tally.cleaned),
        started_at=started_at,
        stage_seconds={"read": time.monotonic() - started},
    )
    metadata.update(
        {
            "dagster/column_schema": column_schema(customers_schema(contract), contract),
            "source": batch.source,
            "batch_bounds": dg.MetadataValue.json(batch.to_json()),
            "rows_read": tally.read,
            "rows_duplicate": repeated,
            "cells_cleaned": sum(tally.cleaned.values()),
            "bytes_read": notes["bytes_read"],
        }
    )


def _ids(source: CustomerSource, batch: Batch, contract: Contract) -> Iterator[pa.Array]:
    """The ids of every row, as the validator reads them."""
    rule = rules_of(contract)[0]
    for found in source.read(batch, contract):
        yield judge(found.rows.column(rule.source), rule, text_only=found.text_only).values
