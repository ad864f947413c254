"""Files that are there whole or not at all.

Belongs here: writing one file so that no reader, and no later attempt, meets half of it. Does not: formats, folders
of files (`file_tables.py`).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

#: What a file is called until it is whole; maintenance sweeps what a killed process leaves.
TEMPORARY = ".*.tmp"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of `path` when the block ends, or is deleted if it raises.

    The bytes are on the disk (fsync) before the name is. Two writers at once do not disturb each other; the later one
    wins. The folder is made if it is missing.

    Raises:
        OSError: of the operating system; `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the operating system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
