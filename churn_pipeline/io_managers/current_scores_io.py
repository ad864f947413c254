"""Dagster's side of `current_churn_scores`: merged, the newest record of a customer wins.

Belongs here: key and order of the merge. Does not: the merge (`current_scores.py`).
"""

import dagster as dg

from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.base import Rows, TableHandle, TableStore
from churn_pipeline.io_managers.current_scores import merge_newest
from churn_pipeline.io_managers.dagster_io import TableIOManager
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.run_values import RunValues

#: A later record wins; of the same record the later scoring; of rows of one file the later row.
ORDER = ("event_at", "scored_at", "source_position")


class CurrentScoresIOManager(TableIOManager):
    """Merges a batch's predictions into the table with one row a customer."""

    def __init__(self, store: TableStore, values: RunValues, contract: Contract) -> None:
        super().__init__(store, values, contract.name)
        self._key = contract.id.column

    def write(self, context: dg.OutputContext, table: str, rows: Rows) -> TableHandle:
        """Merge instead of replacing the batch."""
        del context
        if not isinstance(self._store, DeltaTables):
            return self._store.write(table, rows, "replace_batch")
        return merge_newest(self._store, table, rows, self._key, ORDER)
