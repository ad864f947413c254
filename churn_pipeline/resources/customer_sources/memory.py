"""Customer records that are in memory already: a data frame or an Arrow table.

Ships for tests, notebooks and `InferenceJob`. Only the process that holds the records can read such a batch; its id
follows from their content alone, like any other's.

Belongs here: tables in memory. Does not: files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from churn_pipeline.batches import Batch, FileBatch, FileBound
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources.base import ROWS_PER_CHUNK, CustomerSource, SourceChanged
from churn_pipeline.resources.customer_sources.typed_columns import (
    FittedColumn,
    WantedColumn,
    from_arrow,
    from_objects,
    rows_of,
    wanted_columns,
)

if TYPE_CHECKING:
    import pandas as pd


class MemorySource(CustomerSource):
    """A data frame or Arrow table as customer source, as it was when this was made: later changes are not seen.

    Args:
        records: n rows; positions count them from 1. In a data frame `None`, NaN, NA and NaT are missing values.
        name: what to call it; stands at the beginning of the batch id.
        as_of: when the records were current; gives the batch its date (default: now).
    """

    def __init__(self, records: pd.DataFrame | pa.Table, name: str = "memory", as_of: datetime | None = None) -> None:
        self._name = name
        self._as_of = (as_of or datetime.now(UTC)).astimezone(UTC)
        self._rows = len(records)
        if isinstance(records, pa.Table):
            self._columns: list[tuple[str, Any]] = list(zip(records.column_names, records.columns, strict=True))
        else:
            self._columns = [(str(name), _column(values)) for name, values in records.items()]
        self._digest = _digest(self._columns)

    def describe(self) -> str:
        """Name and number of rows."""
        return f"{self._name} ({self._rows:,} rows in memory)"

    def plan(self, limit: int | None = None) -> FileBatch:
        """Fix the records as they are."""
        size = sum(getattr(values, "nbytes", 8 * self._rows) for _, values in self._columns)
        bound = FileBound(f"memory://{self._digest[:12]}", size, self._digest, self._as_of)
        return FileBatch(self._name, "memory", (bound,), limit)

    def columns(self, batch: Batch) -> dict[str, list[str]]:
        """Names of the columns.

        Raises:
            SourceChanged: the batch was planned from other records.
        """
        return {self._partition(batch): [name for name, _ in self._columns]}

    def read(self, batch: Batch, contract: Contract, *, with_label: bool = False) -> Iterator[SourceRows]:
        """Stream the rows; see `CustomerSource.read`."""
        partition = self._partition(batch)
        names = [name for name, _ in self._columns]
        contract.check_columns(names, self._name, with_label=with_label)
        wanted = wanted_columns(contract, with_label=with_label)
        assert isinstance(batch, FileBatch)
        count = self._rows if batch.limit is None else min(batch.limit, self._rows)
        for start in range(0, count, ROWS_PER_CHUNK):
            end = min(start + ROWS_PER_CHUNK, count)
            found = {c.name: _fitted(dict(self._columns)[c.name], start, end, c) for c in wanted}
            yield rows_of(found, partition, np.arange(start + 1, end + 1))

    def _partition(self, batch: Batch) -> str:
        assert isinstance(batch, FileBatch)
        if [bound.sha256 for bound in batch.files] != [self._digest]:
            raise SourceChanged(
                f"Batch {batch.id} was planned from other records than {self._name} holds. Plan it again from these."
            )
        return batch.files[0].path


def _column(values: pd.Series[Any]) -> pa.ChunkedArray | list[Any]:
    """A pandas column as Arrow, or as a list where it holds objects, which may be of several kinds."""
    if values.dtype == object:
        return list(values)
    array = pa.array(values, from_pandas=True)
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _fitted(values: pa.ChunkedArray | list[Any], start: int, end: int, wanted: WantedColumn) -> FittedColumn:
    if isinstance(values, list):
        return from_objects(values[start:end], wanted)
    return from_arrow(values.slice(start, end - start).combine_chunks(), wanted.kind)


def _digest(columns: list[tuple[str, Any]]) -> str:
    digest = hashlib.sha256()
    for name, values in columns:
        digest.update(f"{name}\0{len(values)}\0".encode())
        for value in values if isinstance(values, list) else []:
            digest.update(f"{value!r}\0".encode(errors="surrogatepass"))
        if not isinstance(values, list):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, pa.schema([("", values.type)])) as stream:
                stream.write_table(pa.table([values], names=[""]), ROWS_PER_CHUNK)
            digest.update(sink.getvalue())
    return digest.hexdigest()
