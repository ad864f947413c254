"""`--output`: a file to write predictions to, or a folder for the tables.

Belongs here: reading the option, and finding out before the run whether its place can be written. Does not: formats
(`io_managers/exports.py`), tables.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from churn_pipeline.errors import TableError

#: Endings that people expect to become a file and that no format here writes: an error, not a folder of that name.
_NO_FOLDER = frozenset({".gz", ".json", ".ods", ".pq", ".sql", ".tsv", ".txt", ".xls", ".xlsx", ".zip"})


class PlaceNotWritable(TableError):
    """A file or folder that something is to be written to cannot be written."""


@dataclass(frozen=True)
class Output:
    """Where results go, beside or instead of the settings.

    Attributes:
        tables: folder or URI of the tables; None: as the settings say.
        file: also write predictions to this file.
    """

    tables: str | None = None
    file: Path | None = None

    @classmethod
    def read(cls, text: str | None) -> Output:
        """Read the option; nothing is written.

        Raises:
            UnknownExportFormat: the ending is a file's, and stands for no format.
            PlaceNotWritable: the place cannot be written.
        """
        from churn_pipeline.io_managers.exports import FORMATS, format_of

        if not text or "://" in text:
            return cls(tables=text or None)
        path = Path(text).expanduser().absolute()
        folder = path.is_dir() or text.endswith(("/", os.sep))
        if not folder and path.suffix.lower() in _NO_FOLDER:
            format_of(path)
        is_file = not folder and path.suffix.lower() in FORMATS
        require_writable(path, folder=not is_file)
        return cls(file=path) if is_file else cls(tables=str(path))


def require_writable(path: Path, *, folder: bool) -> None:
    """Find out, without writing, whether a file can be put there, or files into a folder of that name.

    Raises:
        PlaceNotWritable: it says what is in the way.
    """
    found = path
    while not os.path.lexists(found) and found != found.parent:
        found = found.parent
    if (folder or found != path) and not found.is_dir():
        raise PlaceNotWritable(f"{path} cannot be a {_kind(folder)}: {found} is no folder. Name another place.")
    if not os.access(found, os.W_OK) or not os.access(path.parent if found == path else found, os.W_OK):
        raise PlaceNotWritable(
            f"{path} cannot be written: this user may not write to {found}. Name another place, or correct its rights."
        )


def _kind(folder: bool) -> str:
    return "folder" if folder else "file"
