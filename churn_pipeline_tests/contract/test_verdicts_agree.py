"""Pandera's verdict on a frame and the streaming validator's on the same rows: equal, row by row."""

from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from churn_pipeline.contract.definition import Cleaning, Contract, Feature, IdColumn
from churn_pipeline.contract.frame_schema import broken_rows, clean_frame, frame_schema
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.contract.validation import validate

_LOOSE = Cleaning(trim=True, blank_to_null=True, number_from_text=True)
CONTRACT = Contract(
    name="mixed",
    description="One column of each type, strict and cleaned.",
    id=IdColumn(column="id", description="Id."),
    features={
        "number": Feature(type="number", description=".", min=-5, max=5),
        "loose_number": Feature(type="number", description=".", nullable=True, cleaning=_LOOSE, max=1e6),
        "integer": Feature(type="integer", description=".", min=0),
        "loose_integer": Feature(type="integer", description=".", cleaning=_LOOSE),
        "category": Feature(type="category", description=".", allowed=("a", "b", "1")),
        "loose_category": Feature(type="category", description=".", allowed=("a", "b"), nullable=True, cleaning=_LOOSE),
        "boolean": Feature(type="boolean", description="."),
        "flag": Feature(type="boolean", description=".", nullable=True),
        "text": Feature(type="text", description=".", cleaning=Cleaning(trim=True)),
    },
)

SCHEMA = frame_schema(CONTRACT)

_numbers = st.one_of(st.none(), st.floats(width=64), st.integers(-(2**60), 2**60).map(float), st.floats(-6, 6))
_number_text = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "1", " 2.5 ", "-3", "+4", ".5", "5.", "1e5", "1E-3", "nan", "inf", "-Infinity", "abc"]),
    st.sampled_from(["1_000", "0x10", "1,5", "٣", "1 2", "--1", "e5", "1e", "12e400", "\u00a07", "007", "9" * 25]),
    st.floats(allow_nan=False).map(repr),
    st.text(max_size=5),
)
_words = st.one_of(st.none(), st.sampled_from(["a", "b", " a", "b ", "1", "", "  ", "A"]), st.text(max_size=3))
_ROW = {
    "id": st.one_of(st.none(), st.text(max_size=4), st.sampled_from(["ü" * 1_000, "ü" * 1_001])),
    "number": _numbers,
    "loose_number": _number_text,
    "integer": _numbers,
    "loose_integer": _number_text,
    "category": _words,
    "loose_category": _words,
    "boolean": st.one_of(st.none(), st.booleans()),
    "flag": st.sampled_from([None, 0, 1, 1, 0, 2, -1]),
    "text": _words,
}
_TYPES = {"number": pa.float64(), "integer": pa.float64(), "boolean": pa.bool_(), "flag": pa.int64()}


@settings(max_examples=25, deadline=None, phases=[Phase.generate])
@given(st.lists(st.fixed_dictionaries(_ROW), min_size=10, max_size=40))
def test_pandera_and_the_streaming_validator_give_every_row_the_same_verdict(records):
    columns = {
        name: pa.array([r[name] for r in records], _TYPES.get(name, pa.string()), from_pandas=True) for name in _ROW
    }
    rows = pa.RecordBatch.from_pydict({name: columns[name] for name in CONTRACT.columns()})
    found = SourceRows(rows, "memory", pa.array(range(len(records)), pa.int64()))
    streamed = validate(found, CONTRACT, datetime(2026, 1, 1, tzinfo=UTC))
    by_stream = {r["source_position"]: set(r["rules"]) for r in streamed.rejected.to_pylist()}

    frame = pd.DataFrame({name: pd.Series([r[name] for r in records], dtype=object) for name in _ROW})
    by_pandera = broken_rows(frame, SCHEMA)

    assert by_stream == by_pandera
    assert streamed.customers.num_rows + streamed.rejected.num_rows == len(records)


def test_flags_of_a_frame_are_truth_values_for_the_model_and_one_that_is_none_leaves_them_as_they_are():
    flags = pd.DataFrame({"boolean": [0, 1], "flag": pd.Series([1, None], dtype=object), "category": ["1", "0"]})
    cleaned = clean_frame(flags, CONTRACT)
    assert cleaned["boolean"].dtype == bool
    assert cleaned.to_dict("list") == {"boolean": [False, True], "flag": [True, None], "category": ["1", "0"]}
    assert clean_frame(flags[["boolean"]] + 1, CONTRACT)["boolean"].tolist() == [1, 2]
