"""One pass over the rows of a batch: those that keep the contract on one side, the rest on the other.

Belongs here: the pass, in this process or on workers, and what is known at its end. Does not: what a worker does
(`customer_parts.py`), judging (`contract/`), sources (`resources/customer_sources/`), writing (`io_managers/`).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from churn_pipeline.assets.columns import column_schema
from churn_pipeline.assets.customer_parts import ReadPart, repeated_ids
from churn_pipeline.batches import Batch
from churn_pipeline.contract.columns import judge, rules_of
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.validation import Tally, customers_schema, validate
from churn_pipeline.io_managers.base import TableStore
from churn_pipeline.io_managers.spill import Spill
from churn_pipeline.progress import Progress
from churn_pipeline.read_ahead import read_ahead
from churn_pipeline.resources.customer_sources.base import CustomerSource
from churn_pipeline.resources.customer_sources.duplicates import IdRegister, Policy, superseded_by
from churn_pipeline.spark.mapping import Workers

#: Bytes of a source that one worker reads at once, at most.
_BYTES_PER_PART = 64 * 1024 * 1024


@dataclass(frozen=True)
class ReadFiles:
    """What workers have written of a batch and nobody sees yet; see `Rows.files`."""

    customers: list[Any]
    rejected: list[Any]


class Reading:
    """Reads a batch once; `notes` and `metadata` are filled at the end.

    Args:
        tally: counts, and holds the limit.
        policy: what becomes of rows with an id seen before.
    """

    def __init__(
        self, source: CustomerSource, batch: Batch, contract: Contract, tally: Tally, policy: Policy, progress: Progress
    ) -> None:
        self.notes, self.metadata = dict[str, Any](), dict[str, Any]()
        self._source, self._batch, self._contract = source, batch, contract
        self._tally, self._policy, self._progress = tally, policy, progress
        self._started, self._started_at = time.monotonic(), datetime.now(UTC).isoformat()

    def here(self, rejected: Spill) -> Generator[pa.RecordBatch]:
        """Yield customers and put the rest aside; raises before the end, so that nothing is committed, past a limit."""
        batch, contract = self._batch, self._contract
        superseded = None if self._policy == "keep" else superseded_by(self._policy, self._ids())
        repeated = size = 0
        # Parsing, judging and writing are a thread each.
        with (
            closing(IdRegister(places=False)) as register,
            closing(read_ahead(self._source.read(batch, contract))) as ahead,
        ):
            for found in ahead:
                mask = superseded(found.rows.num_rows) if superseded else None
                part = validate(found, contract, batch.as_of, superseded=mask)
                self._tally.add(part)
                rejected.add(part.rejected)
                size += found.size
                if mask is None:
                    register.add(part.customers.column(contract.id.column))
                else:
                    repeated += int(mask.sum())
                self._progress.advance("read", found.count)
                yield part.customers
            self._tally.finish()
            repeated += register.repeated()
        self._say(size, repeated, None)

    def on_workers(self, workers: Workers, store: TableStore) -> ReadFiles | None:
        """Let workers read, each a part; None where one process must: it sees all ids, or the source is its own.

        Raises:
            TooManyRejected
            SparkJobFailed, WorkersDiffer
        """
        count = max(2 * workers.count, (self._batch.size or 0) // _BYTES_PER_PART)
        parts = self._source.parts(self._batch, count) if self._policy == "keep" else None
        if parts is None:
            return None
        work = ReadPart(store, self._source, self._batch, self._contract, self._tally.limit)
        found = workers.map(work, parts)
        for part in found:
            self._tally.include(part.tally)
        self._tally.finish()
        self._progress.advance("read", self._tally.read)
        files = ReadFiles(
            [file for part in found for file in part.customers], [file for part in found for file in part.rejected]
        )
        repeated = repeated_ids(workers, store, files.customers, self._tally.read, self._batch, self._contract)
        self._say(sum(part.size for part in found), repeated, workers)
        return files

    def _say(self, size: int, repeated: int, workers: Workers | None) -> None:
        batch, tally = self._batch, self._tally
        self.notes.update(
            bytes_read=size if batch.size is None else batch.size,
            rows_read=tally.read,
            rows_duplicate=repeated,
            cells_cleaned=dict(tally.cleaned),
            started_at=self._started_at,
            stage_seconds={"read": time.monotonic() - self._started},
        )
        self.metadata.update(
            {
                "dagster/column_schema": column_schema(customers_schema(self._contract), self._contract),
                "source": batch.source,
                "batch_bounds": dg.MetadataValue.json(batch.to_json()),
                "rows_read": tally.read,
                "rows_duplicate": repeated,
                "cells_cleaned": sum(tally.cleaned.values()),
                "bytes_read": self.notes["bytes_read"],
                "read_by": "this process" if workers is None else f"workers of {workers.where}",
            }
        )

    def _ids(self) -> Iterator[pa.Array]:
        """The ids of every row, as the validator reads them."""
        rule = rules_of(self._contract)[0]
        for found in self._source.read(self._batch, self._contract):
            yield judge(found.rows.column(rule.source), rule, text_only=found.text_only).values
