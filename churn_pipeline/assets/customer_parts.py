"""A batch read in parts, on the workers of a cluster: what one worker does, and what its caller gets.

A worker opens its part of the source by itself, holds it against the contract as one process would all of it, and
leaves files of both tables that nobody sees yet. See `prediction_parts.py` for what becomes of them.

Belongs here: that function of a part, and ids that come more than once in all parts. Does not: judging (`contract/`),
dividing a source (`resources/customer_sources/`), the workers (`spark/`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from churn_pipeline.batches import Batch
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.validation import RejectLimit, Tally, customers_schema, rejected_schema, validate
from churn_pipeline.fingerprints import Hashes, Seed, fingerprint_pairs, seeds_of_pairs
from churn_pipeline.io_managers.base import Rows, TablePart, TableStore
from churn_pipeline.io_managers.spill import Spill
from churn_pipeline.read_ahead import read_ahead
from churn_pipeline.resources.customer_sources.base import CustomerSource
from churn_pipeline.spark.mapping import Workers


@dataclass(frozen=True)
class JudgedPart:
    """What became of a part.

    Attributes:
        customers, rejected: files of both tables (see `Rows.files`).
        size: bytes of the rows, where the source keeps them as they were.
    """

    customers: Sequence[Any]
    rejected: Sequence[Any]
    tally: Tally
    size: int


@dataclass(frozen=True)
class ReadPart:
    """Reads and judges one part; runs on a worker.

    Attributes:
        batch: the whole.
        limit: past which rejecting more is of no use.
    """

    store: TableStore
    source: CustomerSource
    batch: Batch
    contract: Contract
    limit: RejectLimit

    def __call__(self, part: Batch) -> JudgedPart:
        """Read it, and leave its rows in files."""
        # The share of all rows is nothing that a part can know.
        tally, sizes = Tally(RejectLimit(count=self.limit.count)), list[int]()
        with Spill(rejected_schema(self.contract)) as rejected:
            kept = Rows(self.batch, customers_schema(self.contract), self._customers(part, tally, rejected, sizes))
            customers = self.store.stage("customers", kept)
            others = self.store.stage("rejected_customers", Rows(self.batch, rejected.schema, rejected.stream()))
        return JudgedPart(customers, others, tally, sum(sizes))

    def _customers(self, part: Batch, tally: Tally, rejected: Spill, sizes: list[int]) -> Iterator[pa.RecordBatch]:
        with closing(read_ahead(self.source.read(part, self.contract))) as ahead:
            for found in ahead:
                judged = validate(found, self.contract, self.batch.as_of)
                tally.add(judged)
                rejected.add(judged.rejected)
                sizes.append(found.size)
                yield judged.customers


@dataclass(frozen=True)
class _Ids:
    """Fingerprints of the ids of a part of `customers`; runs on a worker.

    Attributes:
        seeds: the same on every worker, so that an id of two parts is the same.
    """

    column: str
    seeds: tuple[Seed, Seed]

    def __call__(self, part: TablePart) -> Iterator[tuple[Hashes, Hashes]]:
        for batch in part.stream([self.column]):
            yield fingerprint_pairs(batch.column(0).drop_null(), self.seeds)


def repeated_ids(
    workers: Workers, store: TableStore, files: Sequence[Any], rows: int, batch: Batch, contract: Contract
) -> int:
    """How many of so many rows of `customers`, in files that nobody sees yet, have the id of an earlier row."""
    parts = store.staged_parts("customers", Rows(batch, customers_schema(contract), files=files))
    return workers.count_repeated(_Ids(contract.id.column, seeds_of_pairs()), parts, rows)
