"""Customer rows on their way from a source to the validator.

Belongs here: the value that every source hands on, whatever its format. Does not: reading
(`resources/customer_sources/`), judging (`validation.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class BrokenLine:
    """Something in the source that is not a row at all, kept as it was found.

    Attributes:
        position: where in its partition, counted as in `SourceRows.positions`.
        rule: the rule it broke: `wrong_width`, `not_json`, `not_an_object` …
        text: the line itself; bytes that are not UTF-8 are written as `\\xNN`.
        raw: the same, byte for byte; None where the source is a file, which still has it.
        at: milliseconds since 1970, as in `SourceRows.times`; None where the source has no times.
    """

    position: int
    rule: str
    text: str
    raw: bytes | None = None
    at: int | None = None


@dataclass(frozen=True)
class SourceRows:
    """A stretch of one partition of a source, as read and not yet judged.

    Attributes:
        rows: the contract's source columns, in contract order, uncleaned. Text may still be `binary` (UTF-8 not
            yet checked) and may be dictionary-encoded. A column whose values have no common type is text with
            each value in JSON, and the rows that cannot be that are in `misfits`.
        partition: the file's path, or `topic/partition`.
        positions: int64, one a row: the row number in the file, the first data row being 1, or the offset.
        broken: what lay between those rows and is no row.
        text_only: whether the source knows no types (CSV), so that numbers are always read from text.
        misfits: column → row indexes whose value is of a kind the column's type cannot hold (a list, an object, a
            number where text is wanted …); the validator rejects them. It has a key, perhaps with no rows, for
            every column whose values the source turned into text: the others are read from that text.
        raw: each row as it was, byte for byte; None where the source is a file, which still has it.
        times: each row's time in the source (timestamp[ms, UTC], null where it has none); None where rows have none.
            It is the event time of a record that names none.
    """

    rows: pa.RecordBatch
    partition: str
    positions: pa.Int64Array
    broken: tuple[BrokenLine, ...] = ()
    text_only: bool = False
    misfits: dict[str, list[int]] | None = None
    raw: Sequence[bytes] | None = None
    times: pa.TimestampArray | None = None

    @property
    def count(self) -> int:
        """Rows and broken lines."""
        return self.rows.num_rows + len(self.broken)

    @property
    def size(self) -> int:
        """Bytes of them, where they are kept as they were."""
        return sum(map(len, self.raw or ())) + sum(len(line.raw or b"") for line in self.broken)

    def first(self, count: int) -> SourceRows:
        """The first `count` rows and broken lines, at least 1; of a source that keeps no row as it was."""
        if self.count <= count:
            return self
        positions = self.positions.to_numpy()
        last = np.sort(np.append(positions, [line.position for line in self.broken]))[count - 1]
        kept = int(np.searchsorted(positions, last, side="right"))
        misfits = {name: [n for n in indexes if n < kept] for name, indexes in (self.misfits or {}).items()} or None
        return replace(
            self,
            rows=self.rows.slice(0, kept),
            positions=self.positions.slice(0, kept),
            broken=tuple(line for line in self.broken if line.position <= last),
            misfits=misfits,
        )
