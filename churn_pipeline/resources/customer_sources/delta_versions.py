"""Versions of a Delta table: what the log says of one, and where its files are.

Belongs here: opening a version, its files, and what keeps them from being read. Does not: rows (`delta_tables.py`).
What delta-rs says of an error is not passed on: a log holds customers' values, as the bounds of a file's columns.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from churn_pipeline.batches import TableBatch
from churn_pipeline.contract.definition import nearest
from churn_pipeline.errors import SourceError
from churn_pipeline.resources.customer_sources.base import (
    SourceChanged,
    SourceNotFound,
    SourceUnreadable,
    without_password,
)
from churn_pipeline.resources.customer_sources.snapshots import unreadable

#: Reader features under which a version's rows still are what its Parquet files hold, in types of their own.
_PLAIN_FEATURES = {"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "variantType", "variantType-preview"}

#: How delta-rs names a feature that it does not know either.
_REFUSED_FEATURE = re.compile(r"Feature '(\w+)' is not supported|features required: \[(\w+)")


class TableFeatureUnsupported(SourceError):
    """A Delta table needs something of its reader that reading its Parquet files alone cannot give."""


@dataclass(frozen=True)
class DeltaFile:
    """One file of a version.

    Attributes:
        path: below the table's folder.
        size: bytes.
        rows: number of rows; None if the writer did not say.
        given: column → its value in every row, of the table's type: partition columns are not in the file.
    """

    path: str
    size: int
    rows: int | None
    given: Mapping[str, pa.Scalar]


@dataclass(frozen=True)
class DeltaVersion:
    """One version of a table.

    Attributes:
        columns: column → its Arrow type.
        files: in the order they were written, which stays what it is.
    """

    columns: Mapping[str, pa.DataType]
    files: tuple[DeltaFile, ...]


def is_delta_table(location: str) -> bool:
    """Whether a Delta table is at a local path; a URI can name nothing else."""
    # Not Path.is_dir: where this user may not look, files say so better.
    return "://" in location or os.path.isdir(Path(location).expanduser() / "_delta_log")  # noqa: PTH112


def absolute(location: str) -> str:
    """The location as a batch keeps it: readable from any working folder.

    Raises:
        SecretInLocation: it holds a password.
    """
    if "://" not in location:
        return os.path.abspath(Path(location).expanduser())  # noqa: PTH100 - a link keeps the name that it was given
    return without_password(location)


def newest_batch(location: str, limit: int | None = None) -> TableBatch:
    """The table as it is now.

    Args:
        location: as `absolute` gives it.
        limit: read only this many rows.

    Raises:
        SourceNotFound: there is no table.
        TableFeatureUnsupported, SourceUnreadable: it cannot be read.
    """
    try:
        with _readable(location):
            table = DeltaTable(location)
            found = _sorted_files(location, table)
            stored = sum(file.size for _, _, file in found)
            # Not every writer says when it committed.
            written = _committed(table) or max((modified for modified, _, _ in found), default=0)
            moment = datetime.fromtimestamp(written / 1000, UTC)
            return TableBatch(location, table.metadata().id, table.version(), moment, stored, limit)
    except TableNotFoundError:
        raise _not_found(location) from None


def planned_version(batch: TableBatch) -> DeltaVersion:
    """The version that a batch was planned on.

    Raises:
        SourceChanged: it is there no more.
        TableFeatureUnsupported, SourceUnreadable: it cannot be read.
    """
    location = batch.source
    try:
        with _readable(location):
            table = DeltaTable(location)
            if table.metadata().id != batch.table_id:
                raise changed(batch, "was deleted and made anew")
            if table.version() < batch.version:
                raise changed(batch, f"has no version after {table.version()}")
    except TableNotFoundError:
        raise changed(batch, "is a Delta table no more") from None
    try:
        if table.version() != batch.version:
            table = DeltaTable(location, version=batch.version)
    except DeltaError:
        raise changed(batch, "has a log that does not go back so far") from None
    with _readable(location):
        files = tuple(file for _, _, file in _sorted_files(location, table))
        return DeltaVersion({field.name: field.type for field in pa.schema(table.schema().to_arrow())}, files)


def changed(batch: TableBatch, how: str) -> SourceChanged:
    """Say that a version is not to be had any longer."""
    return SourceChanged(
        f"{batch.source} {how}: version {batch.version}, on which batch {batch.id} was planned, cannot be read. "
        "Restore the table, or start a new run on what is there. To be able to retry for longer, vacuum later."
    )


def storage_of(location: str) -> tuple[pafs.FileSystem, str]:
    """What reaches a table's files, and what their paths begin with there."""
    if "://" not in location:
        return pafs.LocalFileSystem(), f"{location}/"
    from deltalake.fs import DeltaStorageHandler

    # The storage that delta-rs read the log from: the same credentials, and every kind that it knows.
    return pafs.PyFileSystem(DeltaStorageHandler(location)), ""


