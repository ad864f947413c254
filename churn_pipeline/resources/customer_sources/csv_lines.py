"""Lines that a lenient CSV reader would misread, found and taken out before it sees them.

Arrow's reader lets a stray quote swallow every line up to the next quote or to the end of the file, joins text
that follows a closing quote to the value, and stops at a line of the wrong width that is not UTF-8. Here such
lines become broken lines, one by one, and the lines after them are kept.

Belongs here: bytes in, bytes out. Does not: files and Arrow (`csv_files.py`).
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: A quoted value may hold line breaks up to this size; a quote that is not closed by then is a stray one.
LONGEST_RECORD = 128 << 10

_QUOTE, _LINE_FEED, _CARRIAGE_RETURN, _COMMA = 34, 10, 13, 44

# Bytes looked at together.
_PIECE = 512 << 10

# What may stand before an opening and after a closing quote: a comma, a line's edge, or (doubled) another quote.
_MAY_TOUCH_A_QUOTE = np.zeros(256, dtype=bool)
_MAY_TOUCH_A_QUOTE[list(b',"\r\n')] = True


class _Unfinished(Exception):
    """The block ends inside a quoted value."""


@dataclass(frozen=True)
class ScreenedLines:
    """A block of lines that every CSV reader reads alike.

    Attributes:
        block: the lines, each broken one replaced by a placeholder.
        broken: (rule, line as it was), one a placeholder, in order.
        carry: lines at the end whose record goes on in the next block: read them again with it.
    """

    block: bytes
    broken: list[tuple[str, bytes]]
    carry: bytes = b""


def screen(block: bytes, width: int, placeholder: bytes, *, last: bool) -> ScreenedLines:
    """Take out lines whose quotes are malformed, and lines of the wrong width that are not UTF-8.

    Args:
        block: complete lines.
        width: number of columns.
        placeholder: stands for each broken line: text without comma, quote and line feed.
        last: no line follows this block.
    """
    quoted, utf8 = b'"' in block, is_utf8(block)
    codes = np.frombuffer(block, np.uint8)
    plain = not quoted or all(_plainly_quoted(codes[start:end]) for start, end in _pieces(block))
    if plain and utf8:
        return ScreenedLines(block, [])
    ends = np.flatnonzero(codes == _LINE_FEED)
    doubtful = _irregular_quotes(codes, ends) if quoted and not plain else []
    if not utf8:
        garbled = [n for n, line in enumerate(block.split(b"\n")) if not is_utf8(line)]
        doubtful = sorted({*doubtful, *garbled})
    return _take_out(block, ends, doubtful, width, placeholder, last) if doubtful else ScreenedLines(block, [])


def is_utf8(text: bytes) -> bool:
    """Whether bytes are UTF-8; nearly free where they are ASCII."""
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _pieces(block: bytes) -> Iterator[tuple[int, int]]:
    """Stretches of whole lines that fit a processor's cache."""
    start = 0
    while start < len(block):
        end = block.find(b"\n", start + _PIECE) + 1 or len(block)
        yield start, end
        start = end


def _plainly_quoted(codes: npt.NDArray[np.uint8]) -> bool:
    """Whether each quote opens a value at its first or closes it at its last character, within one line.

    What programs write is nearly always like this, and `_irregular_quotes` needs twice as long to say so.
    """
    quotes, line_feeds = codes == _QUOTE, codes == _LINE_FEED
    edges = line_feeds | (codes == _COMMA) | (codes == _CARRIAGE_RETURN)
    opening, closing = np.empty_like(quotes), np.empty_like(quotes)
    opening[0], opening[1:] = quotes[0], quotes[1:] & edges[:-1]
    closing[-1], closing[:-1] = False, quotes[:-1] & edges[1:]
    if not np.array_equal(opening ^ closing, quotes):  # inside a value, doubled, or a value by itself
        return False
    marks = np.flatnonzero(quotes | line_feeds)
    opens, closes = opening[marks], closing[marks]
    return not closes[0] and not opens[-1] and np.array_equal(opens[:-1], closes[1:])


def _irregular_quotes(codes: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> list[int]:
    """Lines in which quotes do not simply open and close whole values: odd in number, or amid other text."""
    quotes = np.flatnonzero(codes == _QUOTE)
    upto = np.searchsorted(quotes, ends)
    counts = np.diff(upto, prepend=0)
    odd = np.flatnonzero(counts % 2)
    if len(odd):
        # An odd line would turn opening into closing quotes from there on: leave the odd lines' quotes out.
        quotes = quotes[np.repeat(counts % 2 == 0, counts)]
    opening, closing = quotes[0::2], quotes[1::2]
    before = codes[opening - 1]  # of a quote at the very start: the line feed at the end
    amid = np.concatenate([opening[~_MAY_TOUCH_A_QUOTE[before]], closing[~_MAY_TOUCH_A_QUOTE[codes[closing + 1]]]])
    return np.union1d(odd, np.searchsorted(ends, amid)).tolist()


def _take_out(
    block: bytes, ends: npt.NDArray[np.int64], doubtful: list[int], width: int, placeholder: bytes, last: bool
) -> ScreenedLines:
    kept: list[bytes] = []
    broken: list[tuple[str, bytes]] = []
    copied = resume = 0
    for line in doubtful:
        if line < resume:  # inside a record that was found whole
            continue
        start, end = (int(ends[line - 1]) + 1 if line else 0), int(ends[line]) + 1
        try:
            rule, lines = _judge(block, ends[line:], start, width)
        except _Unfinished:
            if not last and len(block) - start <= LONGEST_RECORD:
                return ScreenedLines(b"".join([*kept, block[copied:start]]), broken, carry=block[start:])
            rule, lines = "malformed_quotes", 1
        if rule:
            kept += [block[copied:start], placeholder, b"\n"]
            broken.append((rule, block[start:end].rstrip(b"\r\n")))
            copied = end
        resume = line + lines
    return ScreenedLines(b"".join([*kept, block[copied:]]), broken)


def _judge(block: bytes, ends: npt.NDArray[np.int64], start: int, width: int) -> tuple[str | None, int]:
    """The rule that the record at `start` breaks, if any, and how many lines it takes.

    A record over several lines that is not right in the end is only its first line: the lines that a stray quote
    would swallow are records of their own.
    """
    reader = csv.reader(_lines(block, ends, start), strict=True)
    try:
        fields = next(reader)
    except csv.Error:
        return "malformed_quotes", 1
    if len(fields) == width:
        return None, reader.line_num
    if reader.line_num > 1:
        return "malformed_quotes", 1
    return (None if is_utf8(block[start : int(ends[0])]) else "wrong_width"), 1


def _lines(block: bytes, ends: npt.NDArray[np.int64], start: int) -> Iterator[str]:
    first = start
    for end in ends:
        if start > first and end - first > LONGEST_RECORD:
            raise csv.Error("longer than a record may be")
        yield block[start : end + 1].decode("latin-1")
        start = int(end) + 1
    raise _Unfinished
