"""One column at a time: cleaned as the contract allows, read as its type, held against its rules.

Belongs here: vectorised judgement of an Arrow array. Does not: rows, quarantine and the id (`validation.py`),
pandas (`frame_schema.py`).

A cell that cannot be read as its type becomes null and is reported; nothing is guessed.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from churn_pipeline.contract.definition import ARROW_TYPES, Cleaning, Contract

Mask = npt.NDArray[np.bool_]

#: Characters of the longest id. Ids are keys of messages, and a key that no broker takes would hold up its batch.
LONGEST_ID = 1_000

#: A fraction of a second beyond microseconds, which is all that the tables hold.
_FINER = r"(\.[0-9]{6})[0-9]{1,3}(Z|[+-][0-9:]+|)$"

#: What a cell is called that cannot be read as its type.
UNREADABLE = {
    "number": "not_a_number",
    "integer": "not_an_integer",
    "boolean": "not_a_boolean",
    "timestamp": "not_a_time",
    "category": "not_text",
    "text": "not_text",
}


@dataclass(frozen=True)
class ColumnRules:
    """What the contract says of one source column.

    Attributes:
        name: column in the `customers` table.
        source: column in the customer's file.
        kind: a contract type, or `timestamp`.
        identifies: the id; an empty text identifies nobody and counts as missing, one past `LONGEST_ID` is refused.
    """

    name: str
    source: str
    kind: str
    nullable: bool = False
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] | None = None
    cleaning: Cleaning = field(default_factory=Cleaning)
    identifies: bool = False


@dataclass
class Judged:
    """A column after judgement.

    Attributes:
        values: n values of the contract's Arrow type; null where the cell is missing or unreadable.
        broken: rule → mask of the n rows that broke it.
        cleaned: cells the contract's cleaning changed.
    """

    values: pa.Array
    broken: dict[str, Mask]
    cleaned: int = 0


def rules_of(contract: Contract, *, with_label: bool = False) -> list[ColumnRules]:
    """The contract's columns in the order of `Contract.columns`."""
    id_ = contract.id
    found = [ColumnRules(id_.column, id_.column, "text", cleaning=id_.cleaning, identifies=True)]
    if event := contract.event_time:
        found.append(ColumnRules("event_at", event.column, "timestamp", nullable=event.nullable))
    if with_label and (label := contract.label):
        allowed = (label.positive, label.negative)
        found.append(ColumnRules("churned", label.column, "category", allowed=allowed))
    for name, feature in contract.features.items():
        found.append(
            ColumnRules(
                name,
                feature.source or name,
                feature.type,
                feature.nullable,
                feature.min,
                feature.max,
                feature.allowed,
                feature.cleaning,
            )
        )
    return found


def judge(column: pa.Array, rules: ColumnRules, *, text_only: bool = False, misfits: list[int] | None = None) -> Judged:
    """Clean, read and check one column.

    Args:
        column: n cells as read from the source.
        text_only: the source knows no types, so text is read as whatever the contract says.
        misfits: rows whose cell no contract type can hold.
    """
    unreadable = np.zeros(len(column), dtype=bool)
    broken: dict[str, Mask] = {}
    if misfits:
        unreadable[misfits] = True
    values, not_utf8 = _as_text_if_binary(column)
    if not_utf8.any():
        broken["not_utf8"] = not_utf8
    values, cleaned = _clean(values, rules.cleaning)
    missing = _missing(values) & ~not_utf8 & ~unreadable
    # A source that wrote values of several kinds as text has said which of them are misfits.
    values, failed = _read(values, rules, text_only or misfits is not None)
    unreadable |= failed
    if unreadable.any():
        broken[UNREADABLE[rules.kind]] = unreadable
        values = pc.if_else(pa.array(~unreadable), values, pa.scalar(None, values.type))
    if rules.identifies and pc.any(empty := pc.equal(values, "").fill_null(False)).as_py():
        missing |= _mask(empty)
    if not rules.nullable and missing.any():
        broken["missing"] = missing
    broken.update(_out_of_bounds(values, rules))
    return Judged(values, broken, cleaned)


def _as_text_if_binary(column: pa.Array) -> tuple[pa.Array, Mask]:
    """Bytes as text, with the rows that are not UTF-8."""
    if pat.is_dictionary(column.type):
        words, bad = _as_text_if_binary(column.dictionary)
        if words is column.dictionary:
            return column, np.zeros(len(column), dtype=bool)
        codes = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        mask = (bad[codes] & _mask(column.is_valid())) if bad.any() else np.zeros(len(column), dtype=bool)
        if words.null_count:
            # Parquet takes no dictionary that holds a missing value.
            return words.take(column.indices).dictionary_encode(), mask
        return pa.DictionaryArray.from_arrays(column.indices, words), mask
    if pat.is_binary(column.type) or pat.is_large_binary(column.type):
        return read_as(column, pa.string())
    if pat.is_large_string(column.type) or pat.is_string_view(column.type):
        return column.cast(pa.string()), np.zeros(len(column), dtype=bool)
    return column, np.zeros(len(column), dtype=bool)


