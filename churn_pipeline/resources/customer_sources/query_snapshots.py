"""Snapshots: what a query answered, kept in a file, so that a batch has bounds and every retry reads the same rows.

A snapshot is a folder named by the digest of its one Parquet file. The same rows in the same order are the same file,
which is kept once; nothing is ever written to it again. Only this user may look into it.

Belongs here: writing, finding and sweeping them. Does not: what is asked (`sql_queries.py`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from churn_pipeline.batches import FileBound
from churn_pipeline.errors import SourceError
from churn_pipeline.resources.customer_sources.snapshots import bound_of
from churn_pipeline.row_groups import row_groups

#: Rows of a row group, whatever the batches in which a database answers: the file must not depend on them.
_ROWS_PER_GROUP = 131_072

_FILE = "rows.parquet"
_STRAY_SECONDS = 24 * 3600


class SnapshotNotWritable(SourceError):
    """What a query answered cannot be kept."""


class QuerySnapshots:
    """Snapshots below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> FileBound:
        """Write rows to a snapshot, or find the one that has them.

        Raises:
            SnapshotNotWritable: the storage refuses. What `batches` raises is passed on as it is.
        """
        half = self._folder / f".{uuid.uuid4().hex}.tmp"
        try:
            with self._storage():
                half.mkdir(parents=True)
                half.chmod(0o700)
                _write(half / _FILE, schema, batches)
                return self._placed(half)
        finally:
            shutil.rmtree(half, ignore_errors=True)

    def sweep(self, older_than_days: float) -> int:
        """Remove the snapshots that no plan needed for so long, and what killed processes left; returns how many."""
        ages = {folder: time.time() - _last_used(folder) for folder in self._folder.glob("*") if folder.is_dir()}
        limits = {True: _STRAY_SECONDS, False: older_than_days * 86_400}
        old = [folder for folder, age in ages.items() if age > limits[folder.suffix == ".tmp"]]
        for folder in old:
            shutil.rmtree(folder, ignore_errors=True)
        return len(old)

    def _placed(self, half: Path) -> FileBound:
        """Give a snapshot its name, unless it is there."""
        with (half / _FILE).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole = self._folder / digest[:32]
        try:
            half.rename(whole)
            _sync(self._folder)
        except OSError:
            # Whoever was first has the same rows: only a folder that is empty is replaced.
            if not whole.is_dir():
                raise
        bound = bound_of(whole / _FILE)
        if bound.sha256 != digest:
            # Somebody has changed what was kept.
            shutil.rmtree(whole)
            half.rename(whole)
            bound = bound_of(whole / _FILE)
        # Not the file itself, of which readers want that nothing about it changes.
        os.utime(whole)
        return bound

    @contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SnapshotNotWritable(
                f"What the query answered cannot be kept in {self._folder}: {(error.strerror or 'i/o error').lower()}. "
                "Free some space, give this user the right to write there, or set CHURN_HOME to another disk."
            ) from None


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    import pyarrow.parquet as pq

    path.touch(0o600)
    with path.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd", compression_level=1) as writer:
            for group in row_groups(batches, _ROWS_PER_GROUP):
                writer.write_table(group.combine_chunks(), _ROWS_PER_GROUP)
        file.flush()
        os.fsync(file.fileno())


def _last_used(folder: Path) -> float:
    with suppress(OSError):
        return folder.stat().st_mtime
    return time.time()


def _sync(folder: Path) -> None:
    """Make a new name durable, where the operating system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
