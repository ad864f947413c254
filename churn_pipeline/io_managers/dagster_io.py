"""Dagster's side of the tables: what an asset returns is written, what the next one asks for is opened.

Belongs here: the IO managers and the metadata they add. Does not: a format (its own file), what rows mean (assets).

In one run an asset gets what its own run wrote; materialised alone, it gets the newest batch of the ledger. So two
runs at once never read each other's batch.
"""

from dataclasses import replace
from typing import Any

import dagster as dg

from churn_pipeline.batches import Batch
from churn_pipeline.errors import TableError
from churn_pipeline.io_managers.base import Rows, TableHandle, TableStore
from churn_pipeline.io_managers.run_values import RunValues
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.ledger import ScoredBatch


class NothingToRead(TableError):
    """An asset was materialised alone before what it reads was ever made."""


class TableIOManager(dg.IOManager):
    """Writes `Rows` into the table of the asset's name and opens a `TableHandle` on them.

    Args:
        contract: name of the contract, part of the tables' names in the UI.
    """

    def __init__(self, store: TableStore, values: RunValues, contract: str) -> None:
        self._store = store
        self._values = values
        self._contract = contract

    def write(self, context: dg.OutputContext, table: str, rows: Rows) -> TableHandle:
        """Write; overridden where a table is not replaced batch by batch."""
        return self._store.write(table, rows, context.definition_metadata.get("write_mode", "replace_batch"))

    def handle_output(self, context: dg.OutputContext, obj: Rows) -> None:
        """Write an asset's rows and note where they are."""
        table = context.asset_key.path[-1]
        handle = self.write(context, table, obj)
        self._values.save(
            context.run_id,
            table,
            {"version": handle.version, "rows": handle.rows, "batch": obj.batch.to_json(), "notes": obj.notes},
        )
        context.add_output_metadata(
            {
                "dagster/row_count": handle.rows,
                "dagster/table_name": f"{self._contract}.{table}",
                "dagster/uri": handle.location,
                "batch": obj.batch.id,
                **({} if handle.version is None else {"table_version": handle.version}),
                **obj.metadata,
            }
        )

    def load_input(self, context: dg.InputContext) -> TableHandle:
        """Open what this run wrote, or else the newest batch that is done."""
        table = context.asset_key.path[-1]
        upstream = context.upstream_output
        kept = self._values.of_run(upstream.run_id, table) if upstream else None
        if kept is None:
            return self._newest(table)
        batch = Batch.from_json(kept["batch"])
        return _found(self._store.open(table, batch, kept["version"]), table, kept["notes"])

    def _newest(self, table: str) -> TableHandle:
        ledger = Ledger(self._store)
        row = ledger.newest()
        if row is not None:
            return _found(ledger.open(table, row), table, _notes_of(row))
        kept = self._values.latest(table)
        if kept is None:
            raise NothingToRead(
                f"{table} holds nothing yet. Materialise it first, or run the job score_customers, which makes it."
            )
        return _found(self._store.open(table, Batch.from_json(kept["batch"]), kept["version"]), table, kept["notes"])


class ModelVersionIOManager(dg.IOManager):
    """Hands on which model version scores, as plain values; the estimator is loaded by whoever needs it."""

    def __init__(self, values: RunValues) -> None:
        self._values = values

    def handle_output(self, context: dg.OutputContext, obj: ModelVersion) -> None:
        """Note the version this run resolved."""
        self._values.save(context.run_id, context.asset_key.path[-1], obj.to_json())

    def load_input(self, context: dg.InputContext) -> ModelVersion:
        """The version this run resolved, or else the one resolved last."""
        asset, upstream = context.asset_key.path[-1], context.upstream_output
        value = (self._values.of_run(upstream.run_id, asset) if upstream else None) or self._values.latest(asset)
        if value is None:
            raise NothingToRead(f"{asset} was never resolved. Materialise it first, or run the job score_customers.")
        return ModelVersion.from_json(value)


def _found(handle: TableHandle | None, table: str, notes: dict[str, Any]) -> TableHandle:
    if handle is None:
        raise NothingToRead(f"{table} does not exist any more. Run the job score_customers to make it again.")
    return replace(handle, notes=notes)


def _notes_of(row: ScoredBatch) -> dict[str, Any]:
    return {
        "bytes_read": row.bytes_read,
        "rows_read": row.rows_read,
        "rows_duplicate": row.rows_duplicate,
        "cells_cleaned": row.cells_cleaned,
        "stage_seconds": row.stage_seconds,
        "backend": row.backend,
        "kernel_tier": row.kernel_tier,
        "scored_at": row.scored_at.isoformat(),
        "rows_churn": row.rows_churn,
        "mean_probability": row.mean_probability,
        "revenue_at_risk": row.revenue_at_risk,
    }
