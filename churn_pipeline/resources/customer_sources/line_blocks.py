"""A text file as blocks of complete lines.

Belongs here: reading and cutting bytes, byte order marks. Does not: what a line means (`csv_files.py`,
`json_lines.py`).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from churn_pipeline.resources.customer_sources.base import SourceUnreadable
from churn_pipeline.resources.customer_sources.snapshots import unreadable

#: Bytes in a block: about 60,000 rows of twenty columns.
BLOCK_BYTES = 8 << 20

#: Longest line; one longer is a sign of a file that is not text in lines.
LONGEST_LINE = 64 << 20


class LineBlocks:
    """Reads a file once, a block at a time; every block ends with a line feed.

    Attributes:
        at_end: whether the last block was handed out.
    """

    def __init__(self, file: BinaryIO, path: Path, block_bytes: int = BLOCK_BYTES) -> None:
        self._file = file
        self._path = path
        self._block_bytes = block_bytes
        self._tail = self._start()
        self.at_end = False

    def next_block(self, carry: bytes = b"") -> bytes:
        """The next complete lines, put after `carry`; `b""` at the end.

        Raises:
            SourceUnreadable: the file cannot be read on, or a line is longer than `LONGEST_LINE`.
        """
        block, self._tail = carry + self._tail, b""
        while chunk := self._read():
            if cut := chunk.rfind(b"\n") + 1:
                self._tail = chunk[cut:]
                return b"".join([block, memoryview(chunk)[:cut]])
            block += chunk
            if len(block) > LONGEST_LINE:
                raise SourceUnreadable(
                    f"{self._path} has a line of more than {LONGEST_LINE >> 20} MB. "
                    f"Check that it is text with one record a line."
                )
        self.at_end = True
        return block if not block or block.endswith(b"\n") else block + b"\n"

    def _start(self) -> bytes:
        start = self._read(len(codecs.BOM_UTF8))
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise SourceUnreadable(f"{self._path} is UTF-16 text. Save it as UTF-8.")
        return b"" if start == codecs.BOM_UTF8 else start

    def _read(self, size: int | None = None) -> bytes:
        try:
            return self._file.read(size or self._block_bytes)
        except OSError as error:
            raise unreadable(self._path, error) from None


@contextmanager
def line_blocks(path: Path, block_bytes: int = BLOCK_BYTES) -> Iterator[LineBlocks]:
    """Open a file as blocks of lines.

    Raises:
        SourceUnreadable: it cannot be opened, or is UTF-16.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from None
    with file:
        yield LineBlocks(file, path, block_bytes)
