"""How the messages of a topic are written: the keys of one of them, as a decoder for all that have just these keys.

A producer writes the same keys again and again. A decoder that knows them, and what the contract allows for each, is
three times as fast as one that takes whatever comes, and what it takes is certain: every key is there, none is there
that it does not know, no value is of a kind that the contract's column could not hold.

Belongs here: a message in, decoder out, and whether a key comes twice. Does not: messages that are written otherwise
(`json_messages.py`), judging values (`contract/validation.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

import msgspec
import numpy as np

from churn_pipeline.contract.columns import ColumnRules
from churn_pipeline.resources.customer_sources.json_objects import is_spaced
from churn_pipeline.resources.customer_sources.message_rows import fields_of

_SCALAR = str | int | float | bool | None
_TYPES: dict[str, Any] = {
    "number": int | float,
    "integer": int | float,
    "boolean": bool | int,
    "text": str | int,
    "timestamp": str,
}
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
_QUOTE, _COLON, _SPACE = b'": '


@dataclass(frozen=True)
class MessageShape:
    """A decoder for messages of one shape.

    Attributes:
        decode: takes bytes. Raises msgspec.DecodeError or UnicodeDecodeError for a message of another shape, or with a
            value that no contract type holds.
        keys: how many keys such a message has, those of objects inside it too.
        places: for each column of the contract, which key of the record is its own; None where the shape lacks it.
        envelope: the attributes that lead from a decoded message to its record; none where the message is.
    """

    decode: Callable[[bytes], msgspec.Struct]
    keys: int
    places: Sequence[int | None]
    envelope: Sequence[str]

    def columns(self, decoded: Sequence[msgspec.Struct]) -> list[Sequence[Any]]:
        """n decoded messages as the contract's columns, each of n values."""
        records = decoded
        for attribute in self.envelope:
            records = [getattr(message, attribute) for message in records]
        found = list(zip(*map(msgspec.structs.astuple, records), strict=True))
        return [[None] * len(decoded) if n is None or not found else found[n] for n in self.places]

    def may_have_key_twice(self, decodable: Sequence[bytes]) -> list[bool]:
        """Which of the messages, each of this shape, may have a key twice; the others surely have not.

        A decoder lets the last of two equal keys win. Each of these messages has at least `keys` keys, so if all of
        them together have no more colons that may follow a key, there is none to spare.
        """
        codes = np.frombuffer(b"".join(decodable), np.uint8)
        colons, before = codes[1:] == _COLON, codes[:-1]
        enough = self.keys * len(decodable)
        if np.count_nonzero(colons) == enough:
            return [False] * len(decodable)
        if np.count_nonzero(colons & (before == _QUOTE)) == enough and not (colons & (before <= _SPACE)).any():
            return [False] * len(decodable)
        return [text.count(b":" if is_spaced(text) else b'":') != self.keys for text in decodable]


def shape_of(message: Mapping[str, Any], rules: Sequence[ColumnRules], envelope: str | None) -> MessageShape | None:
    """The decoder for messages written like this one; None if they surely break the contract, or none can be made.

    Args:
        message: decoded; of the contract's columns the keys count and the values do not.
        envelope: where the record, an object, is in it; None where the message is.
    """
    path = fields_of(envelope)
    outer = [message]
    for field in path:
        outer.append(outer[-1][field])
    record = outer.pop()
    if any(r.source not in record and not r.nullable for r in rules):
        return None
    try:
        struct = _struct(record, {r.source: _type_of(r) for r in rules})
        for around, field in zip(reversed(outer), reversed(path), strict=True):
            struct = _struct(around, {field: struct})
    except ValueError:  # a key that msgspec cannot know by name: a quote, a backslash or a control character in it
        return None
    keys = list(record)
    return MessageShape(
        msgspec.json.Decoder(struct).decode,
        _keys(struct),
        [keys.index(r.source) if r.source in record else None for r in rules],
        [_field(list(around).index(field)) for around, field in zip(outer, path, strict=True)],
    )


def codes_of(allowed: Sequence[str]) -> dict[Any, int]:
    """Where each allowed text stands among them; an integer is as good as its text."""
    codes: dict[Any, int] = {text: code for code, text in enumerate(allowed)}
    return codes | {int(text): code for text, code in codes.items() if _INTEGER.fullmatch(text)}


def _type_of(rules: ColumnRules) -> Any:
    # Texts that are known beforehand are not made anew for each message.
    found = Literal[tuple(codes_of(rules.allowed))] if rules.allowed else _TYPES[rules.kind]
    if rules.kind in ("number", "integer") and rules.cleaning.number_from_text:
        found |= str
    return Union[found, None] if rules.nullable else found  # noqa: UP007  `found` is no type to mypy


def _struct(example: Mapping[str, Any], types: Mapping[str, Any]) -> type[msgspec.Struct]:
    """Every key is required, and only scalars and lists of them stand where the contract does not look."""
    fields = [(_field(n), types.get(key) or _like(value)) for n, (key, value) in enumerate(example.items())]
    names = {_field(n): key for n, key in enumerate(example)}
    # Not tracked by the garbage collector: what is decoded from JSON holds no cycle.
    return msgspec.defstruct("Message", fields, rename=names, gc=False, forbid_unknown_fields=True)


def _field(n: int) -> str:
    return f"f{n}"


def _like(value: Any) -> Any:
    if isinstance(value, dict):
        return _struct(value, {})
    return list[_SCALAR] if isinstance(value, list) else _SCALAR


def _keys(struct: type[msgspec.Struct]) -> int:
    types = [field.type for field in msgspec.structs.fields(struct)]
    return len(types) + sum(_keys(t) for t in types if isinstance(t, type) and issubclass(t, msgspec.Struct))
