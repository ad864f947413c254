"""Customer files on disk: one file, a folder, or a glob.

A folder stands for the files of a known suffix in it and below it; names that begin with `.` or `_` are skipped, as
are files of other suffixes and linked folders. Files are read in the order of their paths.

Belongs here: which files, of which format, in which order, and how many rows. Does not: what is in them
(`csv_files.py`, `parquet_files.py`, `json_lines.py`), digests and changes (`snapshots.py`), Delta tables
(`delta_tables.py`).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from churn_pipeline.batches import Batch, FileBatch, FileBound
from churn_pipeline.contract.definition import Contract, nearest
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources import csv_files, json_lines, parquet_files
from churn_pipeline.resources.customer_sources.base import (
    CustomerSource,
    SourceChanged,
    SourceEmpty,
    SourceFormatUnknown,
    SourceMixed,
    SourceNotFound,
)
from churn_pipeline.resources.customer_sources.snapshots import bound_of, unchanged, unreadable


@dataclass(frozen=True)
class FileFormat:
    """How files of one format are known and read."""

    suffixes: tuple[str, ...]
    columns: Callable[[Path, Collection[str]], list[str] | None]
    read: Callable[..., Generator[SourceRows, None, None]]


FORMATS = {
    "csv": FileFormat((".csv",), csv_files.columns, csv_files.read),
    "parquet": FileFormat((".parquet", ".pq"), parquet_files.columns, parquet_files.read),
    "jsonl": FileFormat((".jsonl", ".ndjson"), json_lines.columns, json_lines.read),
}

_FORMAT_OF = {suffix: name for name, known in FORMATS.items() for suffix in known.suffixes}
#: About: those of a customer of the Telco contract.
_BYTES_OF_A_ROW = {"csv": 170, "jsonl": 480}
_COMPRESSED = frozenset({".bz2", ".gz", ".xz", ".zip", ".zst"})


@dataclass(frozen=True)
class FilePart(FileBatch):
    """One file of a batch, or neighbouring row groups of it (Parquet)."""

    groups: range | None = None


class FileSource(CustomerSource):
    """Customer files.

    Args:
        location: a file, a folder or a glob (`**` for any depth).
        format: `csv`, `parquet` or `jsonl`; by default the suffix says it.
    """

    def __init__(self, location: str, format: str | None = None) -> None:
        if format is not None and format not in FORMATS:
            raise SourceFormatUnknown(
                f"No format {format!r}{nearest(format, FORMATS)}. Known formats: {', '.join(FORMATS)}."
            )
        self._location = location
        self._format = format

    def describe(self) -> str:
        """The location as it was given."""
        return self._location

    def plan(self, limit: int | None = None) -> FileBatch:
        """List and digest the files.

        Raises:
            SourceNotFound, SourceFormatUnknown, SourceMixed, SourceEmpty, SourceUnreadable, SourceChanged
        """
        format, paths = _one_format(self._location, _listed(self._location), self._format)
        bounds = tuple(bound_of(path) for path in paths)
        for bound in bounds:
            if bound.size == 0 and format != "jsonl":
                raise SourceEmpty(f"{bound.path} is empty: it has not even a header. Check how it was made.")
        return FileBatch(self._location, format, bounds, limit)

    def columns(self, batch: Batch) -> dict[str, list[str]]:
        """Names of the columns by path; a JSON Lines file without an object is left out."""
        return self._columns(batch, ())

    def about(self, batch: Batch) -> int:
        """Rows of Parquet files as their footers have them; of text, what files of that size have."""
        batch = _of_files(batch)
        if batch.format == "parquet":
            return sum(parquet_files.rows(Path(bound.path)) for bound in batch.files)
        return batch.size // _BYTES_OF_A_ROW[batch.format]

    def parts(self, batch: Batch, count: int) -> list[FilePart] | None:
        """Files, and Parquet files by their row groups: only a whole CSV file says where its rows begin.

        None for the first rows of a batch, which are known only once they were read.
        """
        batch = _of_files(batch)
        if batch.limit is not None:
            return None
        each = max(1, count // max(1, len(batch.files)))
        return [
            FilePart(batch.source, batch.format, (bound,), groups=groups)
            for bound in batch.files
            for groups in (self._groups(bound, each) if batch.format == "parquet" else [None])
        ]

    def _groups(self, bound: FileBound, count: int) -> list[range]:
        with unchanged(bound) as path:
            return parquet_files.row_groups(path, count)

    def read(self, batch: Batch, contract: Contract, *, with_label: bool = False) -> Iterator[SourceRows]:
        """Check every file's columns now, and stream their rows; see `CustomerSource.read`."""
        for path, names in self._columns(batch, contract.columns(with_label=with_label)).items():
            contract.check_columns(names, path, with_label=with_label)
        return self._stream(batch, contract, with_label)

    def _stream(self, batch: Batch, contract: Contract, with_label: bool) -> Iterator[SourceRows]:
        batch = _of_files(batch)
        read = FORMATS[batch.format].read
        if isinstance(batch, FilePart) and batch.groups is not None:
            read = partial(read, groups=batch.groups)
        left = batch.limit
        for bound in batch.files:
            if left == 0:
                return
            with unchanged(bound) as path, closing(read(path, contract, with_label=with_label)) as chunks:
                for chunk in chunks:
                    rows = chunk if left is None else chunk.first(left)
                    left = None if left is None else left - rows.count
                    yield rows
                    if left == 0:
                        break

    def _columns(self, batch: Batch, wanted: Collection[str]) -> dict[str, list[str]]:
        batch = _of_files(batch)
        found = {}
        for bound in batch.files:
            with unchanged(bound) as path:
                found[bound.path] = FORMATS[batch.format].columns(path, wanted)
        return {path: names for path, names in found.items() if names is not None}


