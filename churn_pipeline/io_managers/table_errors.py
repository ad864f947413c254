"""What can go wrong with any table, whatever its format.

Belongs here: the errors that several writers raise, and how a storage failure is put into words. Does not: errors of
one format (beside that format).
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from churn_pipeline.errors import TableError


class TableNotWritable(TableError):
    """The storage under a table refuses to be written: disk full, no permission, read-only."""


class TableNotReadable(TableError):
    """A table is there and its files or its log cannot be read."""


class TableBusy(TableError):
    """Others committed to the table again and again while this write tried to."""


class TableSchemaChanged(TableError):
    """The rows have other columns than the table they should go into."""


class UnsupportedColumn(TableError):
    """A column has a type that no table can hold without changing its values."""


_ADVICE = {
    errno.ENOSPC: ("the disk is full", "Free some space, or set CHURN_HOME to another disk, and run again."),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, or set CHURN_HOME to another disk, and run again."),
    errno.EFBIG: ("a file grew past the allowed size", "Raise the limit on file size, and run again."),
    errno.EACCES: ("permission is denied", "Give the user of this process write access, or set CHURN_HOME elsewhere."),
    errno.EPERM: ("permission is denied", "Give the user of this process write access, or set CHURN_HOME elsewhere."),
    errno.EROFS: ("the disk is read-only", "Mount it writable, or set CHURN_HOME to another disk."),
}


def not_writable(location: str, error: Exception) -> TableNotWritable:
    """Say why `location` cannot be written; the text of `error` itself is not repeated, it may show rows."""
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        # Delta Lake's errors carry the operating system's words, not its number.
        number = next((n for n in _ADVICE if os.strerror(n) in str(error)), None)
    what = os.strerror(number) if number else f"the storage answered with {type(error).__name__}"
    reason, advice = _ADVICE.get(number or 0, (what, "See the log of the storage, and run again."))
    return TableNotWritable(f"{location} cannot be written: {reason}. Its old content is intact. {advice}")


def not_readable(location: str) -> TableNotReadable:
    """Say that what lies at `location` is damaged or out of reach."""
    return TableNotReadable(
        f"{location} is there and cannot be read: its log or a file it names is damaged or missing. "
        "Restore it from a copy, or move it away and score the batches again."
    )


@contextmanager
def storage_errors(location: str) -> Iterator[None]:
    """Turn the operating system's refusals into `TableNotWritable`; to be put around writing calls only."""
    try:
        yield
    except OSError as error:
        raise not_writable(location, error) from error
