from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_pipeline.batches import Batch
from churn_pipeline.io_managers.base import Rows, TableHandle
from churn_pipeline.io_managers.bucket_spill import buckets_of
from churn_pipeline.io_managers.current_scores import is_newest, merge_newest
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.maintenance import maintain
from churn_pipeline_tests.io_managers.builders import batch

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("score", pa.float64()),
        ("prediction", pa.dictionary(pa.int32(), pa.string())),
        ("event_at", pa.timestamp("us", tz="UTC")),
    ]
)
Row = tuple[str, float, int | None]


@pytest.fixture
def store(tmp_path: Path) -> DeltaTables:
    return DeltaTables(str(tmp_path / "tables"))


def piece(rows: list[Row]) -> pa.RecordBatch:
    records = [
        {
            "id": key,
            "score": score,
            "prediction": "churn" if score > 0.5 else "stay",
            "event_at": None if day is None else datetime(2026, 1, day, tzinfo=UTC),
        }
        for key, score, day in rows
    ]
    return pa.RecordBatch.from_pylist(records, SCHEMA)


def merge(store: DeltaTables, of: Batch, *pieces: list[Row]) -> TableHandle:
    stream = (piece(rows) for rows in pieces)
    return merge_newest(store, "current", Rows(of, SCHEMA, stream), "id", ["event_at"])


def scores(store: DeltaTables) -> dict[str, float]:
    handle = store.open("current")
    assert handle is not None
    found = handle.to_arrow()
    assert found.schema.names == [*SCHEMA.names, "batch_id", "batch_date", "id_bucket"]
    assert len(set(found["id"].to_pylist())) == found.num_rows == handle.rows
    return dict(zip(found["id"].to_pylist(), found["score"].to_pylist(), strict=True))


def version(store: DeltaTables) -> int:
    return DeltaTable(store.location("current")).version()


def test_the_newest_row_of_each_customer_wins_between_table_and_batch(store: DeltaTables):
    merge(store, batch("a"), [("x", 0.1, 5), ("y", 0.2, 5)])
    merge(store, batch("b"), [("x", 0.3, 4), ("y", 0.4, 6), ("z", 0.5, 1)])
    assert scores(store) == {"x": 0.1, "y": 0.4, "z": 0.5}


def test_the_newest_row_of_each_customer_wins_within_a_batch(store: DeltaTables):
    handle = merge(store, batch(), [("x", 0.1, 5), ("y", 0.2, 1)], [("x", 0.3, 4), ("y", 0.4, 1)])
    assert (handle.rows, scores(store)) == (2, {"x": 0.1, "y": 0.4})


def test_customers_of_before_a_release_added_a_column_stay_and_have_null_in_it(store: DeltaTables):
    merge(store, batch("a"), [("x", 0.1, 5), ("y", 0.2, 5)])
    schema = SCHEMA.append(pa.field("reasons", pa.list_(pa.string())))
    new = piece([("y", 0.4, 6)]).append_column("reasons", pa.array([["plan"]]))
    versions = []
    for _ in range(2):
        merge_newest(store, "current", Rows(batch("b"), schema, [new], later={"reasons"}), "id", ["event_at"])
        found = store.open("current").to_arrow().to_pylist()
        assert {row["id"]: (row["score"], row["reasons"]) for row in found} == {"x": (0.1, None), "y": (0.4, ["plan"])}
        versions.append(version(store))
    assert versions[0] == versions[1]


def test_a_row_without_a_time_is_older_than_any_other(store: DeltaTables):
    merge(store, batch("a"), [("x", 0.1, None), ("y", 0.2, 1)])
    merge(store, batch("b"), [("x", 0.3, 1), ("y", 0.4, None)])
    assert scores(store) == {"x": 0.3, "y": 0.2}


def test_of_two_rows_of_the_same_time_the_one_merged_last_wins(store: DeltaTables):
    merge(store, batch("a"), [("x", 0.1, 1)])
    merge(store, batch("b"), [("x", 0.2, 1)])
    assert scores(store) == {"x": 0.2}


