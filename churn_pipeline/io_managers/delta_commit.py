"""One commit to a Delta table: whole or not at all, whoever else commits at the same time.

Belongs here: creating a table, the commit and its repetition. Does not: which files a write adds and removes
(`delta_tables.py`, `current_scores.py`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
from deltalake import DeltaTable, Field
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, CommitProperties, PostCommitHookProperties, RemoveAction, Transaction

from churn_pipeline.io_managers.delta_files import DeltaFile, active_files, delta_schema, open_delta
from churn_pipeline.io_managers.delta_staging import StagedFile, Staging
from churn_pipeline.io_managers.table_errors import TableBusy, not_readable, not_writable

TRIES = 20

#: Every checkpoint repeats all active files: every 100 commits, and a log of 7 days, keep it small. Fences and
#: removed files outlive the longest run by far.
PROPERTIES = {
    "delta.checkpointInterval": "100",
    "delta.logRetentionDuration": "interval 7 days",
    "delta.deletedFileRetentionDuration": "interval 7 days",
    "delta.setTransactionRetentionDuration": "interval 7 days",
}


@dataclass(frozen=True)
class Changes:
    """What a commit adds to a table and removes from it."""

    adds: Sequence[StagedFile]
    removes: Sequence[DeltaFile]

    def are_in(self, table: DeltaTable) -> bool:
        """Whether the table at its loaded version has them."""
        active = {file.path for file in active_files(table)}
        return all(f.path in active for f in self.adds) and not any(f.path in active for f in self.removes)


def create_delta(location: str, schema: pa.Schema, partition_by: str) -> DeltaTable:
    """Open a table, making it first if there is none; another process may make it at the same moment.

    Raises:
        TableNotWritable: the storage refuses.
    """
    if table := open_delta(location):
        return table
    indexed = ",".join(name for name in ("batch_id", "event_at") if name in schema.names)
    properties: Mapping[str, str] = {**PROPERTIES, "delta.dataSkippingStatsColumns": indexed}
    try:
        return DeltaTable.create(location, delta_schema(schema), partition_by=[partition_by], configuration=properties)
    except (DeltaError, OSError) as error:
        if table := open_delta(location):
            return table
        raise not_writable(location, error) from error


def add_columns(location: str, columns: Sequence[pa.Field]) -> None:
    """Give a table columns that it lacks, null in its rows; another process may do so at the same moment.

    Raises:
        TableBusy: others were faster `TRIES` times.
        TableNotWritable: the storage refuses.
    """
    if not columns:
        return
    for attempt in range(TRIES):
        table = _loaded(location)
        there = {field.name for field in table.schema().fields}
        lacking = [Field.from_arrow(field) for field in delta_schema(pa.schema(columns)) if field.name not in there]
        if not lacking:
            return
        try:
            table.alter.add_columns(lacking)
        except CommitFailedError:
            time.sleep(random.uniform(0, 0.05 * (attempt + 1)))
        except (DeltaError, OSError) as error:
            raise not_writable(location, error) from error
    raise TableBusy(f"{location} was changed by others {TRIES} times while it was to be given a column. Run it again.")


def commit(
    location: str, staging: Staging, decide: Callable[[DeltaTable], Changes | None], *, fence: str, batch_id: str
) -> int:
    """Commit what `decide` says for the table as it is, deciding again each time someone else was faster.

    Args:
        decide: changes for a freshly loaded table; None if nothing is to be done.
        fence: two commits with the same fence never both start from the same version.
        batch_id: written into the commit, for the table's history.

    Returns:
        A version of the table that has the changes.

    Raises:
        TableBusy: others were faster `TRIES` times.
        TableNotWritable: the storage refuses; nothing is committed.
    """
    changes: Changes | None = None
    for attempt in range(TRIES + 1):
        table = _loaded(location)
        if changes is not None and changes.are_in(table):
            return _settled(table, table.version(), changes, staging)
        staging.in_doubt = False
        if attempt == TRIES:
            break
        if (changes := decide(table)) is None:
            staging.discard()
            return table.version()
        base = table.version()
        try:
            staging.in_doubt = True
            _commit_once(table, changes, fence, batch_id)
        except CommitFailedError:
            time.sleep(random.uniform(0, 0.05 * (attempt + 1)))
            continue
        except (DeltaError, OSError) as error:
            # The commit may be durable and only what follows it (a checkpoint) have failed: ask the table.
            if not changes.are_in(_loaded(location)):
                staging.in_doubt = False
                raise not_writable(location, error) from error
        return _settled(_loaded(location), base, changes, staging)
    raise TableBusy(
        f"{location} was changed by others {TRIES} times while batch {batch_id} tried to write to it. "
        "Its old content is intact. Run the batch again, with fewer runs at once."
    )


def _commit_once(table: DeltaTable, changes: Changes, fence: str, batch_id: str) -> None:
    now = int(time.time() * 1000)
    adds = [AddAction(f.path, f.size, f.partition, f.modified, True, f.stats) for f in changes.adds]
    removes = [RemoveAction(f.path, True, now, f.size, dict(f.partition)) for f in changes.removes]
    # Without `last_updated` a fence never expires.
    fenced = Transaction(fence, (table.transaction_version(fence) or 0) + 1, now)
    table.create_write_transaction(
        [*adds, *removes],
        mode="append",
        schema=table.schema(),
        partition_by=table.metadata().partition_columns,
        commit_properties=CommitProperties({"batch": batch_id}, max_commit_retries=15, app_transactions=[fenced]),
        post_commithook_properties=PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False),
    )


def _settled(table: DeltaTable, base: int, changes: Changes, staging: Staging) -> int:
    """The newest version that has the changes: others may have committed after it, even replaced it."""
    staging.discard(keep=[file.path for file in changes.adds])
    newest = table.version()
    for version in range(newest, base, -1):
        if version != newest:
            table.load_as_version(version)
        if changes.are_in(table):
            return version
    return newest


def _loaded(location: str) -> DeltaTable:
    table = open_delta(location)
    if table is None:
        raise not_readable(location)
    return table
