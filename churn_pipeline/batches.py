"""What one run scores: a source with bounds that were fixed before reading, and the id and date they give.

Belongs here: the value objects and how they are written down, from plain values alone. Does not: listing and
hashing files, opening tables (`resources/customer_sources/`), which offsets come next (`offset_planning.py`), tables
that are written (`io_managers/`), Dagster (`assets/`), the clock.
"""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

#: How a topic is named where a file could be: `kafka:customers`.
TOPIC_SCHEME = "kafka:"

#: How a table or a query of a database is named where a file could be: `sql:customers`, `sql:SELECT …`.
SQL_SCHEME = "sql:"


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
class OffsetRange:
    """Messages `[start, end)` of one partition; prints as `topic/partition/start-end`."""

    topic: str
    partition: int
    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.start}-{self.end}"

    @property
    def offsets(self) -> int:
        """How many offsets; markers and compaction can leave fewer messages."""
        return self.end - self.start


class Batch(ABC):
    """What one run reads, scores and accounts for: a source with bounds that were fixed before reading.

    The id follows from the source and its bounds alone, so every attempt at a batch has the same id and replaces what
    an earlier attempt wrote. The date follows from the bounds, never from the clock, so a retry after midnight lands
    in the same partition.
    """

    #: What the person named: a file, a folder or a glob, a Delta table, `kafka:` and a topic, or
    #: `sql:` and a table or query.
    source: str

    #: Model version that scores records of another batch once more; empty for the batch that they belong to. It is
    #: part of the id, so that history keeps both.
    again: str

    @property
    @abstractmethod
    def id(self) -> str:
        """Short, readable and stable, such as `customers-1f0c5b7a9e21`."""

    @property
    @abstractmethod
    def as_of(self) -> datetime:
        """When the records were current, UTC. Event time where a record has none of its own."""

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Bytes to read; None where nobody knows before reading."""

    @property
    def date(self) -> date:
        """Partition of every table this batch writes."""
        return self.as_of.date()

    @abstractmethod
    def describe(self) -> str:
        """The bounds in a few words, for logs and alerts."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values for run config and the ledger; `from_json` reads them back."""

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Batch:
        """Read what `to_json` wrote, of any kind."""
        kinds: dict[str, type[Batch]] = {"offsets": OffsetBatch, "table_id": TableBatch}
        return next((kind for key, kind in kinds.items() if key in value), FileBatch).from_json(value)


@dataclass(frozen=True)
class FileBatch(Batch):
    """Files, the snapshot of a query, or records in memory, as they were when the batch was planned.

    Attributes:
        format: `csv`, `parquet` or `jsonl`.
        files: the files, sorted by path; the newest one's modification gives the date.
        limit: read only this many rows, counted over the files in order (None: all).
    """

    source: str
    format: str
    files: tuple[FileBound, ...]
    limit: int | None = None
    again: str = ""

    @property
    def id(self) -> str:
        digest = hashlib.sha256()
        for file in self.files:
            # A file name need not be UTF-8.
            digest.update(f"{file.path}\0{file.sha256}\0".encode("utf-8", "surrogateescape"))
        if self.limit is not None:
            digest.update(f"first {self.limit}".encode())
        if self.again:
            digest.update(f"again {self.again}".encode())
        return _id(_name_of(self.source), digest.hexdigest())

    @property
    def as_of(self) -> datetime:
        newest = max((file.modified_at for file in self.files), default=datetime(1970, 1, 1, tzinfo=UTC))
        return newest.astimezone(UTC)

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    def describe(self) -> str:
        return f"{len(self.files)} files, {self.size} bytes of {self.source}"

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "format": self.format,
            "files": [
                {"path": f.path, "size": f.size, "sha256": f.sha256, "modified_at": f.modified_at.isoformat()}
                for f in self.files
            ],
            # Run configuration takes no null.
            **({} if self.limit is None else {"limit": self.limit}),
            **({"again": self.again} if self.again else {}),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> FileBatch:
        files = tuple(
            FileBound(f["path"], f["size"], f["sha256"], datetime.fromisoformat(f["modified_at"]).astimezone(UTC))
            for f in value["files"]
        )
        return FileBatch(value["source"], value["format"], files, value.get("limit"), value.get("again", ""))


