"""The contract that every table store keeps."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from churn_pipeline.batches import Batch
from churn_pipeline.io_managers.base import ROWS_PER_BATCH, ConditionalWriteUnknown, Rows, TableStore, WriteMode
from churn_pipeline.io_managers.csv_files import CsvFiles
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.json_lines import JsonLinesFiles
from churn_pipeline.io_managers.memory_tables import MemoryTables
from churn_pipeline.io_managers.parquet_files import ParquetFiles
from churn_pipeline.io_managers.table_errors import TableNotWritable, TableSchemaChanged, UnsupportedColumn
from churn_pipeline_tests.io_managers.builders import SCHEMA, batch, ids, piece, rows

STORES: dict[str, Callable[[Path], TableStore]] = {
    "delta": lambda folder: DeltaTables(str(folder)),
    "parquet": ParquetFiles,
    "csv": CsvFiles,
    "jsonl": JsonLinesFiles,
    "memory": lambda _: MemoryTables(),
}
MODES: list[WriteMode] = ["append", "replace_batch", "replace_all"]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TableStore:
    return STORES[request.param](tmp_path / "tables")


def whole(store: TableStore) -> pa.Table:
    handle = store.open("scores")
    assert handle is not None
    table = handle.to_arrow()
    assert table.num_rows == handle.rows
    return table


@pytest.mark.parametrize("mode", MODES)
def test_rows_come_back_as_they_went_in(store: TableStore, mode: WriteMode):
    a = batch()
    written = store.write("scores", rows(a, piece(range(10)), piece(range(10, 13))), mode)
    opened = store.open("scores", a, written.version)
    expected = pa.Table.from_batches([piece(range(10)), piece(range(10, 13))])
    for handle in (written, opened):
        assert handle is not None
        assert handle.rows == 13
        found = handle.to_arrow()
        assert found.select(SCHEMA.names).to_pylist() == expected.to_pylist()
        assert found.schema.names == [*SCHEMA.names, "batch_id", "batch_date"]
        assert [found.schema.field(f.name).type for f in SCHEMA] == [f.type for f in SCHEMA]
        assert found["batch_id"].unique().to_pylist() == [a.id]
        assert found["batch_date"].unique().to_pylist() == [date(2026, 3, 1)]


def test_columns_come_back_in_the_order_asked_for(store: TableStore):
    handle = store.write("scores", rows(batch(), piece(range(4))), "append")
    assert handle.to_arrow(["batch_date", "amount", "id"]).schema.names == ["batch_date", "amount", "id"]
    assert handle.to_arrow(["batch_date"]).num_rows == 4


def test_a_second_attempt_replaces_the_rows_of_its_batch_only(store: TableStore):
    a, b = batch("a"), batch("b")
    store.write("scores", rows(a, piece(range(5))), "replace_batch")
    store.write("scores", rows(b, piece(range(5, 8))), "replace_batch")
    handle = store.write("scores", rows(a, piece([20, 21])), "replace_batch")
    assert ids(handle.to_arrow()) == ["c20", "c21"]
    assert sorted(ids(whole(store))) == ["c20", "c21", "c5", "c6", "c7"]


def test_a_batch_is_replaced_also_where_it_stood_under_another_date(store: TableStore):
    before, after = batch("a", date(2026, 3, 1)), batch("a", date(2026, 3, 2))
    assert before.id == after.id
    store.write("scores", rows(before, piece(range(5))), "replace_batch")
    store.write("scores", rows(after, piece([7])), "replace_batch")
    assert ids(whole(store)) == ["c7"]


def test_append_adds_to_what_the_batch_has(store: TableStore):
    store.write("scores", rows(batch(), piece([1])), "append")
    handle = store.write("scores", rows(batch(), piece([0])), "append")
    assert handle.rows == 2
    assert ids(handle.to_arrow()) == ["c1", "c0"]


def test_replacing_a_batch_replaces_what_was_appended_to_it(store: TableStore):
    for _ in range(2):
        store.write("scores", rows(batch(), piece([1])), "append")
    store.write("scores", rows(batch(), piece([2])), "replace_batch")
    assert ids(whole(store)) == ["c2"]


def test_replace_all_leaves_the_new_rows_only(store: TableStore):
    store.write("scores", rows(batch("a"), piece(range(5))), "append")
    store.write("scores", rows(batch("b"), piece([9])), "replace_all")
    assert ids(whole(store)) == ["c9"]


def test_an_empty_batch_makes_the_table_and_removes_earlier_rows(store: TableStore):
    empty = store.write("scores", rows(batch()), "replace_batch")
    assert (empty.rows, empty.to_arrow().num_rows) == (0, 0)
    assert store.tables() == ["scores"]
    store.write("scores", rows(batch(), piece([1])), "replace_batch")
    store.write("scores", rows(batch("b"), piece([2])), "replace_batch")
    store.write("scores", rows(batch(), piece([])), "replace_batch")
    assert ids(whole(store)) == ["c2"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("failure", [ValueError("too many rejected"), OSError(28, "the source's own disk")])
def test_a_stream_that_fails_leaves_the_old_rows(
    store: TableStore, mode: WriteMode, failure: Exception, tmp_path: Path
):
    def broken() -> Iterator[pa.RecordBatch]:
        yield piece(range(3))
        raise failure

    store.write("scores", rows(batch(), piece([1, 2])), "replace_batch")
    files = sorted(tmp_path.rglob("*"))
    with pytest.raises(type(failure)) as raised:
        store.write("scores", Rows(batch(), SCHEMA, broken()), mode)
    assert raised.value is failure
    assert ids(whole(store)) == ["c1", "c2"]
    assert sorted(tmp_path.rglob("*")) == files


def test_rows_that_were_written_since_a_moment_are_all_there(store: TableStore):
    store.write("scores", rows(batch("a"), piece([1])), "append")
    time.sleep(0.01)
    moment = datetime.now(UTC)
    time.sleep(0.01)
    handle = store.write("scores", rows(batch("b"), piece([2])), "append")
    whole = replace(handle, batch=None)
    found = [id_ for part in store.stream(whole, ["id"], moment) for id_ in part["id"].to_pylist()]
    assert found == (["c2"] if isinstance(store, DeltaTables) else ["c1", "c2"])


def test_a_table_that_was_never_written_opens_as_none(store: TableStore):
    assert store.open("scores") is None
    assert store.open("scores", batch(), 3) is None
    assert store.tables() == []


def test_a_batch_that_was_never_written_has_no_rows(store: TableStore):
    store.write("scores", rows(batch("a"), piece([1])), "append")
    handle = store.open("scores", batch("b"))
    assert handle is not None
    assert (handle.rows, list(handle.stream())) == (0, [])


def test_large_record_batches_come_back_in_small_ones(store: TableStore):
    column = [str(i) for i in range(ROWS_PER_BATCH * 2 + 7)]
    schema = pa.schema([("id", pa.string())])
    stream = iter([pa.RecordBatch.from_arrays([pa.array(column)], schema=schema)])
    handle = store.write("scores", Rows(batch(), schema, stream), "replace_batch")
    pieces = list(handle.stream(["id"]))
    assert max(p.num_rows for p in pieces) <= ROWS_PER_BATCH
    assert handle.to_arrow(["id"])["id"].to_pylist() == column


def test_other_columns_than_the_table_has_are_named_before_anything_is_read(store: TableStore):
    def unread() -> Iterator[pa.RecordBatch]:
        raise AssertionError("the stream was read")
        yield

    store.write("scores", rows(batch(), piece([1])), "append")
    other = SCHEMA.remove(0).append(pa.field("customer", pa.string()))
    with pytest.raises(TableSchemaChanged, match=r"new: customer; missing: id"):
        store.write("scores", Rows(batch(), other, unread()), "append")


LATER = pa.list_(pa.struct([("column", pa.string()), ("contribution", pa.float64())]))


def with_later(of: Batch, *pieces: pa.RecordBatch) -> Rows:
    """Rows with a column that the first release did not have."""
    value = pa.array([[{"column": "plan", "contribution": 0.25}]], LATER)
    more = [part.append_column("reasons", pa.concat_arrays([value] * part.num_rows)) for part in pieces]
    return Rows(of, SCHEMA.append(pa.field("reasons", LATER)), iter(more), later={"reasons"})


def test_a_table_gets_a_column_of_a_later_release_and_its_older_rows_have_null(store: TableStore):
    store.write("scores", rows(batch("a"), piece([1, 2])), "replace_batch")
    store.write("scores", with_later(batch("b"), piece([3])), "replace_batch")
    table = whole(store)
    said = dict(zip(ids(table), table["reasons"].to_pylist(), strict=True))
    assert said == {"c1": None, "c2": None, "c3": [{"column": "plan", "contribution": 0.25}]}
    handle = store.open("scores", batch("a"))
    assert handle is not None
    assert handle.to_arrow(["reasons"])["reasons"].to_pylist() == [None, None]
    store.write("scores", with_later(batch("a"), piece([1])), "replace_batch")
    assert whole(store)["reasons"].null_count == 0


@pytest.mark.parametrize("store", ["delta", "memory"], indirect=True)
def test_staged_files_may_leave_a_later_column_out_and_their_rows_have_null(store: TableStore):
    staged = store.stage("scores", rows(batch("a"), piece([1, 2])))
    full = with_later(batch("a"))
    store.write("scores", replace(full, stream=(), files=staged), "replace_batch")
    store.write("scores", with_later(batch("b"), piece([3])), "replace_batch")
    assert ids(whole(store)) == ["c1", "c2", "c3"]
    assert whole(store)["reasons"].null_count == 2


def test_a_stream_that_fails_gives_a_table_no_column(store: TableStore):
    def broken() -> Iterator[pa.RecordBatch]:
        yield from with_later(batch(), piece([1])).stream
        raise ValueError("too many rejected")

    store.write("scores", rows(batch(), piece([1])), "replace_batch")
    with pytest.raises(ValueError, match="too many"):
        store.write("scores", replace(with_later(batch()), stream=broken()), "replace_batch")
    assert "reasons" not in whole(store).schema.names


def test_a_column_that_is_not_of_a_later_release_is_refused_beside_one_that_is(store: TableStore):
    store.write("scores", rows(batch(), piece([1])), "append")
    new = with_later(batch(), piece([1]))
    schema = new.schema.append(pa.field("customer", pa.string()))
    with pytest.raises(TableSchemaChanged, match=r"\(new: customer\)"):
        store.write("scores", replace(new, schema=schema), "append")


def test_two_writers_at_once_give_a_table_one_column(store: TableStore):
    store.write("scores", rows(batch("old"), piece([9])), "replace_batch")
    new = [with_later(batch(f"b{number}"), piece([number])) for number in range(4)]
    writers = [threading.Thread(target=store.write, args=("scores", of, "replace_batch")) for of in new]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(ids(whole(store))) == ["c0", "c1", "c2", "c3", "c9"]
    assert whole(store)["reasons"].null_count == 1


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.uint32(), pa.float16(), pa.time64("us")])
def test_a_type_that_would_change_its_values_is_refused(store: TableStore, kind: pa.DataType):
    with pytest.raises(UnsupportedColumn, match="'odd'"):
        store.write("scores", Rows(batch(), pa.schema([("odd", kind)]), iter([])), "append")


def test_what_the_producer_noted_goes_with_the_handle(store: TableStore):
    noted = rows(batch(), piece([1]))
    noted.notes["rows_read"] = 1
    assert store.write("scores", noted, "append").notes == {"rows_read": 1}


@pytest.mark.parametrize("same", [True, False])
def test_two_writers_at_once_lose_and_double_nothing(store: TableStore, same: bool):
    def write(number: int) -> None:
        of = batch("a" if same else f"b{number}")
        store.write("scores", rows(of, piece(range(3)), piece(range(3, 6))), "replace_batch")

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(ids(whole(store))) == sorted([f"c{n}" for n in range(6)] * (1 if same else 4))


@pytest.mark.parametrize("kind", ["delta", "memory"])
def test_of_many_that_write_on_a_condition_each_sees_what_those_before_wrote(kind: str, tmp_path: Path):
    store = STORES[kind](tmp_path / "tables")
    turns: list[int] = []

    def add_one(turn: int) -> None:
        while True:
            seen = store.open("scores")
            count = seen.rows if seen else 0
            new = rows(batch(f"b{turn}"), piece([count]))
            if store.replace_if("scores", new, "turns", lambda found, count=count: found.rows == count):
                turns.append(count)
                return

    writers = [threading.Thread(target=add_one, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(turns) == [0, 1, 2, 3]
    assert sorted(ids(whole(store))) == ["c0", "c1", "c2", "c3"]


@pytest.mark.parametrize("kind", ["delta", "memory"])
def test_a_write_on_a_condition_replaces_its_batch_or_leaves_no_trace(kind: str, tmp_path: Path):
    store = STORES[kind](tmp_path / "tables")
    assert store.replace_if("scores", rows(batch(), piece([1])), "turns", lambda found: found.rows == 0)
    assert store.replace_if("scores", rows(batch(), piece([2])), "turns", lambda _: True)
    files = sorted(tmp_path.rglob("*.parquet"))
    assert not store.replace_if("scores", rows(batch(), piece([3])), "turns", lambda _: False)
    assert ids(whole(store)) == ["c2"]
    assert sorted(tmp_path.rglob("*.parquet")) == files


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_plain_files_refuse_to_be_written_on_a_condition(kind: str, tmp_path: Path):
    with pytest.raises(ConditionalWriteUnknown, match="no transactions"):
        STORES[kind](tmp_path / "tables").replace_if("scores", rows(batch()), "turns", lambda _: True)


@pytest.mark.parametrize("kind", ["delta", "parquet", "csv", "jsonl"])
def test_a_folder_that_cannot_be_made_is_said_in_words(kind: str, tmp_path: Path):
    (tmp_path / "tables").write_text("a file where the folder should be")
    with pytest.raises(TableNotWritable, match="cannot be written") as raised:
        STORES[kind](tmp_path / "tables").write("scores", rows(batch(), piece([1])), "append")
    assert "c1" not in str(raised.value)
