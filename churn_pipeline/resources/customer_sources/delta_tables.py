"""A Delta table as customer source: a batch is one version of it.

Rows come as the version's Parquet files hold them, file after file in the order they were written. A position is the
row's number in its file, which stays where it is until a vacuum.

Belongs here: the source. Does not: the log (`delta_versions.py`), reading a file (`parquet_files.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import pyarrow as pa
from deltalake.exceptions import DeltaError

from churn_pipeline.batches import Batch, TableBatch
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources import parquet_files
from churn_pipeline.resources.customer_sources.base import CustomerSource, SourceChanged, SourceUnreadable
from churn_pipeline.resources.customer_sources.delta_versions import (
    DeltaFile,
    DeltaVersion,
    absolute,
    changed,
    newest_batch,
    planned_version,
    storage_of,
)
from churn_pipeline.resources.customer_sources.snapshots import unreadable
from churn_pipeline.resources.customer_sources.typed_columns import WantedColumn, wanted_columns


@dataclass(frozen=True)
class DeltaPart(TableBatch):
    """Some files of a batch, or neighbouring row groups of one.

    Attributes:
        opened: the version with these files only, so that whoever reads them need not open the log.
    """

    opened: DeltaVersion | None = None
    groups: range | None = None


class DeltaSource(CustomerSource):
    """A Delta table.

    Args:
        location: its folder, or a URI that delta-rs reads, such as `s3://bucket/customers`.

    Raises:
        SecretInLocation: the URI holds a password.
    """

    def __init__(self, location: str) -> None:
        self._table = absolute(location)
        self._location = location

    def describe(self) -> str:
        """The location as it was given."""
        return self._location

    def plan(self, limit: int | None = None) -> TableBatch:
        """Fix the newest version.

        Raises:
            SourceNotFound, TableFeatureUnsupported, SourceUnreadable
        """
        return newest_batch(self._table, limit)

    def about(self, batch: Batch) -> int | None:
        """Rows as the log has them; None where a writer did not count."""
        rows = [file.rows for file in _opened(batch).files]
        return None if None in rows else sum(count for count in rows if count is not None)

    def parts(self, batch: Batch, count: int) -> list[DeltaPart] | None:
        """Files, by their row groups where there are few; None for the first rows of a batch."""
        table, found = _of_table(batch), _opened(batch)
        if table.limit is not None:
            return None
        each = max(1, count // max(1, len(found.files)))
        bounds = (table.source, table.table_id, table.version, table.committed_at)
        return [
            DeltaPart(*bounds, file.size, opened=replace(found, files=(file,)), groups=groups)
            for file in found.files
            for groups in (_groups(table, file, each) if each > 1 else [None])
        ]

    def columns(self, batch: Batch) -> dict[str, list[str]]:
        """Names of the columns; all files of a table have them in common."""
        return {batch.source: list(_opened(batch).columns)}

    def read(self, batch: Batch, contract: Contract, *, with_label: bool = False) -> Iterator[SourceRows]:
        """Check the table's columns now, and stream its rows; see `CustomerSource.read`."""
        table, found = _of_table(batch), _opened(batch)
        contract.check_columns(list(found.columns), table.source, with_label=with_label)
        return _stream(table, found, wanted_columns(contract, with_label=with_label))


def _of_table(batch: Batch) -> TableBatch:
    if not isinstance(batch, TableBatch):
        raise SourceChanged(
            f"{batch.source} was a folder of files when batch {batch.id} was planned, and is a Delta table now. "
            "Start a new run on it."
        )
    return batch


def _opened(batch: Batch) -> DeltaVersion:
    table = _of_table(batch)
    part = table.opened if isinstance(table, DeltaPart) else None
    return part or planned_version(table)


def _groups(batch: TableBatch, file: DeltaFile, count: int) -> list[range]:
    with closing(_stored(batch, file)) as stream, parquet_files.opened(f"{batch.source}/{file.path}", (), stream) as it:
        return parquet_files.divided(int(it.num_row_groups), count)


def _stream(batch: TableBatch, found: DeltaVersion, wanted: Sequence[WantedColumn]) -> Iterator[SourceRows]:
    groups = batch.groups if isinstance(batch, DeltaPart) else None
    left = batch.limit
    for file in found.files:
        with closing(_read(batch, file, found, wanted, groups)) as chunks:
            for chunk in chunks:
                rows = chunk if left is None else chunk.first(left)
                yield rows
                left = None if left is None else left - rows.count
                if left == 0:
                    return


def _read(
    batch: TableBatch, file: DeltaFile, found: DeltaVersion, wanted: Sequence[WantedColumn], groups: range | None
) -> Generator[SourceRows, None, None]:
    name = f"{batch.source}/{file.path}"
    try:
        with closing(_stored(batch, file)) as stream, parquet_files.opened(name, wanted, stream) as parquet:
            there = set(parquet.schema_arrow.names)
            # A column that was added later is missing in older files.
            later = {c.name: pa.scalar(None, found.columns[c.name]) for c in wanted if c.name not in there}
            yield from parquet_files.read_rows(parquet, name, wanted, groups, {**later, **file.given})
    except DeltaError:
        raise SourceUnreadable(f"{name} cannot be read: its storage does not answer. Try again.") from None


def _stored(batch: TableBatch, file: DeltaFile) -> pa.NativeFile:
    """A file of a version, if it is what the log says."""
    name = f"{batch.source}/{file.path}"
    files, below = storage_of(batch.source)
    try:
        stream = files.open_input_file(below + file.path)
        if stream.size() == file.size:
            return stream
        stream.close()
    except FileNotFoundError:
        raise changed(batch, "was vacuumed") from None
    except OSError as error:
        raise unreadable(name, error) from None
    raise changed(batch, f"has a file that was replaced ({file.path})")
