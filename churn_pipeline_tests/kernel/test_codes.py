"""Columns as codes: every way a column comes, and values nobody has seen."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_pipeline.kernel.codes import (
    Combinations,
    Numbers,
    TooManyValues,
    Words,
    largest,
    out_of_reach,
)
from churn_pipeline.kernel.compilation import available
from churn_pipeline.kernel.cuts import of_rank, rank
from churn_pipeline.kernel.intervals import Intervals


def batch(**columns) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def decoded(axis, rows: pa.RecordBatch) -> list:
    codes = axis.look(rows).codes()
    values = axis.values(0)
    return [tuple(values[name][code] for name in axis.columns) for code in codes]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "b", "a", ""]),
        pa.array(["a", None, "b", "a", ""]).dictionary_encode(),
        pa.array(["x", "a", None, "b", "a", ""]).dictionary_encode().slice(1),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2]), pa.array(["a", "a", None])),
        pa.array([True, None, False, True]),
        pa.array([None, None], pa.string()),
        pa.array([], pa.string()),
    ],
)
def test_words_come_back_from_their_codes(column):
    axis = Words("word")
    for _ in range(2):
        assert decoded(axis, batch(word=column)) == [(value,) for value in column.to_pylist()]


def test_another_dictionary_gives_the_same_codes():
    axis = Words("word")
    first = axis.look(batch(word=pa.array(["a", "b"]).dictionary_encode())).codes()
    second = axis.look(batch(word=pa.array(["b", "a"]).dictionary_encode())).codes()
    assert first.tolist() == second.tolist()[::-1]


@given(st.lists(st.one_of(st.none(), st.integers(-(2**40), 2**40), st.integers(0, 5)), max_size=30), st.booleans())
@settings(max_examples=60, deadline=None)
def test_numbers_come_back_from_their_codes(values, floating):
    column = pa.array(values, pa.float64() if floating else pa.int64())
    for compiled in (False, True) if available() else (False,):
        axis = Numbers("n", np.arange(4.0), compiled=compiled)
        for _ in range(2):
            assert decoded(axis, batch(n=column)) == [(value,) for value in values]


def test_combinations_come_back_from_their_codes():
    axis = Combinations([Words("a"), Words("b"), Numbers("n", np.arange(2.0))])
    rows = batch(a=pa.array(["x", None, "y", "x"]), b=pa.array([True, False, True, True]), n=pa.array([1, 7, None, 1]))
    for _ in range(2):
        assert decoded(axis, rows) == [("x", True, 1.0), (None, False, 7.0), ("y", True, None), ("x", True, 1.0)]
    assert axis.size == 3


def test_any_number_of_columns_may_be_combined():
    rng = np.random.default_rng(0)
    names = list("abcdefghi")
    axis = Combinations([Words(name) for name in names])
    for _ in range(3):
        rows = batch(**{name: pa.array(rng.choice([*"xyz", None], 500)) for name in names})
        assert decoded(axis, rows) == list(zip(*(rows.column(name).to_pylist() for name in names), strict=True))
    record = {name: rows.column(name)[7].as_py() for name in names}
    assert axis.code(record) == axis.look(rows.slice(7, 1)).codes()[0]
    assert axis.code({**record, "e": "never seen"}) is None


@given(
    st.lists(st.floats(-1e300, 1e300), max_size=20, unique=True)
    | st.lists(st.floats(1e-3, 1e9).map(lambda money: round(money, 2)), max_size=60, unique=True)
    | st.lists(st.integers(-2_000, 9_000).map(lambda cents: cents / 100), max_size=20, unique=True),
    st.lists(st.floats() | st.floats(-30, 100), max_size=40),
)
@settings(max_examples=200, deadline=None)
def test_a_number_is_in_the_stretch_that_ends_at_the_next_break(breaks, values):
    points = np.unique(np.array(breaks, dtype=np.float64))
    near = np.concatenate([points, np.nextafter(points, np.inf), np.nextafter(points, -np.inf), values])
    wanted = np.where(np.isnan(near), len(points) + 1, np.searchsorted(points, near))
    for compiled in (False, True) if available() else (False,):
        axis = Intervals("n", points, pa.float64(), compiled=compiled)
        assert axis.look(batch(n=pa.array(near, pa.float64()))).codes().tolist() == wanted.tolist()


@given(st.lists(st.floats(allow_nan=False), min_size=1))
@settings(deadline=None)
def test_a_rank_orders_doubles_as_they_are(values):
    found = np.array(values)
    ordered = np.sort(found)
    assert (of_rank(np.sort(rank(found))) == ordered).all()


def test_only_numbers_beyond_reach_are_beyond_reach():
    assert out_of_reach(pa.array([1.0, np.nan, None, -5e29])) is None
    assert out_of_reach(pa.array([np.nan, None])) is None
    assert out_of_reach(pa.array([], pa.float64())) is None
    found = out_of_reach(pa.array([1.0, np.nan, -2e30, np.inf]))
    assert found is not None and found.tolist() == [False, False, True, True]


def test_too_many_words_are_said_to_be_too_many(monkeypatch):
    monkeypatch.setattr("churn_pipeline.kernel.codes.MOST_CODES", 3)
    with pytest.raises(TooManyValues):
        Words("word").look(batch(word=pa.array(list("abcd"))))


def test_whole_numbers_are_beyond_reach_where_doubles_no_longer_tell_them_apart():
    numbers = pa.array([2**53, 2**53 + 2, None, -(2**62)])
    found = out_of_reach(numbers, largest(numbers.type))
    assert found is not None and found.tolist() == [False, True, False, True]
