"""The ledger, read: which batches are done, and where their rows are.

Belongs here: questions to the table `scored_batches`. Does not: its row (`ledger.py`), writing it (the asset).
"""

from datetime import datetime

import pyarrow as pa

from churn_pipeline.batches import Batch
from churn_pipeline.io_managers.base import TableHandle, TableStore
from churn_pipeline.ledger import ScoredBatch

TABLE = "scored_batches"


class Ledger:
    """Batches that are done."""

    def __init__(self, store: TableStore) -> None:
        self._store = store

    def all(self, since: datetime | None = None) -> list[ScoredBatch]:
        """Every batch that is done, the newest first.

        Args:
            since: leave out those that were scored before.
        """
        handle = self._store.open(TABLE)
        if handle is None:
            return []
        # A row is written after its batch was scored.
        records = pa.Table.from_batches(self._store.stream(handle, None, since), handle.schema).to_pylist()
        rows = [ScoredBatch.from_record(record) for record in records]
        wanted = [row for row in rows if since is None or row.scored_at >= since]
        return sorted(wanted, key=lambda row: row.scored_at, reverse=True)

    def newest(self) -> ScoredBatch | None:
        """The batch that was scored last, or None if none was; one that was scored again is not news."""
        return next((row for row in self.all() if not row.batch.again), None)

    def find(self, batch: Batch) -> list[ScoredBatch]:
        """Ledger rows of a batch: one if it is done, none if not."""
        handle = self._store.open(TABLE, batch)
        return [] if handle is None else [ScoredBatch.from_record(record) for record in handle.to_arrow().to_pylist()]

    def open(self, table: str, row: ScoredBatch) -> TableHandle | None:
        """A batch's rows of another table, as they were when the batch was done."""
        return self._store.open(table, row.batch, row.table_versions.get(table))