def _of_files(batch: Batch) -> FileBatch:
    if not isinstance(batch, FileBatch):
        raise SourceChanged(
            f"{batch.source} was a Delta table when batch {batch.id} was planned, and is none now. "
            "Restore the table, or start a new run on what is there."
        )
    return batch


def _listed(location: str) -> list[Path]:
    """The files a location names, sorted."""
    # Not resolve(): a link such as `latest.csv` keeps the name that the person gave.
    path = Path(os.path.abspath(Path(location).expanduser()))  # noqa: PTH100
    try:
        if path.is_dir():
            return _below(path)
        if path.exists():
            return [path]
        if not re.search(r"[*?\[]", location):
            beside = [found.name for found in path.parent.iterdir()] if path.parent.is_dir() else []
            raise SourceNotFound(f"There is no file or folder {path}{nearest(path.name, beside)}. Check the name.")
        found: set[Path] = set()
        for match in map(Path, glob.glob(str(path), recursive=True)):  # noqa: PTH207 - Path.glob wants a fixed root
            if not _skipped(match.name):
                found.update(_below(match) if match.is_dir() else [match])
        return sorted(found)
    except OSError as error:
        raise unreadable(path, error) from None


def _below(folder: Path) -> list[Path]:
    if (folder / "_delta_log").is_dir():
        raise SourceFormatUnknown(
            f"{folder} is a Delta table, whose folder holds files of older versions too. "
            "Name the table's folder alone; in a job file, with KIND: DeltaReader."
        )
    found = []
    for place, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not _skipped(name)]
        found += [Path(place, name) for name in files if not _skipped(name)]
    return sorted(found)


def _raise(error: OSError) -> NoReturn:
    raise error


def _skipped(name: str) -> bool:
    return name.startswith((".", "_"))


def _one_format(location: str, files: list[Path], format: str | None) -> tuple[str, list[Path]]:
    """The files to read, and the one format they have."""
    if not files:
        raise SourceNotFound(f"There is no file under {location}. Name a customer file, its folder, or a glob.")
    if packed := [file for file in files if file.suffix.lower() in _COMPRESSED]:
        raise SourceFormatUnknown(f"{packed[0]} is compressed. Unpack it.")
    by_format: dict[str, list[Path]] = {}
    for file in files:
        by_format.setdefault(_FORMAT_OF.get(file.suffix.lower(), ""), []).append(file)
    if format:
        return format, by_format.get(format, files)
    by_format.pop("", None)
    if len(by_format) > 1:
        raise SourceMixed(
            f"{location} holds files of several formats ({', '.join(sorted(by_format))}). "
            f"Name one kind, such as {location.rstrip('/')}/*.csv."
        )
    if not by_format:
        raise SourceFormatUnknown(
            f"{files[0]} has none of the suffixes {', '.join(_FORMAT_OF)}. Rename it, or say its format."
        )
    return next(iter(by_format.items()))
