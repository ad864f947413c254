"""JSON messages of a topic as customer rows: one object a message, or inside it, in its envelope.

A key that a message does not have is a missing value; keys the contract does not name are ignored. A message that is
no such object, has a key twice or passes a limit becomes a broken line. Most messages of a topic are written alike
and are decoded by their shape; any other is decoded as it comes, and the validator names every rule that it breaks.
Which of the two ways a message took shows in nothing.

Belongs here: messages to rows. Does not: shapes (`message_shapes.py`), one object (`json_objects.py`), what types
become (`typed_columns.py`), fetching messages (`resources/topics/`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from churn_pipeline.contract.columns import ColumnRules, rules_of
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import BrokenLine, SourceRows
from churn_pipeline.resources.customer_sources.json_objects import is_spaced, object_in
from churn_pipeline.resources.customer_sources.message_rows import broken_line, record_in, source_rows
from churn_pipeline.resources.customer_sources.message_shapes import MessageShape, codes_of, shape_of
from churn_pipeline.resources.customer_sources.typed_columns import (
    FittedColumn,
    WantedColumn,
    from_values,
    wanted_columns,
)
from churn_pipeline.resources.topics.base import Messages

#: Messages to decode before their values go to the columns: few enough to be in the processor's cache still.
_BLOCK = 256
#: Messages looked at to learn how the others are written.
_EXAMPLES = 8
_ANOTHER_SHAPE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
# A text that is not closed ends with the message; possessive, so that no byte is looked at twice.
_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_DEEPER = np.zeros(256, np.int8)
_DEEPER[list(b"[{")], _DEEPER[list(b"]}")] = 1, -1


@dataclass(frozen=True)
class MessageLimits:
    """What a message may cost; what passes a limit is never parsed.

    Attributes:
        bytes: of the whole message.
        fields: keys in it, those of objects inside it too.
        depth: objects and arrays inside each other, the outermost counted.
    """

    bytes: int = 1_000_000
    fields: int = 1_000
    depth: int = 32


class JsonMessages:
    """Reads the JSON messages of one topic; remembers how they are written from one call to the next.

    Args:
        envelope: keys that lead to the record, with dots; None where the message is.
        with_label: read the label column too.
    """

    def __init__(
        self,
        contract: Contract,
        limits: MessageLimits | None = None,
        envelope: str | None = None,
        *,
        with_label: bool = False,
    ) -> None:
        self._limits = limits or MessageLimits()
        self._envelope = envelope
        self._id = contract.id.column
        self._wanted = wanted_columns(contract, with_label=with_label)
        self._rules = rules_of(contract, with_label=with_label)
        self._shape: MessageShape | None = None

    def rows(self, messages: Messages) -> Iterator[SourceRows]:
        """Every message once, as a row or as a broken line.

        Returns:
            One `SourceRows`, or two where messages were decoded in both ways; a customer's are all in one of them,
            in the order of their offsets. None for no messages.
        """
        alike = _Alike([[] for _ in self._wanted])
        others = self._take_alike(messages.values, alike)
        records, broken = self._one_by_one(messages, others)
        if records and (divided := alike.take_out({_name(record.get(self._id)) for record in records.values()})):
            records, broken = self._one_by_one(messages, sorted(others + divided))
        if alike.rows:
            found = zip(self._wanted, self._rules, alike.columns, strict=True)
            columns = {w.name: _fitted(values, w, rules) for w, rules, values in found}
            yield source_rows(messages, alike.rows, columns, broken)
            broken = []
        if records or broken:
            columns = {w.name: from_values([r.get(w.name) for r in records.values()], w) for w in self._wanted}
            yield source_rows(messages, list(records), columns, broken)

    def _take_alike(self, values: Sequence[bytes | None], alike: _Alike) -> list[int]:
        """Decode what is surely of one shape, block by block; returns the others."""
        if self._shape is None:
            self._learn(values[:_EXAMPLES])
        others: list[int] = []
        for start in range(0, len(values), _BLOCK):
            block = range(start, min(start + _BLOCK, len(values)))
            refused = self._take_block(values, block, alike)
            others += refused
            if 2 * len(refused) > len(block):
                self._learn(values[i] for i in refused[:_EXAMPLES])
        return others

    def _take_block(self, values: Sequence[bytes | None], block: range, alike: _Alike) -> list[int]:
        shape, limit = self._shape, self._limits.bytes
        if shape is None:
            return list(block)
        # Nothing is no object: what must not be parsed is refused as that.
        texts = [value if value and len(value) <= limit else b"" for value in values[block.start : block.stop]]
        refused, decoded, left = set[int](), list[msgspec.Struct](), map(shape.decode, texts)
        while block.start + len(refused) + len(decoded) < block.stop:
            try:
                # No line of Python is run for a message; those before one that is refused are kept.
                decoded.extend(left)
            except _ANOTHER_SHAPE:
                refused.add(block.start + len(refused) + len(decoded))
        rows = _without(block, refused)
        doubtful = shape.may_have_key_twice([texts[i - block.start] for i in rows] if refused else texts)
        if any(doubtful):
            refused.update(compress(rows, doubtful))
            decoded = list(compress(decoded, [not doubt for doubt in doubtful]))
            rows = _without(block, refused)
        alike.add(rows, shape.columns(decoded))
        return sorted(refused)

    def _learn(self, examples: Iterable[bytes | None]) -> None:
        """Take the shape of the first example that has one."""
        for value in examples:
            message = self._object(value)
            if isinstance(message, dict) and isinstance(record_in(message, self._envelope), dict):
                shape = shape_of(message, self._rules, self._envelope)
                if shape is not None:
                    self._shape = shape
                    return

    def _one_by_one(
        self, messages: Messages, rows: Iterable[int]
    ) -> tuple[dict[int, Mapping[str, Any]], list[BrokenLine]]:
        """Decode each as it comes: records by row, and what is none."""
        records, broken = dict[int, Mapping[str, Any]](), list[BrokenLine]()
        for i in rows:
            message = self._object(messages.values[i])
            record = message if isinstance(message, str) else record_in(message, self._envelope)
            if isinstance(record, str):
                broken.append(broken_line(messages, i, record))
            else:
                records[i] = record
        return records, broken

    def _object(self, value: bytes | None) -> dict[str, Any] | str:
        """The object that a message is, or the rule that it breaks."""
        if value is None:
            return "tombstone"
        if not value:
            return "empty_message"
        if rule := _limit_passed(value, self._limits):
            return rule
        if value.startswith(b"\xef\xbb\xbf"):
            return "byte_order_mark"
        return object_in(value, spaced=is_spaced(value))


@dataclass
class _Alike:
    """Messages that were decoded by their shape.

    Attributes:
        columns: of each column of the contract, in its order, a value for each of the rows. The first is the id.
    """

    columns: list[list[Any]]
    rows: list[int] = field(default_factory=list)

    def add(self, rows: Sequence[int], columns: Sequence[Sequence[Any]]) -> None:
        self.rows += rows
        for known, new in zip(self.columns, columns, strict=True):
            known += new

    def take_out(self, names: Collection[str]) -> list[int]:
        """Give up the rows of these customers."""
        taken = [_name(value) in names for value in self.columns[0]]
        if not any(taken):
            return []
        given_up, kept = list(compress(self.rows, taken)), [not one for one in taken]
        self.rows = list(compress(self.rows, kept))
        self.columns = [list(compress(values, kept)) for values in self.columns]
        return given_up


def _limit_passed(message: bytes, limits: MessageLimits) -> str | None:
    """The rule of the first limit that a message passes."""
    if len(message) > limits.bytes:
        return "message_too_large"
    if message.count(b":") <= limits.fields and message.count(b"{") + message.count(b"[") <= limits.depth:
        return None
    # Only now is it worth knowing which of them stand in texts.
    outside = _TEXT.sub(b"", message)
    if outside.count(b":") > limits.fields:
        return "too_many_fields"
    steps = _DEEPER[np.frombuffer(outside, np.uint8)]
    return "nested_too_deep" if steps.cumsum(dtype=np.int64).max(initial=0) > limits.depth else None


def _name(value: Any) -> str:
    """What two ids have in common that the validator may take for one; others may share it, too."""
    return str(value).strip()


def _fitted(values: Sequence[Any], wanted: WantedColumn, rules: ColumnRules) -> FittedColumn:
    """A column that was decoded by shape: a category holds nothing but what is allowed."""
    if rules.allowed is None:
        return from_values(values, wanted)
    code_of = {None: -1} | codes_of(rules.allowed)
    codes = np.fromiter(map(code_of.__getitem__, values), np.int32, len(values))
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=codes < 0), pa.array(rules.allowed)), None


def _without(block: range, refused: Collection[int]) -> Sequence[int]:
    return [i for i in block if i not in refused] if refused else block
