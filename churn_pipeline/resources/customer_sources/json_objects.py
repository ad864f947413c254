"""One JSON object in bytes, or the rule that they break: the same judgement for a line of a file and for a message.

Keys must differ, in objects inside the object too. Belongs here: bytes to a dictionary. Does not: lines
(`json_lines.py`), messages (`json_messages.py`), what the values must be (`typed_columns.py`).
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

_decode = msgspec.json.Decoder(dict[str, Any]).decode

_SPACES_BEFORE_COLON = (b" :", b"\t:", b"\n:", b"\r:")


class _KeyTwice(ValueError):
    """An object has a key more than once."""


def is_spaced(text: bytes) -> bool:
    """Whether keys may be written so that counting `":` misses them."""
    return any(space in text for space in _SPACES_BEFORE_COLON)


def object_in(text: bytes, *, spaced: bool) -> dict[str, Any] | str:
    """The object that `text` is, or the rule that it breaks.

    Args:
        spaced: what `is_spaced` says of the text, or of more than it.

    Returns:
        `not_json` also stands for escaped halves of a character (lone surrogates) and for nesting that no parser
        follows; `number_out_of_range` for numbers beyond what a double holds.
    """
    try:
        record: dict[str, Any] = _decode(text)
        # Decoders let the last of two equal keys win: look closely if more keys may be written than were kept.
        if not _has_keys(record, text.count(b":" if spaced else b'":')):
            json.loads(text, object_pairs_hook=_unique)
    except UnicodeDecodeError:
        return "not_utf8"
    except _KeyTwice:
        return "duplicate_key"
    except msgspec.ValidationError as error:
        return "not_an_object" if "Expected `object`" in str(error) else "number_out_of_range"
    except (ValueError, RecursionError):
        return "not_json"
    return record


def _has_keys(record: dict[str, Any], written: int) -> bool:
    """Whether an object, with those inside it, has this many keys."""
    kept = len(record)
    waiting = [] if kept == written else [*record.values()]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            kept += len(value)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return kept == written


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise _KeyTwice
    return record