@contextmanager
def _readable(location: str) -> Iterator[None]:
    """Put what delta-rs refuses into words; that there is no table is left to the caller."""
    try:
        yield
    except TableNotFoundError:
        raise
    except DeltaError as error:
        if found := _REFUSED_FEATURE.search(str(error)):
            raise _unsupported(location, found[1] or found[2]) from None
        raise _damaged(location) from None
    except OSError as error:
        raise (unreadable(location, error) if error.errno else _damaged(location)) from None


def _committed(table: DeltaTable) -> int | None:
    """Milliseconds since 1970; None if the writer did not say."""
    last: dict[str, Any] = next(iter(table.history(1)), {})
    return last.get("timestamp") if last.get("version") == table.version() else None


def _sorted_files(location: str, table: DeltaTable) -> list[tuple[int, str, DeltaFile]]:
    _require_plain(location, table)
    actions = pa.table(table.get_add_actions()).to_batches()
    return sorted(found for batch in actions for found in _files(location, batch))


def _files(location: str, actions: pa.RecordBatch) -> Iterator[tuple[int, str, DeltaFile]]:
    """Files with what they are sorted by: when, and as what, they were written."""
    values: dict[str, pa.Array] = {}
    if "partition" in actions.schema.names:
        partition = actions.column("partition")
        values = {field.name: partition.field(field.name) for field in partition.type}
    plain = actions.select(["path", "size_bytes", "num_records", "modification_time"]).to_pylist()
    for number, action in enumerate(plain):
        if "://" in action["path"]:
            raise _unsupported(location, "files of another table (a shallow clone)")
        # The log has paths as URIs do.
        path = unquote(action["path"])
        given = {name: cells[number] for name, cells in values.items()}
        file = DeltaFile(path, action["size_bytes"], action["num_records"], given)
        yield action["modification_time"], path, file


def _require_plain(location: str, table: DeltaTable) -> None:
    """See that a row of the version is a row of one of its files, under the column's own name."""
    features = set(table.protocol().reader_features or ())
    # Tables may be allowed what they do not do.
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") == "none":
        features.discard("columnMapping")
    else:
        features.add("columnMapping")
    if "deletionVectors" in features and not _deletes_rows(table):
        features.discard("deletionVectors")
    if strange := sorted(features - _PLAIN_FEATURES):
        raise _unsupported(location, ", ".join(strange))


def _deletes_rows(table: DeltaTable) -> bool:
    try:
        return any(batch.num_rows for batch in pa.RecordBatchReader.from_stream(table.deletion_vectors()))
    except DeltaError:  # there are some that cannot be read, or nobody can say
        return True


def _unsupported(location: str, what: str) -> TableFeatureUnsupported:
    return TableFeatureUnsupported(
        f"{location} cannot be read: the table uses {what}, which its Parquet files alone do not show. Rewrite it "
        "without (deletion vectors go with REORG TABLE … APPLY (PURGE)), or export what it holds to Parquet."
    )


def _damaged(location: str) -> SourceUnreadable:
    return SourceUnreadable(
        f"{location} cannot be read as a Delta table: its log is damaged, or its storage does not answer. See that the "
        "storage can be reached and read with the credentials of this environment, or restore the table."
    )


def _not_found(location: str) -> SourceNotFound:
    if "://" in location:
        return SourceNotFound(f"There is no Delta table at {location}. Check the name, and the kind of storage.")
    path = Path(location)
    beside = [found.name for found in path.parent.iterdir()] if path.parent.is_dir() else []
    return SourceNotFound(f"There is no Delta table in {path}{nearest(path.name, beside)}. Check the name.")