def _clean(values: pa.Array, cleaning: Cleaning) -> tuple[pa.Array, int]:
    """Apply the allowed repairs to text; counts the cells that changed."""
    if not (cleaning.trim or cleaning.blank_to_null):
        return values, 0
    if pat.is_dictionary(values.type):
        words, changed = _clean(values.dictionary, cleaning)
        if not changed:
            return values, 0
        differs = ~_mask(pc.equal(words, values.dictionary).fill_null(False))
        codes = values.indices.drop_null().to_numpy(zero_copy_only=False)
        return words.take(values.indices).dictionary_encode(), int(differs[codes].sum())
    if not pat.is_string(values.type) or _is_trim(values):
        return values, 0
    trimmed = pc.utf8_trim_whitespace(values)
    result = trimmed if cleaning.trim else values
    if cleaning.blank_to_null:
        result = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), result)
    same = pc.equal(result, values).fill_null(False)
    return result, len(values) - values.null_count - int(pc.sum(same).as_py() or 0)


def _is_trim(values: pa.Array) -> bool:
    """Whether no text is empty, and none can have white space around it, as the bytes of all of them say."""
    if _holds(values, lambda codes: (codes <= 32) | (codes >= 127)):
        return False
    return not pc.any(pc.equal(pc.binary_length(values), 0)).as_py()


def _holds(values: pa.Array, wanted: Callable[[npt.NDArray[np.uint8]], Mask]) -> bool:
    """Whether the texts, or others that share their memory, hold such a byte."""
    data = values.buffers()[2]
    return data is not None and bool(wanted(np.frombuffer(data, np.uint8)).any())


def _read(values: pa.Array, rules: ColumnRules, text_only: bool) -> tuple[pa.Array, Mask]:
    """Read cells as the contract's type; returns the rows that cannot be."""
    target = ARROW_TYPES[rules.kind]
    if rules.kind == "category":
        return _as_category(values)
    if pat.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pat.is_null(values.type):
        return pa.nulls(len(values), target), np.zeros(len(values), dtype=bool)
    is_text = pat.is_string(values.type)
    may_be_text = {
        "number": text_only or rules.cleaning.number_from_text,
        "integer": text_only or rules.cleaning.number_from_text,
        "boolean": text_only,
        "timestamp": True,
        "text": True,
    }[rules.kind]
    if not (may_be_text if is_text else _has_kind(values.type, rules.kind)):
        return pa.nulls(len(values), target), _mask(values.is_valid())
    if rules.kind == "timestamp":
        return _as_time(values)
    if is_text and rules.kind == "integer" and _holds(values, lambda codes: (codes | 32) == ord("x")):
        # Arrow also reads hexadecimal; nobody who writes `0x10` into a customer table means sixteen.
        values = pc.if_else(pc.match_substring(values, "x", ignore_case=True), "?", values)
    if rules.kind in ("number", "integer") and pat.is_decimal(values.type):
        values = values.cast(pa.float64())
    if rules.kind == "boolean" and pat.is_integer(values.type):
        # Arrow takes any integer but 0 for true; texts of them it reads as they should be.
        values = values.cast(pa.string())
    return read_as(values, target)


def _has_kind(arrow: pa.DataType, kind: str) -> bool:
    """Whether cells of this Arrow type can be read as the contract's type without guessing."""
    is_number = pat.is_integer(arrow) or pat.is_floating(arrow) or pat.is_decimal(arrow)
    return {
        "number": is_number,
        "integer": is_number,
        "boolean": pat.is_boolean(arrow) or pat.is_integer(arrow),
        "timestamp": pat.is_timestamp(arrow) or pat.is_date(arrow),
        "category": pat.is_integer(arrow),
        "text": pat.is_integer(arrow),
    }[kind]


def _as_category(values: pa.Array) -> tuple[pa.Array, Mask]:
    if pat.is_dictionary(values.type):
        words, bad = _as_category_words(values.dictionary)
        if bad.any() or words.null_count:
            return _as_category_words_encoded(values.dictionary_decode())
        if values.type == ARROW_TYPES["category"] and words is values.dictionary:
            return values, np.zeros(len(values), dtype=bool)
        return pa.DictionaryArray.from_arrays(values.indices.cast(pa.int32()), words), np.zeros(len(values), dtype=bool)
    return _as_category_words_encoded(values)


def _as_category_words_encoded(values: pa.Array) -> tuple[pa.Array, Mask]:
    words, bad = _as_category_words(values)
    return words.dictionary_encode(), bad


