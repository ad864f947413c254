"""CSV files as customer rows: comma separated, quoted with `"`, UTF-8, the first record naming the columns.

Every value is handed on as text, so that reading it as its type is the validator's judgement. An empty cell is a
missing value, `""` an empty text. Blank lines are skipped and not counted. Positions count records, the first
after the header being 1. What is no record of the header's width becomes a broken line.

Belongs here: CSV. Does not: stray quotes (`csv_lines.py`), choosing and guarding files (`files.py`).
"""

from __future__ import annotations

import csv
import io
import uuid
from collections.abc import Collection, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import BrokenLine, SourceRows
from churn_pipeline.read_ahead import read_ahead, work_ahead
from churn_pipeline.resources.customer_sources.base import ROWS_PER_CHUNK, SourceEmpty, SourceUnreadable
from churn_pipeline.resources.customer_sources.csv_lines import ScreenedLines, screen
from churn_pipeline.resources.customer_sources.line_blocks import BLOCK_BYTES, LineBlocks, line_blocks

_HEADER_BYTES = 64 << 10


def columns(path: Path, wanted: Collection[str] = ()) -> list[str]:  # noqa: ARG001 - every format's signature
    """Names of the columns as the file has them, nothing stripped.

    Raises:
        SourceEmpty: the file has no line that is not blank.
        SourceUnreadable: its first record is not a comma-separated header in UTF-8.
    """
    with line_blocks(path, _HEADER_BYTES) as blocks:
        return _header(path, blocks)[0]


def read(
    path: Path, contract: Contract, *, with_label: bool = False, block_bytes: int = BLOCK_BYTES
) -> Generator[SourceRows, None, None]:
    """Stream a file's rows, contract columns only.

    Raises:
        SourceEmpty, SourceUnreadable: as in `columns`, or the file cannot be read to its end.
    """
    with line_blocks(path, block_bytes) as blocks:
        names, block = _header(path, blocks)
        parser = _Parser(path, names, contract, contract.columns(with_label=with_label))
        # Parsing alone takes longer than all that is done with the rows.
        with (
            closing(read_ahead(_screened(blocks, block, len(names), parser.placeholder), depth=1)) as ahead,
            closing(work_ahead(parser.parse, ahead)) as parsed,
        ):
            for part in parsed:
                yield from parser.rows(part)


def _screened(blocks: LineBlocks, block: bytes, width: int, placeholder: bytes) -> Iterator[ScreenedLines]:
    while True:
        lines = screen(block, width, placeholder, last=blocks.at_end)
        yield lines
        if blocks.at_end:
            return
        block = blocks.next_block(lines.carry)


def _header(path: Path, blocks: LineBlocks) -> tuple[list[str], bytes]:
    """The names of the columns, and what follows them in the first block."""
    block = blocks.next_block()
    while block and not block.strip():
        block = blocks.next_block()
    lines = io.BytesIO(block)
    try:
        names: list[str] = next(filter(None, csv.reader((line.decode() for line in lines), strict=True)), [])
    except UnicodeDecodeError:
        raise SourceUnreadable(f"The header of {path} is not UTF-8. Save the file as CSV in UTF-8.") from None
    except csv.Error:
        raise SourceUnreadable(
            f"The header of {path} cannot be read: a quote is not closed, or lines do not end in a line feed. "
            f"Save the file as CSV again."
        ) from None
    if not names:
        raise SourceEmpty(f"{path} is empty: it has not even a header. Check how it was made.")
    if any("\0" in name for name in names):
        raise SourceUnreadable(f"The header of {path} holds NUL characters, as UTF-16 does. Save the file as UTF-8.")
    if len(names) == 1 and (separator := next((s for s in ";\t|" if s in names[0]), None)):
        raise SourceUnreadable(f"{path} separates its columns by {separator!r}. Save it with commas.")
    return names, block[lines.tell() :]