@dataclass(frozen=True)
class OffsetBatch(Batch):
    """Ranges of offsets of one topic.

    Attributes:
        topic_id: the broker's id of the topic, which changes when a topic is deleted and made again; None where the
            broker has none.
        ranges: at most one a partition, sorted by partition.
        planned_at: when the ranges were fixed, UTC; gives the batch its date. No part of the id.
    """

    topic: str
    topic_id: str | None
    ranges: tuple[OffsetRange, ...]
    planned_at: datetime
    again: str = ""

    @property
    def source(self) -> str:  # type: ignore[override]
        """`kafka:` and the topic."""
        return f"{TOPIC_SCHEME}{self.topic}"

    @property
    def id(self) -> str:
        written = f"{self.topic}\0{self.topic_id}\0{json.dumps(self.offsets, sort_keys=True)}"
        written += f"\0{self.again}" if self.again else ""
        return _id(self.topic, hashlib.sha256(written.encode()).hexdigest())

    @property
    def offsets(self) -> dict[str, list[int]]:
        """Partition → `[start, end]`, as in Spark's offsets."""
        return {str(r.partition): [r.start, r.end] for r in self.ranges}

    @property
    def as_of(self) -> datetime:
        return self.planned_at.astimezone(UTC)

    @property
    def size(self) -> None:
        return None

    def divided(self, count: int) -> list[OffsetBatch]:
        """The same offsets as about `count` smaller batches of a range each, in order."""
        size = max(1, -(-sum(r.offsets for r in self.ranges) // count))
        return [
            replace(self, ranges=(replace(r, start=start, end=min(start + size, r.end)),))
            for r in self.ranges
            for start in range(r.start, r.end, size)
        ]

    def describe(self) -> str:
        partitions = f"{len(self.ranges)} partition" + "s" * (len(self.ranges) != 1)
        return f"{sum(r.offsets for r in self.ranges)} offsets of {partitions} of {self.source}"

    def to_json(self) -> dict[str, Any]:
        return {
            "offsets": {self.topic: self.offsets},
            "planned_at": self.planned_at.isoformat(),
            **({} if self.topic_id is None else {"topic_id": self.topic_id}),
            **({"again": self.again} if self.again else {}),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> OffsetBatch:
        ((topic, offsets),) = value["offsets"].items()
        ranges = (OffsetRange(topic, int(partition), start, end) for partition, (start, end) in offsets.items())
        planned_at = datetime.fromisoformat(value["planned_at"]).astimezone(UTC)
        sorted_ranges = tuple(sorted(ranges, key=lambda r: r.partition))
        return OffsetBatch(topic, value.get("topic_id"), sorted_ranges, planned_at, value.get("again", ""))


@dataclass(frozen=True)
class TableBatch(Batch):
    """One version of a Delta table.

    Attributes:
        source: the table's absolute path, or its URI.
        table_id: the table's own id, which changes when a table is deleted and made anew.
        committed_at: when the version was committed, UTC; gives the batch its date. No part of the id.
        stored: bytes of the version's files. No part of the id.
        limit: read only this many rows, counted over the files in order (None: all).
    """

    source: str
    table_id: str
    version: int
    committed_at: datetime
    stored: int
    limit: int | None = None
    again: str = ""

    @property
    def id(self) -> str:
        written = f"{self.source}\0{self.table_id}\0{self.version}"
        written += "" if self.limit is None else f"\0first {self.limit}"
        written += f"\0again {self.again}" if self.again else ""
        # A folder's name need not be UTF-8.
        return _id(_name_of(self.source), hashlib.sha256(written.encode("utf-8", "surrogateescape")).hexdigest())

    @property
    def as_of(self) -> datetime:
        return self.committed_at.astimezone(UTC)

    @property
    def size(self) -> int:
        return self.stored

    def describe(self) -> str:
        return f"version {self.version} of the Delta table {self.source}"

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "table_id": self.table_id,
            "version": self.version,
            "committed_at": self.committed_at.isoformat(),
            "bytes": self.stored,
            **({} if self.limit is None else {"limit": self.limit}),
            **({"again": self.again} if self.again else {}),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TableBatch:
        committed_at = datetime.fromisoformat(value["committed_at"]).astimezone(UTC)
        bounds = (value["source"], value["table_id"], value["version"], committed_at, value["bytes"])
        return TableBatch(*bounds, value.get("limit"), value.get("again", ""))


def _id(name: str, digest: str) -> str:
    stem = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40]
    return f"{stem or 'batch'}-{digest[:12]}"


def _name_of(source: str) -> str:
    """Last part of a path that says something: `customers` of `/data/customers/*.csv` and of `/data/customers.csv`.

    Of a table `sql:sales.customers` it is `customers`, of any query `query`.
    """
    if source.startswith(SQL_SCHEME):
        table = source.removeprefix(SQL_SCHEME).strip()
        return "query" if re.search(r"\s", table) else table.rpartition(".")[2]
    parts = [part for part in re.split(r"[/\\]", source) if part and not re.search(r"[*?\[]", part)]
    last = parts[-1] if parts else "batch"
    return re.sub(r"\.(csv|parquet|jsonl|ndjson|json)$", "", last, flags=re.IGNORECASE)
