"""Every way of spoiling a customer's message that is known here, so that each can be sent on purpose.

Belongs here: good records to bytes that no reader may accept, for any contract, from plain values alone. Does not:
which messages are spoilt (`demo_messages.py`), what readers make of them (`customer_sources/json_messages.py`).

A message larger than brokers take is left out: no broker would hand it on.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from churn_pipeline.contract.columns import ColumnRules, rules_of
from churn_pipeline.contract.definition import Contract

Record = Mapping[str, Any]

#: More than any limit on fields, or on nesting, that a reader would set.
_TOO_MANY = 5_000

_NUMBERS = ("number", "integer")
#: Stands in a record for bytes that are no JSON; no customer's value holds a NUL.
_PLACE = "\0place\0"

#: Keeps decimals numbers; what JSON has no form for becomes text.
encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


@dataclass(frozen=True)
class Variant:
    """One way of being malformed, in one column where it is a column's.

    Attributes:
        name: `way`, or `way:column`.
        spoil: a good record, and the envelope it should be in, to the message's value; None is a tombstone.
    """

    name: str
    spoil: Callable[[Record, str | None], bytes | None]


def variants(contract: Contract, envelope: str | None = None) -> list[Variant]:
    """Every way × every column of the contract that it breaks; the order is always the same."""
    found = [Variant(way, _in_message(spoil)) for way, spoil in IN_MESSAGE.items()]
    if envelope:
        found += [Variant(way, _in_envelope(spoil)) for way, spoil in IN_ENVELOPE.items()]
    for rules in rules_of(contract):
        found += [
            Variant(f"{way}:{rules.source}", _in_column(spoil, rules))
            for way, (breaks, spoil) in IN_COLUMN.items()
            if breaks(rules)
        ]
    return found


def message(record: Record | msgspec.Raw, envelope: str | None) -> bytes:
    """A record as a message, in its envelope if there is one."""
    return encode(_wrapped(record, envelope) if envelope else record)


def _wrapped(value: Any, envelope: str) -> dict[str, Any]:
    """What a reader that is told this envelope finds the value in."""
    for field in reversed(envelope.split(".")):
        value = {field: value}
    return value


def _in_message(spoil: Callable[[bytes], bytes | None]) -> Callable[[Record, str | None], bytes | None]:
    return lambda record, envelope: spoil(message(record, envelope))


def _in_envelope(spoil: Callable[[Record, str], object]) -> Callable[[Record, str | None], bytes]:
    return lambda record, envelope: encode(spoil(record, envelope or ""))


def _in_column(
    spoil: Callable[[Record, ColumnRules], Record | bytes], rules: ColumnRules
) -> Callable[[Record, str | None], bytes]:
    def spoilt(record: Record, envelope: str | None) -> bytes:
        found = spoil(record, rules)
        return message(msgspec.Raw(found) if isinstance(found, bytes) else found, envelope)

    return spoilt


# --- values of a column


def _value(wrong: Callable[[ColumnRules], Any]) -> Callable[[Record, ColumnRules], Record]:
    """Another value in the column."""
    return lambda record, rules: {**record, rules.source: wrong(rules)}


def _written(text: bytes) -> Callable[[Record, ColumnRules], bytes]:
    """In the column, what no encoder would write."""

    def spoilt(record: Record, rules: ColumnRules) -> bytes:
        return encode({**record, rules.source: _PLACE}).replace(encode(_PLACE), text)

    return spoilt


def _without(record: Record, rules: ColumnRules) -> Record:
    return {name: value for name, value in record.items() if name != rules.source}


def _twice(record: Record, rules: ColumnRules) -> bytes:
    return encode({rules.source: record.get(rules.source)})[:-1] + b"," + encode({**record, rules.source: "again"})[1:]


def _in_other_case(rules: ColumnRules) -> list[str]:
    allowed = rules.allowed or ()
    return [word.swapcase() for word in allowed if word.swapcase() not in allowed]


def _beyond(bound: float | None, direction: int) -> float:
    assert bound is not None
    return bound + direction * max(1, abs(bound))


# --- which columns a way breaks


def _any(rules: ColumnRules) -> bool:
    del rules
    return True


def _is_number(rules: ColumnRules) -> bool:
    return rules.kind in _NUMBERS


def _is_kind(*kinds: str) -> Callable[[ColumnRules], bool]:
    return lambda rules: rules.kind in kinds


def _is_required(rules: ColumnRules) -> bool:
    return not rules.nullable


def _wants_typed_numbers(rules: ColumnRules) -> bool:
    return rules.kind in _NUMBERS and not rules.cleaning.number_from_text


def _takes_no_blank(rules: ColumnRules) -> bool:
    return not (rules.nullable and rules.cleaning.blank_to_null) and (rules.kind != "text" or rules.identifies)


def _takes_no_white_space(rules: ColumnRules) -> bool:
    return rules.kind == "category" and not rules.cleaning.trim


#: Way → which columns it breaks, and the record, or the bytes of one, that it makes of a good one.
IN_COLUMN: dict[str, tuple[Callable[[ColumnRules], bool], Callable[[Record, ColumnRules], Record | bytes]]] = {
    "missing_key": (_is_required, _without),
    "null": (_is_required, _value(lambda _: None)),
    "duplicated_key": (_any, _twice),
    "list": (_any, _value(lambda _: ["a", "b"])),
    "object": (_any, _value(lambda _: {"value": 1})),
    "truth_value": (_is_kind("number", "integer", "text", "category", "timestamp"), _value(lambda _: True)),
    "empty_text": (_takes_no_blank, _value(lambda _: "")),
    "word_for_number": (_is_number, _value(lambda _: "many")),
    "number_as_text": (_wants_typed_numbers, _value(lambda _: "12")),
    "number_with_unit": (_is_number, _value(lambda _: "12.50 USD")),
    "decimal_comma": (_is_number, _value(lambda _: "12,50")),
    "below_minimum": (lambda r: r.min is not None, _value(lambda r: _beyond(r.min, -1))),
    "above_maximum": (lambda r: r.max is not None, _value(lambda r: _beyond(r.max, 1))),
    "fraction": (_is_kind("integer"), _value(lambda r: math.floor(r.min or 0) + 0.5)),
    "over_64_bits": (_is_kind("integer"), _value(lambda _: 2**70)),
    "beyond_doubles": (_is_number, _written(b"1e999")),
    "nan": (_is_number, _written(b"NaN")),
    "infinity": (_is_number, _written(b"-Infinity")),
    "hexadecimal": (_is_number, _written(b"0x1F")),
    "leading_zero": (_is_number, _written(b"007")),
    "plus_sign": (_is_number, _written(b"+7")),
    "bare_comma": (_is_number, _written(b"12,50")),
    "unknown_category": (_is_kind("category"), _value(lambda r: "?".join(r.allowed or ()) + "?")),
    "category_in_other_case": (lambda r: bool(_in_other_case(r)), _value(lambda r: _in_other_case(r)[0])),
    "category_padded": (_takes_no_white_space, _value(lambda r: f" {(r.allowed or ('',))[0]} ")),
    "number_for_text": (_is_kind("text", "category", "timestamp"), _value(lambda _: 1.5)),
    "word_for_truth_value": (_is_kind("boolean"), _value(lambda _: "maybe")),
    "number_for_truth_value": (_is_kind("boolean"), _value(lambda _: 2)),
    "no_time": (_is_kind("timestamp"), _value(lambda _: "yesterday")),
    "impossible_time": (_is_kind("timestamp"), _value(lambda _: "2026-13-45T25:61:00Z")),
    "invalid_utf8": (_is_kind("text", "category"), _written(b'"caf\xe9"')),
    "half_a_character": (_is_kind("text", "category"), _written(b'"\\ud83d"')),
    "line_break_in_text": (_is_kind("text", "category"), _written(b'"two\nlines"')),
    "bad_escape": (_is_kind("text", "category"), _written(b'"C:\\users"')),
    "text_not_closed": (_is_kind("text", "category"), _written(b'"open')),
    "text_not_quoted": (_is_kind("text", "category"), _written(b"bare")),
    "value_left_out": (_any, _written(b"")),
    "python_none": (_any, _written(b"None")),
}

#: Way → what it makes of a good message.
IN_MESSAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "tombstone": lambda _: None,
    "empty": lambda _: b"",
    "blank": lambda _: b" \n",
    "truncated": lambda good: good[: len(good) // 2],
    "last_byte_lost": lambda good: good[:-1],
    "first_byte_lost": lambda good: good[1:],
    "two_objects": lambda good: good + good,
    "two_lines": lambda good: good + b"\n" + good,
    "trailing_comma": lambda good: good[:-1] + b",}",
    "trailing_garbage": lambda good: good + b";",
    "comment": lambda good: good[:-1] + b"/* end */}",
    "single_quotes": lambda good: good.replace(b'"', b"'"),
    "byte_order_mark": lambda good: b"\xef\xbb\xbf" + good,
    "utf16": lambda good: good.decode().encode("utf-16"),
    "framed_for_a_schema_registry": lambda good: b"\0\0\0\0\1" + good,
    "nul_bytes": lambda good: good + b"\0\0",
    "gzip": lambda good: gzip.compress(good, mtime=0),
    "in_a_list": lambda good: b"[" + good + b"]",
    "json_in_json": lambda good: encode(good.decode()),
    "number": lambda _: b"42",
    "null_value": lambda _: b"null",
    "csv": lambda good: b";".join(good.split(b",")).replace(b"{", b"").replace(b"}", b""),
    "markup": lambda _: b"<html><body>502 Bad Gateway</body></html>",
    "random_bytes": lambda _: bytes(range(256)),
    "nested_too_deep": lambda good: good[:-1] + b',"deep":' + b"[" * _TOO_MANY + b"]" * _TOO_MANY + b"}",
    "too_many_fields": lambda good: good[:-1] + b"," + b",".join(b'"extra%d":0' % n for n in range(_TOO_MANY)) + b"}",
}

#: Way → what it makes of a good record and the name of its envelope.
IN_ENVELOPE: dict[str, Callable[[Record, str], object]] = {
    "envelope_missing": lambda record, envelope: {f"not_{envelope}": record},
    "envelope_null": lambda _, envelope: _wrapped(None, envelope),
    "envelope_holds_text": lambda record, envelope: _wrapped(encode(record).decode(), envelope),
    "envelope_holds_list": lambda record, envelope: _wrapped([record], envelope),
    "envelope_twice": lambda record, envelope: msgspec.Raw(
        message(record, envelope)[:-1] + b"," + message(record, envelope)[1:]
    ),
}
