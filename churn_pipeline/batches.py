"""What one run scores: a source with bounds that were fixed before reading, and the id and date they give.

Belongs here: the value objects and how they are written down, from plain values alone. Does not: listing and
hashing files (`resources/customer_sources/`), tables (`io_managers/`), Dagster (`assets/`), the clock.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Self


@dataclass(frozen=True)
class FileBound:
    """One file as it was when the batch was planned.

    Attributes:
        path: absolute path, `/` separated.
        size: bytes.
        sha256: digest of the content, hex.
        modified_at: last modification, UTC.
    """

    path: str
    size: int
    sha256: str
    modified_at: datetime


@dataclass(frozen=True)
class Batch:
    """A file snapshot that one run reads, scores and accounts for.

    The id follows from locations and contents alone, so every attempt at the same files has the same id and
    replaces what an earlier attempt wrote. The date follows from the newest file, never from the clock, so a
    retry after midnight lands in the same partition.

    Attributes:
        source: what the person named: a file, a folder or a glob.
        format: `csv`, `parquet` or `jsonl`.
        files: the files, sorted by path.
        limit: read only this many rows, counted over the files in order (None: all).
    """

    source: str
    format: str
    files: tuple[FileBound, ...]
    limit: int | None = None

    @property
    def id(self) -> str:
        """Short, readable and stable, such as `customers-1f0c5b7a9e21`."""
        digest = hashlib.sha256()
        for file in self.files:
            # A file name need not be UTF-8.
            digest.update(f"{file.path}\0{file.sha256}\0".encode("utf-8", "surrogateescape"))
        if self.limit is not None:
            digest.update(f"first {self.limit}".encode())
        stem = re.sub(r"[^a-z0-9]+", "_", _name_of(self.source).lower()).strip("_")[:40]
        return f"{stem or 'batch'}-{digest.hexdigest()[:12]}"

    @property
    def as_of(self) -> datetime:
        """When the records were current: the newest file's modification, UTC. Event time where a record has none."""
        newest = max((file.modified_at for file in self.files), default=datetime(1970, 1, 1, tzinfo=UTC))
        return newest.astimezone(UTC)

    @property
    def date(self) -> date:
        """Partition of every table this batch writes."""
        return self.as_of.date()

    @property
    def size(self) -> int:
        """Bytes to read."""
        return sum(file.size for file in self.files)

    def to_json(self) -> dict[str, Any]:
        """Plain values for run config and the ledger; `from_json` reads them back."""
        return {
            "source": self.source,
            "format": self.format,
            "files": [
                {"path": f.path, "size": f.size, "sha256": f.sha256, "modified_at": f.modified_at.isoformat()}
                for f in self.files
            ],
            # Run configuration takes no null.
            **({} if self.limit is None else {"limit": self.limit}),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        files = tuple(
            FileBound(f["path"], f["size"], f["sha256"], datetime.fromisoformat(f["modified_at"]).astimezone(UTC))
            for f in value["files"]
        )
        return cls(value["source"], value["format"], files, value.get("limit"))


def _name_of(source: str) -> str:
    """Last part of a path that says something: `customers` of `/data/customers/*.csv` and of `/data/customers.csv`."""
    parts = [part for part in re.split(r"[/\\]", source) if part and not re.search(r"[*?\[]", part)]
    last = parts[-1] if parts else "batch"
    return re.sub(r"\.(csv|parquet|jsonl|ndjson|json)$", "", last, flags=re.IGNORECASE)
