"""The contract as a Pandera schema, for data that is a pandas frame already: training data and `predict()`.

Belongs here: the frame-level schema and its parsers. Does not: streams (`validation.py`), which is written apart
from this on purpose: the two verdicts are held against each other row by row in a property test.
"""

import math
import re
from typing import TYPE_CHECKING, Any

import pandas as pd

from churn_pipeline.contract.columns import LONGEST_ID, UNREADABLE, ColumnRules, rules_of
from churn_pipeline.contract.definition import Contract
from churn_pipeline.errors import ContractError

if TYPE_CHECKING:
    import pandera.pandas as pa

# What Arrow reads as a number, `nan` and `inf` included: those are then not finite.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_INTEGER = re.compile(r"-?[0-9]+")
_UNREAD = object()
#: Contract type → dtype of a column that models are given, without and with missing values.
_DTYPES = {"number": ("float64", "float64"), "integer": ("int64", "float64"), "boolean": ("bool", "object")}


class FrameBreaksContract(ContractError):
    """A data frame or a record has values that break the contract."""


def frame_schema(contract: Contract, *, with_label: bool = False) -> "pa.DataFrameSchema":
    """Pandera schema of the contract's source columns: cleaning as parsers, rules as checks.

    A cell that cannot be read as its type fails `not_a_number` and the like. Further columns are left alone.
    """
    import pandera.pandas as pa

    rules = rules_of(contract, with_label=with_label)
    return pa.DataFrameSchema({r.source: _column(r) for r in rules}, strict=False, name=contract.name)


def broken_rows(frame: pd.DataFrame, schema: "pa.DataFrameSchema") -> dict[int, set[str]]:
    """Row number (from 0) → rules it breaks."""
    import pandera.errors

    try:
        schema.validate(frame.reset_index(drop=True), lazy=True)
    except pandera.errors.SchemaErrors as error:
        found: dict[int, set[str]] = {}
        for case in error.failure_cases.itertuples():
            if case.index is None or pd.isna(case.index):
                raise
            found.setdefault(int(case.index), set()).add("missing" if case.check == "not_nullable" else case.check)
        return found
    return {}


def clean_frame(frame: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Apply the contract's cleaning to the numbers and flags that are there; a column with an unreadable cell stays."""
    result = frame.copy()
    for r in rules_of(contract):
        if r.source in frame.columns and r.kind in _DTYPES:
            cells = [_read(value, r) for value in frame[r.source]]
            if _UNREAD not in cells:
                whole, missing = _DTYPES[r.kind]
                dtype = missing if None in cells else whole
                result[r.source] = pd.Series(cells, index=frame.index, dtype=dtype)
    return result


def check_frame(frame: pd.DataFrame, contract: Contract, *, with_label: bool = False) -> None:
    """Raise if a row breaks the contract; says how many, which columns and rules, and no value.

    Raises:
        FrameBreaksContract: names the five commonest reasons.
        MissingColumn: a column is not there.
    """
    contract.check_columns(list(map(str, frame.columns)), "The data frame", with_label=with_label)
    schema = frame_schema(contract, with_label=with_label)
    import pandera.errors

    try:
        schema.validate(frame.reset_index(drop=True), lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
        counts = cases.groupby(["column", "check"]).size().sort_values(ascending=False).head(5)
        said = ", ".join(f"{column} {check.replace('_', ' ')} ({n:,})" for (column, check), n in counts.items())
        raise FrameBreaksContract(
            f"{cases['index'].nunique():,} of {len(frame):,} rows break contract {contract.name!r}: {said}. "
            "Correct these values, or change the contract file."
        ) from None


def _column(r: ColumnRules) -> "pa.Column":
    import pandera.pandas as pa

    def rule(name: str, holds: Any) -> "pa.Check":
        return pa.Check(lambda cell: cell is _UNREAD or holds(cell), name=name, element_wise=True, ignore_na=True)

    checks = [pa.Check(lambda cell: cell is not _UNREAD, name=UNREADABLE[r.kind], element_wise=True, ignore_na=True)]
    if r.allowed is not None:
        checks.append(rule("not_allowed", lambda cell: cell in (r.allowed or ())))
    if r.identifies:
        checks.append(rule("too_long", lambda cell: len(cell) <= LONGEST_ID))
    if r.kind == "number":
        checks.append(rule("not_finite", math.isfinite))
    if (lowest := r.min) is not None:
        checks.append(rule("below_minimum", lambda cell: not math.isfinite(cell) or cell >= lowest))
    if (highest := r.max) is not None:
        checks.append(rule("above_maximum", lambda cell: not math.isfinite(cell) or cell <= highest))
    parser = pa.Parser(lambda series: pd.Series([_read(v, r) for v in series], index=series.index, dtype=object))
    return pa.Column(None, checks, parsers=parser, nullable=r.nullable, required=True, title=r.source)


def _read(value: Any, r: ColumnRules) -> Any:
    """A cell as its type, None if missing, `_UNREAD` if it cannot be read."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    if hasattr(value, "item"):  # numpy scalars
        value = value.item()
    if isinstance(value, str):
        return _read_text(value, r)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if r.kind == "number":
        return float(value) if is_number else _UNREAD
    if r.kind == "integer":
        return _integer(int(value)) if is_number and math.isfinite(value) and value == int(value) else _UNREAD
    if r.kind == "boolean":
        return bool(value) if isinstance(value, int) and value in (0, 1) else _UNREAD
    if r.kind == "timestamp":
        return _time(value) if hasattr(value, "year") else _UNREAD
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _UNREAD


def _read_text(value: str, r: ColumnRules) -> Any:
    # Arrow trims Unicode white space, as str.strip does.
    bare = value.strip()
    if r.cleaning.blank_to_null and not bare:
        return None
    text = bare if r.cleaning.trim else value
    if r.identifies and not text:
        return None
    if r.kind in ("category", "text"):
        return text
    if r.kind == "timestamp":
        return _time(text)
    if not r.cleaning.number_from_text or r.kind == "boolean":
        return _UNREAD
    if r.kind == "integer":
        return _integer(int(text)) if _INTEGER.fullmatch(text) else _UNREAD
    if not _NUMBER.fullmatch(text):
        return _UNREAD
    # pandas would take the text `nan` for a missing value; like `inf`, it is a number that is not finite.
    return math.inf if math.isnan(float(text)) else float(text)


def _integer(value: int) -> Any:
    """An integer of at most 64 bits, as the tables hold them."""
    return value if -(2**63) <= value < 2**63 else _UNREAD


def _time(value: Any) -> Any:
    read = pd.to_datetime(value, utc=True, errors="coerce", format="ISO8601" if isinstance(value, str) else None)
    return _UNREAD if read is pd.NaT else read
