"""Files as they were when a batch was planned, and the guard that they still are.

Belongs here: digests, bounds, and noticing a change. Does not: which files (`files.py`), what is in them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from churn_pipeline.batches import FileBound
from churn_pipeline.errors import SourceError
from churn_pipeline.resources.customer_sources.base import SourceChanged, SourceUnreadable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def bound_of(path: Path) -> FileBound:
    """Digest a file and fix it as it is now.

    Raises:
        SourceUnreadable: it may not be opened, or is no regular file.
        SourceChanged: it changed while it was digested.
    """
    before = _stat(path)
    if not stat.S_ISREG(before.st_mode):
        raise SourceUnreadable(f"{path} is not a regular file. Name a file, a folder or a glob of files.")
    digest = _digest(path)
    if _mark(_stat(path)) != _mark(before):
        raise _changed(path)
    return FileBound(path.as_posix(), before.st_size, digest, _modified_at(before))


@contextmanager
def unchanged(bound: FileBound) -> Iterator[Path]:
    """The file of a bound, for as long as it is what the bound says.

    A file that was only touched is digested again and accepted if its content is the same. After the block the
    file must not have been written to, replaced or removed since its beginning; an early end of reading (a
    generator that is closed) is not checked. A file found unreadable because it changed is reported as changed.

    Raises:
        SourceChanged: it is not, or no longer, what the bound says.
    """
    path = Path(bound.path)
    before = _stat_or_gone(path)
    if before is None:
        raise _changed(path)
    if before.st_size != bound.size or (_modified_at(before) != bound.modified_at and _digest(path) != bound.sha256):
        raise _changed(path)
    try:
        yield path
    except SourceError:
        if _mark(_stat_or_gone(path)) != _mark(before):
            raise _changed(path) from None
        raise
    if _mark(_stat_or_gone(path)) != _mark(before):
        raise _changed(path)


def unreadable(path: Path | str, error: OSError) -> SourceUnreadable:
    """What the operating system said about a file, in words."""
    advice = "Give this user the right to read it" if isinstance(error, PermissionError) else "Check the file"
    return SourceUnreadable(f"{path} cannot be read: {(error.strerror or 'input/output error').lower()}. {advice}.")


def _changed(path: Path) -> SourceChanged:
    return SourceChanged(
        f"{path} changed after the batch was planned, so its rows cannot be trusted. "
        f"Wait until it is complete, then start a new run."
    )


def _mark(found: os.stat_result | None) -> tuple[int, ...] | None:
    """What differs after any write, also one that keeps size and modification time."""
    return found and (found.st_ino, found.st_dev, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _modified_at(found: os.stat_result) -> datetime:
    # Not fromtimestamp: floats lose microseconds, and the bound must compare equal after JSON.
    return _EPOCH + timedelta(microseconds=found.st_mtime_ns // 1000)


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise unreadable(path, error) from None


def _stat_or_gone(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(path, error) from None


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from None
