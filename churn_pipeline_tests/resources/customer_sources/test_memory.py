"""Records in memory: data frames with objects of every kind."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from churn_pipeline.resources.customer_sources.memory import MemorySource
from churn_pipeline_tests.resources.customer_sources.shops import SHOPS, ids, read


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(SHOPS)


def test_what_pandas_calls_missing_is_missing(frame: pd.DataFrame):
    frame["note"] = [None, np.nan, pd.NA, pd.NaT, "x"]
    frame["Spend, monthly"] = pd.Series([1, 2, None, np.nan, 5.5], dtype=object)
    frame["visits"] = pd.array([1, None, 3, 4, 5], dtype="Int64")
    (rows,) = read(MemorySource(frame))
    assert rows.rows.column("note").to_pylist() == [None, None, None, None, "x"]
    assert rows.rows.column("Spend, monthly").to_pylist() == [1, 2, None, None, 5.5]
    assert rows.rows.column("visits").to_pylist() == [1, None, 3, 4, 5]


def test_an_odd_object_costs_its_own_row(frame: pd.DataFrame):
    frame["visits"] = pd.Series([np.int64(1), "2", 3.0, [4], True], dtype=object)
    frame["shop"] = pd.Series(["S1", 2, "S\ud800", {"a": 1}, "S5"], dtype=object)
    (rows,) = read(MemorySource(frame))
    assert rows.rows.column("visits").to_pylist() == ["1", "2", "3", "[4]", "true"]
    assert rows.misfits == {"visits": [1, 3, 4], "shop": [2, 3]}


def test_categories_of_pandas_come_as_dictionary(frame: pd.DataFrame):
    (rows,) = read(MemorySource(frame.astype({"size": "category"})))
    assert str(rows.rows.column("size").type).startswith("dictionary<values=string, indices=int32")


def test_categories_that_are_numbers_come_as_numbers(frame: pd.DataFrame):
    (rows,) = read(MemorySource(frame.astype({"visits": "category"})))
    assert rows.rows.column("visits").to_pylist() == [1, 2, 3, 4, 5]


def test_times_and_dates_keep_their_types(frame: pd.DataFrame):
    frame["seen"] = [date(2024, 5, n) for n in range(1, 6)]
    assert pa.types.is_date(read(MemorySource(frame))[0].rows.column("seen").type)
    frame["seen"] = pd.to_datetime(frame["seen"])
    assert pa.types.is_timestamp(read(MemorySource(frame))[0].rows.column("seen").type)


def test_later_changes_to_the_frame_are_not_seen(frame: pd.DataFrame):
    source = MemorySource(frame)
    batch = source.plan()
    frame.loc[0, "shop"] = "changed"
    frame["visits"] = 0
    assert ids(read(source))[0] == "S1"
    assert source.plan() == batch
    assert MemorySource(frame).plan().id != batch.id


def test_the_batch_has_the_date_it_is_given(tmp_path: Path, frame: pd.DataFrame):
    assert MemorySource(frame, as_of=datetime(2024, 6, 1, tzinfo=UTC)).plan().date == date(2024, 6, 1)
    assert MemorySource(frame).plan().date <= datetime.now(UTC).date()


def test_a_frame_without_rows_is_no_rows(frame: pd.DataFrame):
    assert read(MemorySource(frame.head(0))) == []
    assert MemorySource(frame.head(0), "shops").describe() == "shops (0 rows in memory)"
