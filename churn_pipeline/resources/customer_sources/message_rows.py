"""Rows and broken lines made of the messages of one partition, whatever their format.

Belongs here: what every format gives of a message that it has decoded or refused. Does not: decoding
(`json_messages.py`, `avro_messages.py`), what types become (`typed_columns.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from churn_pipeline.contract.rows import BrokenLine, SourceRows
from churn_pipeline.resources.customer_sources.typed_columns import FittedColumn, rows_of
from churn_pipeline.resources.topics.base import Messages

#: Bytes shown of a message that is too large; all of it is kept beside.
_BYTES_SHOWN = 1_000
#: Milliseconds from 1970 to the end of the year 9999, the last that Python and the tables know.
_LAST_TIME = 253_402_300_799_999


def source_rows(
    messages: Messages, rows: Sequence[int], columns: dict[str, FittedColumn], broken: Sequence[BrokenLine]
) -> SourceRows:
    """Some of the messages, whose values are `columns`, and what is broken among them or the others.

    Args:
        rows: indexes in `messages`, one for each value of a column.
    """
    found = rows_of(columns, f"{messages.topic}/{messages.partition}", picked(messages.offsets, rows), broken)
    given = np.array(picked(messages.timestamps, rows), np.int64)
    times = pa.array(given, mask=(given < 0) | (given > _LAST_TIME)).cast(pa.timestamp("ms", "UTC"))
    return replace(found, raw=picked(messages.values, rows), times=times)


def broken_line(messages: Messages, row: int, rule: str) -> BrokenLine:
    """The message at this index, which is no row."""
    value = messages.values[row]
    shown = (value or b"")[: _BYTES_SHOWN if rule == "message_too_large" else None]
    text = shown.decode(errors="backslashreplace")
    return BrokenLine(messages.offsets[row], rule, text, value, _time(messages.timestamps[row]))


def record_in(message: Mapping[str, Any], envelope: str | None) -> Mapping[str, Any] | str:
    """The record in a message, or the rule that its envelope breaks."""
    record: Any = message
    for field in fields_of(envelope):
        if field not in record:
            return "envelope_missing"
        record = record[field]
        if record is None:
            return "envelope_null"
        if not isinstance(record, dict):
            return "envelope_not_an_object"
    return record


def fields_of(envelope: str | None) -> Sequence[str]:
    """The fields that lead from a message to its record, the outermost first: none where the message is the record."""
    return envelope.split(".") if envelope else ()


def picked(values: Sequence[Any], rows: Sequence[int]) -> Sequence[Any]:
    """The values at these indexes, which are all of them or some, in order."""
    return values if len(rows) == len(values) else [values[i] for i in rows]


def _time(timestamp: int) -> int | None:
    """A message need not have a time, and a producer may send one that no calendar has."""
    return timestamp if 0 <= timestamp <= _LAST_TIME else None
