"""Customers of a file as the messages that an application would send, some of them spoilt on purpose.

Which messages are spoilt and how, and what time each has, follows from its number and the seed alone: whoever is
stopped and goes on from a number sends what it would have sent.

Belongs here: files to records, records to messages. Does not: ways of being malformed (`malformed_messages.py`),
sending (`demo_producer.py`), files as customers to score (`resources/customer_sources/`): here nothing is judged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from churn_pipeline.contract.definition import Contract
from churn_pipeline.resources.customer_sources.base import SourceEmpty, SourceUnreadable
from churn_pipeline.resources.customer_sources.snapshots import unreadable
from churn_pipeline.resources.topics.malformed_messages import Record, message, variants

#: Records made at a time.
_SLICE = 1_000

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class CustomerRecords:
    """Records that can be had again from any row on.

    Attributes:
        count: rows.
        columns: names of the columns; None where each row has its own.
        rows: the rows `[start, end)`.
    """

    count: int
    columns: Sequence[str] | None
    rows: Callable[[int, int], list[dict[str, Any]]]

    def since(self, number: int) -> Iterator[dict[str, Any]]:
        """Without end: after the last row comes the first again; `number` counts on through all rounds."""
        while True:
            start = number % self.count
            found = self.rows(start, min(start + _SLICE, self.count))
            yield from found
            number += len(found)


def records_of_table(table: pa.Table) -> CustomerRecords:
    """Rows of an Arrow table."""
    return CustomerRecords(
        table.num_rows, table.column_names, lambda start, end: table.slice(start, end - start).to_pylist()
    )


def records_of_file(path: Path, format: str, contract: Contract) -> CustomerRecords:
    """Every column of a file, which is held in memory.

    Of CSV, the columns that the contract calls numbers or truth values are sent as such where the text is one, an empty
    cell as null, and all else as the text that it is. Nothing is judged.

    Args:
        format: `csv`, `parquet` or `jsonl`.

    Raises:
        SourceEmpty: the file has no rows.
        SourceUnreadable
    """
    try:
        found = _READERS[format](path, contract)
    except pa.ArrowException:
        raise SourceUnreadable(
            f"{path} is no {format} file that can be read, or is damaged. Copy or make it again."
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not found.count:
        raise SourceEmpty(f"{path} holds no row, so there is nothing to send. Name a file with customers.")
    return found


def _csv(path: Path, contract: Contract) -> CustomerRecords:
    parse = pacsv.ParseOptions(newlines_in_values=True)
    with pacsv.open_csv(path, parse_options=parse) as file:
        names = file.schema.names
    convert = pacsv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    table = pacsv.read_csv(path, parse_options=parse, convert_options=convert)
    readers = [(name, _from_text(contract.type_of(name))) for name in names]

    def rows(start: int, end: int) -> list[dict[str, Any]]:
        part = table.slice(start, end - start)
        columns = [[read(text) for text in part.column(name).to_pylist()] for name, read in readers]
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]

    return CustomerRecords(table.num_rows, names, rows)


def _parquet(path: Path, _: Contract) -> CustomerRecords:
    return records_of_table(pq.read_table(str(path)))


def _json_lines(path: Path, _: Contract) -> CustomerRecords:
    lines = [(n, line) for n, line in enumerate(path.read_bytes().split(b"\n"), 1) if line.strip()]
    decode = msgspec.json.Decoder(dict[str, Any]).decode

    def rows(start: int, end: int) -> list[dict[str, Any]]:
        found = []
        for number, line in lines[start:end]:
            try:
                found.append(decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise SourceUnreadable(
                    f"Line {number} of {path} is no JSON object. Correct it, or take it out."
                ) from None
        return found

    return CustomerRecords(len(lines), None, rows)


_READERS: dict[str, Callable[[Path, Contract], CustomerRecords]] = {
    "csv": _csv,
    "parquet": _parquet,
    "jsonl": _json_lines,
}


def _from_text(kind: str) -> Callable[[str | None], Any]:
    """How a cell of a CSV file is read for a column of this contract type."""
    if kind in ("number", "integer"):
        return _number
    if kind == "boolean":
        return lambda text: text if text is None else _TRUTH.get(text.lower(), text)
    return lambda text: text


def _number(text: str | None) -> float | int | str | None:
    found = _NUMBER.fullmatch(text or "")
    if text is None or not found:
        return text
    if found[2] or found[3]:
        return value if math.isfinite(value := float(text)) else text
    # Python reads no integer of thousands of digits, and nobody's charges are that high.
    return int(text) if len(text) < 1_000 else text


@dataclass(frozen=True)
class EventTimes:
    """Times spread evenly: message 0 at `start`, message `count` would be at `start + span`."""

    start: datetime
    span: timedelta
    count: int

    def of(self, number: int) -> datetime:
        """When the message is said to have happened, UTC."""
        return (self.start + self.span * (number / self.count)).astimezone(UTC)


@dataclass(frozen=True)
class DemoMessage:
    """One message to send.

    Attributes:
        number: its place in the stream, from 0.
        timestamp: milliseconds since 1970; None leaves it to the client's clock.
        malformed: what is wrong with it on purpose, as in `malformed_messages.Variant.name`.
    """

    number: int
    key: bytes | None
    value: bytes | None
    timestamp: int | None = None
    malformed: str | None = None


@dataclass(frozen=True)
class DemoStream:
    """An endless stream of messages.

    Attributes:
        key: column whose value is the message's key; None: no message has one.
        malformed: share of spoilt messages, 0 to 1.
        times: event times, written to the contract's column of them, or where it names none, to the messages' own
            timestamps; None leaves both as they are.
    """

    records: CustomerRecords
    contract: Contract
    key: str | None = None
    envelope: str | None = None
    malformed: float = 0.0
    seed: int = 0
    times: EventTimes | None = None

    def since(self, number: int) -> Iterator[DemoMessage]:
        """From message `number` on.

        Raises:
            SourceUnreadable: a row of the file is none.
        """
        ways = variants(self.contract, self.envelope)
        column = self.contract.event_time.column if self.contract.event_time else None
        for place, found in enumerate(self.records.since(number), number):
            at = self.times.of(place) if self.times else None
            record: Record = {**found, column: at} if at and column else found
            key, timestamp = self._key(found), round(at.timestamp() * 1000) if at and not column else None
            chance, choice = _drawn(self.seed, place)
            if chance < self.malformed:
                way = ways[choice % len(ways)]
                yield DemoMessage(place, key, way.spoil(record, self.envelope), timestamp, way.name)
            else:
                yield DemoMessage(place, key, message(record, self.envelope), timestamp)

    def _key(self, record: Record) -> bytes | None:
        value = record.get(self.key) if self.key else None
        return None if value is None else str(value).encode()


def _drawn(seed: int, number: int) -> tuple[float, int]:
    """A number in [0, 1) and one of 32 bits, at random but always the same for the same seed and number."""
    digest = blake2b(b"%d/%d" % (seed, number), digest_size=8).digest()
    return int.from_bytes(digest[:4]) / 2**32, int.from_bytes(digest[4:])