@dataclass(frozen=True)
class _Parsed:
    """A block as Arrow read it.

    Attributes:
        batch: its records; None if it is empty or cannot be read.
        invalid: (number, text) of the lines of another width.
    """

    lines: ScreenedLines
    batch: pa.RecordBatch | None
    invalid: list[tuple[int, str]]


class _Parser:
    """Turns the blocks of one file into rows, and counts records on the way."""

    def __init__(self, path: Path, names: list[str], contract: Contract, wanted: list[str]) -> None:
        self._path = path
        self._wanted = wanted
        self._records = 0
        self.placeholder = f"broken {uuid.uuid4().hex}".encode()
        # Numbers instead of names: columns outside the contract may be named alike, or not at all.
        self._names = [str(n) for n in range(len(names))]
        included = [str(names.index(column)) for column in wanted]
        self._convert = pacsv.ConvertOptions(
            include_columns=included,
            column_types={n: _arrow_type(contract.type_of(c)) for n, c in zip(included, wanted, strict=True)},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )

    def rows(self, part: _Parsed) -> Iterator[SourceRows]:
        """The rows of the next block in chunks, each with the broken lines between them."""
        if not part.lines.block:
            return
        if part.batch is None:  # what Arrow says of it shows customer values
            raise SourceUnreadable(
                f"{self._path} cannot be read as CSV after record {self._records:,}. Save the file as CSV again."
            )
        batch, taken_out = part.batch, iter(part.lines.broken)
        placeholder = self.placeholder.decode()
        broken = []
        for number, text in part.invalid:
            rule, line = next(taken_out) if text == placeholder else ("wrong_width", text.encode())
            broken.append(BrokenLine(self._records + number, rule, line.decode(errors="backslashreplace")))
        numbers = self._records + 1 + np.arange(batch.num_rows + len(broken))
        positions = np.delete(numbers, [number - 1 for number, _ in part.invalid])
        self._records += len(numbers)
        yield from _chunks(batch, self._path.as_posix(), positions, broken)

    def parse(self, lines: ScreenedLines) -> _Parsed:
        """Parse a block by itself, in any thread."""
        block, invalid = lines.block, list[tuple[int, str]]()

        def skip(row: Any) -> str:
            invalid.append((row.number, row.text))
            return "skip"

        if not block:
            return _Parsed(lines, None, invalid)
        # Arrow drops a byte order mark at the start of whatever it is given: here it would be part of a value.
        data = b"\n" + block if block.startswith(b"\xef\xbb\xbf") else block
        try:
            table = pacsv.read_csv(
                pa.BufferReader(data),
                # One block, one thread: row numbers are only known so, and no record can straddle blocks.
                pacsv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self._names),
                pacsv.ParseOptions(invalid_row_handler=skip),
                self._convert,
            )
        except pa.ArrowInvalid:
            return _Parsed(lines, None, invalid)
        columns = [column.combine_chunks() for column in table.columns]
        return _Parsed(lines, pa.RecordBatch.from_arrays(columns, names=self._wanted), invalid)


def _arrow_type(kind: str) -> pa.DataType:
    # Binary: Arrow would stop at text that is not UTF-8; as bytes it is one value for the validator to reject.
    return pa.dictionary(pa.int32(), pa.binary()) if kind in ("category", "boolean") else pa.binary()


def _chunks(
    batch: pa.RecordBatch, partition: str, positions: npt.NDArray[np.int64], broken: list[BrokenLine]
) -> Iterator[SourceRows]:
    edges = list(range(ROWS_PER_CHUNK, batch.num_rows, ROWS_PER_CHUNK))
    for start, end in zip([0, *edges], [*edges, None], strict=True):
        before = [line for line in broken if end is None or line.position < positions[end]]
        broken = broken[len(before) :]
        rows = batch.slice(start, None if end is None else end - start)
        if rows.num_rows or before:
            yield SourceRows(rows, partition, pa.array(positions[start:end], pa.int64()), tuple(before), text_only=True)