def test_rows_that_a_second_attempt_does_not_have_any_more_are_removed(store: DeltaTables):
    merge(store, batch("a"), [(f"k{n}", 0.1, 1) for n in range(100)])
    merge(store, batch("b"), [("other", 0.1, 1)])
    merge(store, batch("a"), [("k7", 0.9, 1)])
    assert scores(store) == {"k7": 0.9, "other": 0.1}
    merge(store, batch("a"))
    assert scores(store) == {"other": 0.1}


def test_merging_the_same_rows_again_commits_nothing(store: DeltaTables):
    many: list[Row] = [(f"k{n}", n / 1000, n % 28 + 1) for n in range(500)]
    merge(store, batch("a"), many[:300], many[200:])
    merge(store, batch("b"), many[100:400])
    before, content = version(store), scores(store)
    merge(store, batch("b"), many[100:250], many[250:400])
    assert (version(store), scores(store)) == (before, content)


def test_an_empty_first_batch_makes_the_table(store: DeltaTables):
    assert merge(store, batch()).rows == 0
    assert scores(store) == {}


def test_a_batch_reads_its_own_rows_of_the_table(store: DeltaTables):
    merge(store, batch("a"), [("x", 0.1, 1), ("y", 0.2, 1)])
    merge(store, batch("b"), [("x", 0.3, 2)])
    handle = store.open("current", batch("a"))
    assert handle is not None
    assert (handle.rows, handle.to_arrow(["id"])["id"].to_pylist()) == (1, ["y"])


def test_a_stream_that_fails_leaves_the_table_and_no_spill(store: DeltaTables):
    def broken() -> Iterator[pa.RecordBatch]:
        yield piece([("x", 0.9, 9)])
        raise ValueError("no")

    merge(store, batch("a"), [("x", 0.1, 1)])
    with pytest.raises(ValueError, match="no"):
        merge_newest(store, "current", Rows(batch("b"), SCHEMA, broken()), "id", ["event_at"])
    assert scores(store) == {"x": 0.1}
    assert [path.name for path in Path(store.folder).iterdir()] == ["current"]


def test_maintenance_leaves_the_current_scores_as_they_are(store: DeltaTables):
    for day in (1, 2, 3):
        merge(store, batch(f"b{day}", date(2026, 3, day)), [(f"k{n}", n / 100, day) for n in range(0, 100, day)])
    content = scores(store)
    maintain(store)
    assert scores(store) == content
    merge(store, batch("b9"), [("k1", 0.77, 9)])
    assert scores(store) == {**content, "k1": 0.77}


def test_a_customer_is_in_the_same_bucket_for_ever():
    assert buckets_of(pa.array(["7590-VHVEG", "5575-GNVDE", "größer 😀", ""])).tolist() == [58, 15, 54, 3]


RANKS = [st.none() | st.integers(0, 2), st.none() | st.sampled_from("xyz"), st.none() | st.sampled_from([0.5, 1.5])]
ROWS = st.lists(st.tuples(st.sampled_from("abcde"), *RANKS), max_size=30)


@settings(max_examples=100, deadline=None)
@given(ROWS)
def test_newest_is_what_a_loop_over_the_rows_finds(rows: list[tuple[str, int | None, str | None, float | None]]):
    best: dict[str, int] = {}
    for number, row in enumerate(rows):
        old = best.get(row[0])
        if old is None or ordered(row) >= ordered(rows[old]):
            best[row[0]] = number
    kinds = [pa.string(), pa.int64(), pa.string(), pa.float64()]
    columns = [pa.array([row[i] for row in rows], kind) for i, kind in enumerate(kinds)]
    table = pa.table(columns, names=["key", "x", "y", "z"])
    assert is_newest(table, "key", ["x", "y", "z"]).nonzero()[0].tolist() == sorted(best.values())


def ordered(row: tuple[str, int | None, str | None, float | None]) -> list[tuple[bool, object]]:
    return [(value is not None, value if value is not None else 0) for value in row[1:]]
