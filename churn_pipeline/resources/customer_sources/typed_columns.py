"""Columns of sources that know types (Parquet, JSON, data frames), brought to the few kinds a validator judges.

Values stay what they are: nothing is read as its type here, and nothing repaired. What no contract type can hold
(a list, an object, a truth value where a number is wanted) is kept as JSON for the eye, and its row named a misfit.
One odd value must not cost its neighbours: a column of several kinds becomes text, its misfits are named (perhaps
none), and every other value in it is good to be read from that text, whatever the contract says of text.

Belongs here: one column at a time, and rows made of them. Does not: files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.contract.definition import ARROW_TYPES, Cleaning, Contract
from churn_pipeline.contract.rows import BrokenLine, SourceRows

#: Python types that fit a contract type, as text, where a column holds several.
_FITTING: dict[str, set[type]] = {
    "number": {float, int},
    "integer": {float, int},
    "boolean": {bool, int},
    "category": {str, int},
    "text": {str, int},
    "timestamp": {str},
}

_TEXT_KINDS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
)
_SCALAR_KINDS = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_timestamp,
    pa.types.is_date,
)

#: A column's values, and the indexes of its misfits: None where the values are all of one kind.
FittedColumn = tuple[pa.Array, list[int] | None]


@dataclass(frozen=True)
class WantedColumn:
    """A column to read.

    Attributes:
        kind: contract type, as in `Contract.type_of`.
        cleaning: what the contract repairs: it says which texts are at home among numbers.
    """

    name: str
    kind: str
    cleaning: Cleaning

    def fits(self, value: Any) -> bool:
        """Whether a value of this Python type may stand in the column, if only as text."""
        if value is None or type(value) in _FITTING[self.kind]:
            return True
        if not isinstance(value, str):
            return False
        reads_text = self.cleaning.number_from_text and self.kind in ("number", "integer")
        return reads_text or (self.cleaning.blank_to_null and not value.strip())


def wanted_columns(contract: Contract, *, with_label: bool) -> list[WantedColumn]:
    """The contract's columns, in its order."""
    cleaning = {f.source or name: f.cleaning for name, f in contract.features.items()}
    return [
        WantedColumn(column, contract.type_of(column), cleaning.get(column, Cleaning()))
        for column in contract.columns(with_label=with_label)
    ]


def rows_of(
    columns: dict[str, FittedColumn], partition: str, positions: Iterable[int], broken: Sequence[BrokenLine] = ()
) -> SourceRows:
    """Rows made of fitted columns."""
    rows = pa.RecordBatch.from_arrays([values for values, _ in columns.values()], names=list(columns))
    misfits = {name: indexes for name, (_, indexes) in columns.items() if indexes is not None}
    return SourceRows(rows, partition, pa.array(positions, pa.int64()), tuple(broken), misfits=misfits or None)


def from_arrow(values: pa.Array, kind: str) -> FittedColumn:
    """A column whose source gave it an Arrow type.

    Returns:
        Booleans, numbers, decimals, dates and timestamps as they are; text as string (binary if it is not UTF-8), a
        dictionary where its kind has few values; anything else as JSON, all of it misfits.
    """
    values = _plain(values)
    given = values.type
    if pa.types.is_null(given):
        return pa.nulls(len(values), ARROW_TYPES[kind]), None
    if _is_text(given):
        return _text(values, kind), None
    if pa.types.is_float16(given):
        return values.cast(pa.float32()), None
    if any(is_kind(given) for is_kind in _SCALAR_KINDS):
        return values, None
    shown = [None if value is None else _shown(value) for value in values.to_pylist()]
    return pa.array(shown, pa.string()), [n for n, value in enumerate(shown) if value is not None]


def from_values(values: Sequence[Any], wanted: WantedColumn) -> FittedColumn:
    """A column of plain values, as JSON has them (`None` is a missing value).

    Returns:
        The Arrow type natural to the column's kind; text if all values are text; where they differ in kind, text
        too: each text as it is, any other value in JSON.
    """
    for arrow in _natural(values, wanted.kind):
        try:
            return _encoded(pa.array(values, arrow), wanted.kind), None
        # Another kind, beyond 64 bits, or beyond what a float holds exactly.
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            continue
    shown = pa.array([None if value is None else _shown(value, wanted.kind) for value in values], pa.string())
    return _encoded(shown, wanted.kind), [n for n, value in enumerate(values) if not wanted.fits(value)]


def _natural(values: Sequence[Any], kind: str) -> list[pa.DataType]:
    """Arrow types to try for plain values."""
    if kind in ("category", "text", "timestamp"):
        return [pa.string()]
    # Arrow would take True for 1.0: among numbers the Python types decide.
    types = set(map(type, values)) - {type(None)}
    if kind == "boolean":
        return [pa.int64()] if types == {int} else [pa.bool_()]
    if types == {str}:
        return [pa.string()]
    if not types <= {int, float}:
        return []
    return [pa.int64(), pa.float64()] if kind == "integer" and types <= {int} else [pa.float64()]


def from_objects(values: Iterable[Any], wanted: WantedColumn) -> FittedColumn:
    """A column of Python objects, as a data frame has them: `None`, NaN, NA and NaT are missing values."""
    plain = [_python(value) for value in values]
    try:
        typed = pa.array(plain)
    except (pa.ArrowException, OverflowError):
        return from_values(plain, wanted)
    return from_arrow(typed, wanted.kind)


def _plain(values: pa.Array) -> pa.Array:
    """Without the wrappings that carry no meaning here: extension types, runs, dictionaries of other than text."""
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_run_end_encoded(values.type):
        values = pc.run_end_decode(values)
    if pa.types.is_dictionary(values.type) and not _is_text(values.type.value_type):
        values = values.dictionary_decode()
    return values


def _is_text(given: pa.DataType) -> bool:
    return any(is_kind(given.value_type if pa.types.is_dictionary(given) else given) for is_kind in _TEXT_KINDS)


def _text(values: pa.Array, kind: str) -> pa.Array:
    if pa.types.is_dictionary(values.type) and values.dictionary.null_count:
        values = values.dictionary_decode()
    if pa.types.is_dictionary(values.type):
        words = _utf8_or_binary(values.dictionary)
        if values.type == pa.dictionary(pa.int32(), words.type):
            return values
        return pa.DictionaryArray.from_arrays(values.indices.cast(pa.int32()), words)
    return _encoded(_utf8_or_binary(values), kind)


def _encoded(values: pa.Array, kind: str) -> pa.Array:
    return values.dictionary_encode() if kind in ("category", "boolean") and _is_text(values.type) else values


def _utf8_or_binary(words: pa.Array) -> pa.Array:
    # By way of binary: Parquet files may call text what is not UTF-8, and only this cast looks.
    raw = words if pa.types.is_binary(words.type) else words.cast(pa.binary())
    try:
        return raw.cast(pa.string())
    except pa.ArrowInvalid:
        return raw


def _python(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # a lone surrogate: bytes that are not UTF-8, for the validator to reject
            return value.encode(errors="surrogatepass")
    if isinstance(value, float) and math.isnan(value):
        return None
    return None if type(value).__name__ in ("NAType", "NaTType") else value


def _shown(value: Any, kind: str = "") -> str:
    """Text as it is, any other value in JSON; 3.0 is the integer 3, as it is in a column of numbers only."""
    if isinstance(value, str):
        return value
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        value = int(value)
    return msgspec.json.encode(value, enc_hook=repr).decode()
