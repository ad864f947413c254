"""JSON Lines files as customer rows: one object a line, UTF-8.

Positions are line numbers, the first line being 1; blank lines are skipped and counted. A key that a line does
not have is a missing value. A line that is no JSON object, or has a key twice, becomes a broken line.

Belongs here: JSON Lines. Does not: one object (`json_objects.py`), what types become (`typed_columns.py`), choosing
and guarding files (`files.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from pathlib import Path
from typing import Any

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import BrokenLine, SourceRows
from churn_pipeline.resources.customer_sources.base import ROWS_PER_CHUNK
from churn_pipeline.resources.customer_sources.json_objects import is_spaced, object_in
from churn_pipeline.resources.customer_sources.line_blocks import line_blocks
from churn_pipeline.resources.customer_sources.typed_columns import WantedColumn, from_values, rows_of, wanted_columns

#: Records to decode before their values go to the columns: few enough to be in the processor's cache still.
_SPREAD_AT = 256


def columns(path: Path, wanted: Collection[str] = ()) -> list[str] | None:
    """Keys of the first `ROWS_PER_CHUNK` lines, or of fewer once all of `wanted` were seen.

    Returns:
        None where none of those lines is an object: then there is nothing to know columns from.

    Raises:
        SourceUnreadable: the file cannot be read.
    """
    keys: dict[str, None] = {}
    found = False
    for number, line, spaced in _lines(path):
        record = object_in(line, spaced=spaced)
        if isinstance(record, dict):
            found = True
            keys |= dict.fromkeys(record)
        if number >= ROWS_PER_CHUNK or (wanted and keys.keys() >= set(wanted)):
            break
    return list(keys) if found else None


def read(path: Path, contract: Contract, *, with_label: bool = False) -> Generator[SourceRows, None, None]:
    """Stream a file's rows, contract columns only.

    Raises:
        SourceUnreadable: the file cannot be read to its end.
    """
    wanted = wanted_columns(contract, with_label=with_label)
    chunk = _Chunk(wanted)
    for number, line, spaced in _lines(path):
        record = object_in(line, spaced=spaced)
        if isinstance(record, str):
            text = line.rstrip(b"\r").decode(errors="backslashreplace")
            chunk.broken.append(BrokenLine(number, record, text))
        else:
            chunk.add(number, record)
        if chunk.count == ROWS_PER_CHUNK:
            yield chunk.rows(path)
            chunk = _Chunk(wanted)
    if chunk.count:
        yield chunk.rows(path)


class _Chunk:
    """Records and broken lines so far; values are kept column by column."""

    def __init__(self, wanted: list[WantedColumn]) -> None:
        self.broken: list[BrokenLine] = []
        self._positions: list[int] = []
        self._records: list[dict[str, Any]] = []
        self._columns: list[tuple[WantedColumn, list[Any]]] = [(column, []) for column in wanted]

    @property
    def count(self) -> int:
        return len(self._positions) + len(self.broken)

    def add(self, position: int, record: dict[str, Any]) -> None:
        self._positions.append(position)
        self._records.append(record)
        if len(self._records) == _SPREAD_AT:
            self._spread()

    def rows(self, path: Path) -> SourceRows:
        self._spread()
        found = {column.name: from_values(values, column) for column, values in self._columns}
        return rows_of(found, path.as_posix(), self._positions, self.broken)

    def _spread(self) -> None:
        for column, values in self._columns:
            values += [record.get(column.name) for record in self._records]
        self._records.clear()


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Lines that are not blank, with their numbers, and whether they need a close look for equal keys."""
    number = 0
    with line_blocks(path) as blocks:
        while block := blocks.next_block():
            spaced = is_spaced(block)
            for line in block.removesuffix(b"\n").split(b"\n"):
                number += 1
                if line.strip(b" \t\r"):
                    yield number, line, spaced