def _as_category_words(values: pa.Array) -> tuple[pa.Array, Mask]:
    if pat.is_string(values.type):
        return values, np.zeros(len(values), dtype=bool)
    if pat.is_integer(values.type) or pat.is_null(values.type):
        return values.cast(pa.string()), np.zeros(len(values), dtype=bool)
    return pa.nulls(len(values), pa.string()), _mask(values.is_valid())


def _as_time(values: pa.Array) -> tuple[pa.Array, Mask]:
    """Times in UTC; a time that names no zone is UTC already."""
    target, plain = ARROW_TYPES["timestamp"], pa.timestamp("us")
    if not pat.is_string(values.type):
        if pat.is_timestamp(values.type) and values.type.tz:
            return values.cast(target, safe=False), np.zeros(len(values), dtype=bool)
        return pc.assume_timezone(values.cast(plain, safe=False), "UTC"), np.zeros(len(values), dtype=bool)
    without, failed = read_as(values, plain)
    result = pc.assume_timezone(without, "UTC")
    for shorter in (False, True):
        if failed.any():
            left = values.filter(pa.array(failed))
            zoned, failed_too = read_as(_in_microseconds(left) if shorter else left, target)
            result = pc.replace_with_mask(result, pa.array(failed), zoned)
            failed[failed] = failed_too
    return result, failed


def _in_microseconds(texts: pa.Array) -> pa.Array:
    """Times without what is finer: Java and Go write nanoseconds, .NET seven digits; one without a zone gets UTC."""
    texts = pc.replace_substring_regex(texts, _FINER, r"\1\2")
    return pc.replace_substring_regex(texts, r"(\.[0-9]{6})$", r"\1Z")


def read_as(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, Mask]:
    """Cast `values`, with null where Arrow cannot read the cell, and the mask of those cells."""
    failed = np.zeros(len(values), dtype=bool)
    parts = [*_cast(values, target, failed)]
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts), failed


def _cast(values: pa.Array, target: pa.DataType, failed: Mask) -> Iterator[pa.Array]:
    """Cast by halving, so that Arrow's own parser decides about every cell and clean columns cost one call."""
    try:
        yield values.cast(target)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        if len(values) == 1:
            failed[0] = True
            yield pa.nulls(1, target)
            return
        half = len(values) // 2
        yield from _cast(values[:half], target, failed[:half])
        yield from _cast(values[half:], target, failed[half:])


def _out_of_bounds(values: pa.Array, rules: ColumnRules) -> dict[str, Mask]:
    """Range, finiteness and allowed values of the cells that are there."""
    found: dict[str, Mask] = {}
    if rules.allowed is not None:
        # A word that could not be read is null, and has been reported as that.
        known = pc.is_in(values.dictionary, value_set=pa.array(rules.allowed, pa.string()))
        allowed = _mask(pc.or_(known, values.dictionary.is_null()))
        if not allowed.all():
            codes = values.indices.fill_null(0).to_numpy(zero_copy_only=False)
            found["not_allowed"] = ~allowed[codes] & _mask(values.is_valid())
    elif rules.kind == "number" and not pc.all(finite := pc.is_finite(values)).as_py():
        found["not_finite"] = ~_mask(finite.fill_null(True))
    # Characters are counted only where there are so many bytes.
    if rules.identifies and (pc.max(pc.binary_length(values)).as_py() or 0) > LONGEST_ID:
        found["too_long"] = _mask(pc.greater(pc.utf8_length(values), LONGEST_ID).fill_null(False))
    if rules.min is not None or rules.max is not None:
        found.update(_out_of_range(values, rules))
    if "not_finite" in found:
        # An infinite value is one fault, not two.
        for rule in ("below_minimum", "above_maximum"):
            if rule in found:
                found[rule] &= ~found["not_finite"]
    return {rule: mask for rule, mask in found.items() if mask.any()}


def _out_of_range(values: pa.Array, rules: ColumnRules) -> Iterator[tuple[str, Mask]]:
    # Masks are made only where the extremes say that there is something to find; NaN is no extreme, nor out of range.
    extremes = pc.min_max(values)
    if rules.min is not None:
        lowest = pa.scalar(math.ceil(rules.min) if rules.kind == "integer" else rules.min, values.type)
        if pc.less(extremes["min"], lowest).as_py():
            yield "below_minimum", _mask(pc.less(values, lowest).fill_null(False))
    if rules.max is not None:
        highest = pa.scalar(math.floor(rules.max) if rules.kind == "integer" else rules.max, values.type)
        if pc.greater(extremes["max"], highest).as_py():
            yield "above_maximum", _mask(pc.greater(values, highest).fill_null(False))


def _missing(values: pa.Array) -> Mask:
    return _mask(values.is_null()) if values.null_count else np.zeros(len(values), dtype=bool)


def _mask(values: pa.Array) -> Mask:
    result: Mask = values.to_numpy(zero_copy_only=False).astype(bool)
    return result
