"""Upkeep of Delta tables: fewer and larger files, and none that nobody needs.

Belongs here: compaction, vacuum, checkpoint, log cleanup, the sweep of what killed processes left. Does not: when it
is done (`jobs.py`, `schedules.py`).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError, DeltaError

from churn_pipeline.errors import UsageError
from churn_pipeline.io_managers.atomic_files import TEMPORARY
from churn_pipeline.io_managers.bucket_spill import SPILL
from churn_pipeline.io_managers.delta_files import active_files, open_delta
from churn_pipeline.io_managers.delta_staging import ROWS_PER_GROUP
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.table_errors import not_readable, not_writable

#: Shortest time a file that no version needs is kept, in hours. A run that writes or reads longer than that would
#: lose files under its hands.
LEAST_RETENTION_HOURS = 168

_STRAY_SECONDS = 24 * 3600


class RetentionTooShort(UsageError):
    """Maintenance was asked to delete files that running jobs may still need."""


@dataclass(frozen=True)
class Upkeep:
    """What maintenance did to one table.

    Attributes:
        files_before, files_after: active files.
        files_deleted: files that no version within the retention needs.
        version: the table's version afterwards.
        busy: a run wrote to the closed days at the same time, so compaction was left to the next time.
    """

    files_before: int
    files_after: int
    files_deleted: int
    version: int
    busy: bool


@dataclass(frozen=True)
class Maintained:
    """What maintenance did: a table's upkeep each, and how many strays of killed processes it swept."""

    tables: dict[str, Upkeep]
    strays: int


def maintain(
    store: DeltaTables, *, older_than_days: int = 1, retention_hours: int = LEAST_RETENTION_HOURS
) -> Maintained:
    """Compact closed days, delete what no version within the retention needs, checkpoint, shorten the log, sweep.

    It may run while batches are written: whoever commits second notices and tries again.

    Args:
        older_than_days: a day is closed if the table's newest batch date is this many days later (at least 1).
        retention_hours: how long files that were replaced stay readable, at least a week.

    Raises:
        RetentionTooShort: below a week, or no closed days.
        TableError: a table cannot be read or written.
    """
    if retention_hours < LEAST_RETENTION_HOURS or older_than_days < 1:
        raise RetentionTooShort(
            f"Maintenance keeps replaced files for at least {LEAST_RETENTION_HOURS} hours and leaves the newest day "
            f"alone; {retention_hours} hours and {older_than_days} days were asked for. Runs may still need them."
        )
    tables = {name: _maintain_table(store, name, older_than_days, retention_hours) for name in store.tables()}
    return Maintained(tables, sweep_strays(Path(store.folder)) if "://" not in store.folder else 0)


def _maintain_table(store: DeltaTables, name: str, older_than_days: int, retention_hours: int) -> Upkeep:
    location = store.location(name)
    table = open_delta(location)
    if table is None:
        raise not_readable(location)
    before = len(active_files(table))
    try:
        busy = not _compact_closed_days(table, older_than_days, store.file_bytes)
        table.update_incremental()
        # Only `full` finds files that were never committed, because their writer was killed.
        deleted = table.vacuum(retention_hours, dry_run=False, full=True)
        table.update_incremental()
        table.create_checkpoint()
        table.cleanup_metadata()
    except (DeltaError, OSError) as error:
        raise not_writable(location, error) from error
    return Upkeep(before, len(active_files(table)), len(deleted), table.version(), busy)


def _compact_closed_days(table: DeltaTable, older_than_days: int, file_bytes: int) -> bool:
    """Merge the small files of closed days; False if someone else wrote to them meanwhile.

    A table that is not partitioned by day (`current_churn_scores`) has one file a bucket and needs none of it.
    """
    days = [date.fromisoformat(f.partition["batch_date"]) for f in active_files(table) if "batch_date" in f.partition]
    if not days:
        return True
    closed_before = max(days) - timedelta(days=older_than_days - 1)
    try:
        table.optimize.compact(
            partition_filters=[("batch_date", "<", closed_before.isoformat())],
            # Files that were rolled at this size stay as they are: pieces of a batch keep their order.
            target_size=file_bytes,
            max_concurrent_tasks=1,
            writer_properties=WriterProperties(
                compression="ZSTD", compression_level=1, max_row_group_size=ROWS_PER_GROUP
            ),
        )
    except CommitFailedError:
        return False
    return True


def sweep_strays(folder: Path) -> int:
    """Delete what killed processes left more than a day ago and no vacuum finds; returns how many.

    These are temporary files of the storage layer (`name#1`) and of exports (`.name.tmp`), and spill folders.
    """
    swept = 0
    for path in list(_strays(folder)):
        if _last_touched(path) < time.time() - _STRAY_SECONDS:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
            swept += 1
    return swept


def _strays(folder: Path) -> Iterator[Path]:
    yield from folder.glob(f"{SPILL}*")
    yield from folder.glob("**/*#[0-9]*")
    yield from folder.glob(f"**/{TEMPORARY}")


def _last_touched(path: Path) -> float:
    inside = [path, *path.iterdir()] if path.is_dir() else [path]
    return max((p.stat().st_mtime for p in inside if p.exists()), default=0.0)
