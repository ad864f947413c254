from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from churn_pipeline.io_managers.base import Rows
from churn_pipeline.io_managers.delta_files import TableFolder, active_files
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.maintenance import RetentionTooShort, maintain, sweep_strays
from churn_pipeline.io_managers.table_errors import TableNotReadable
from churn_pipeline_tests.io_managers.builders import SCHEMA, batch, ids, piece, rows

CLOSED, NEWEST = date(2026, 3, 1), date(2026, 3, 5)


@pytest.fixture
def store(tmp_path: Path) -> DeltaTables:
    return DeltaTables(str(tmp_path / "tables"))


def delta(store: DeltaTables, table: str = "scores") -> DeltaTable:
    return DeltaTable(store.location(table))


def files(store: DeltaTables) -> list[str]:
    return [file.path for file in active_files(delta(store))]


def all_ids(store: DeltaTables) -> list[str]:
    handle = store.open("scores")
    assert handle is not None
    return ids(handle.to_arrow())


def with_closed_day(store: DeltaTables) -> None:
    """Three batches in a closed day, compacted into one file, and a newer day."""
    for name, numbers in {"a": range(3), "b": range(3, 6), "c": range(6, 9)}.items():
        store.write("scores", rows(batch(name, CLOSED), piece(numbers)), "replace_batch")
    store.write("scores", rows(batch("new", NEWEST), piece([99])), "replace_batch")
    maintain(store)


def test_a_batch_is_one_file_in_the_folder_of_its_date_with_its_id_in_the_name(store: DeltaTables):
    store.write("scores", rows(batch(), piece([1]), piece([2])), "replace_batch")
    [path] = files(store)
    assert path.startswith(f"batch_date=2026-03-01/{batch().id}-")


def test_the_log_has_statistics_of_batch_and_event_time_only(store: DeltaTables):
    store.write("scores", rows(batch(), piece(range(3))), "replace_batch")
    [action] = pa.table(delta(store).get_add_actions(flatten=True)).to_pylist()
    assert {name for name in action if name.startswith("min.")} == {"min.batch_id", "min.event_at"}
    assert action["min.batch_id"] == action["max.batch_id"] == batch().id
    assert (action["min.event_at"].isoformat(), action["num_records"]) == ("2026-01-01T00:00:00+00:00", 3)


def test_utc_timestamps_leave_the_table_readable_for_every_delta_reader(store: DeltaTables):
    store.write("scores", rows(batch(), piece([1])), "append")
    assert delta(store).protocol().min_reader_version == 1


def test_rows_of_before_and_after_a_table_gained_a_column_are_compacted_and_replaced(store: DeltaTables):
    with_closed_day(store)
    schema = SCHEMA.append(pa.field("reasons", pa.list_(pa.string())))

    def explained(name: str, day: date, number: int) -> None:
        row = piece([number]).append_column("reasons", pa.array([["plan"]]))
        store.write("scores", Rows(batch(name, day), schema, [row], later={"reasons"}), "replace_batch")

    explained("b", CLOSED, 3)  # its older rows stand in one file with others'
    explained("newer", date(2026, 3, 9), 100)
    maintain(store)
    assert len(files(store)) == 3
    found = store.open("scores").to_arrow()
    said = {row["id"]: row["reasons"] for row in found.to_pylist()}
    assert said == {f"c{n}": None for n in (0, 1, 2, 6, 7, 8, 99)} | {"c3": ["plan"], "c100": ["plan"]}


def test_words_that_repeat_inside_lists_are_stored_once_and_numbers_that_do_not_as_they_are(store: DeltaTables):
    kind = pa.list_(pa.struct([("column", pa.string()), ("contribution", pa.float64())]))
    values = [[{"column": "plan", "contribution": n / 7}] for n in range(1_000)]
    rows_ = pa.RecordBatch.from_arrays([pa.array(values, kind)], schema=pa.schema([("reasons", kind)]))
    store.write("scores", Rows(batch(), rows_.schema, [rows_]), "append")
    [path] = files(store)
    group = pq.ParquetFile(f"{store.location('scores')}/{path}").metadata.row_group(0)
    stored = {group.column(i).path_in_schema: group.column(i).has_dictionary_page for i in range(group.num_columns)}
    assert stored["reasons.list.element.column"]
    assert not stored["reasons.list.element.contribution"]


def test_a_large_batch_goes_on_in_further_files_and_keeps_its_order(tmp_path: Path):
    store = DeltaTables(str(tmp_path), file_bytes=200_000)
    schema = pa.schema([("id", pa.int64())])
    ids = np.random.default_rng(1).permutation(12 * 65_536)  # in order they would take no room
    pieces = [pa.RecordBatch.from_arrays([pa.array(part)], schema=schema) for part in np.split(ids, 12)]
    for day in (CLOSED, NEWEST):
        store.write("scores", Rows(batch(f"big-{day}", day), schema, iter(pieces)), "replace_batch")
        small = pa.RecordBatch.from_pylist([{"id": -1}], schema)
        store.write("scores", Rows(batch(f"small-{day}", day), schema, iter([small])), "replace_batch")
    assert len(files(store)) > 6
    maintain(store)
    for day in (CLOSED, NEWEST):
        handle = store.open("scores", batch(f"big-{day}", day))
        assert handle is not None
        assert handle.to_arrow(["id"])["id"].to_pylist() == ids.tolist()


def test_an_older_version_still_has_the_rows_it_had(store: DeltaTables):
    first = store.write("scores", rows(batch(), piece([1])), "replace_batch")
    store.write("scores", rows(batch(), piece([2])), "replace_batch")
    assert ids(first.to_arrow()) == ["c1"]


def test_a_version_whose_files_are_gone_gives_way_to_the_newest(store: DeltaTables):
    first = store.write("scores", rows(batch("a"), piece([1])), "replace_batch")
    store.write("scores", rows(batch("a"), piece([2])), "replace_batch")
    delta(store).vacuum(0, dry_run=False, enforce_retention_duration=False)
    reopened = store.open("scores", batch("a"), first.version)
    assert reopened is not None
    assert (reopened.rows, ids(reopened.to_arrow()), ids(first.to_arrow())) == (1, ["c2"], ["c2"])
    beyond = store.open("scores", batch("a"), 10_000)
    assert beyond is not None
    assert ids(beyond.to_arrow()) == ["c2"]


def test_every_commit_names_its_batch_and_moves_its_fence(store: DeltaTables):
    for _ in range(2):
        store.write("scores", rows(batch(), piece([1])), "replace_batch")
    assert delta(store).history(1)[0]["batch"] == batch().id
    assert delta(store).transaction_version(f"batch:{batch().id}") == 2


def test_compaction_merges_closed_days_and_keeps_every_row(store: DeltaTables):
    with_closed_day(store)
    assert len(files(store)) == 2
    assert sorted(all_ids(store)) == [*(f"c{n}" for n in range(9)), "c99"]
    for name, expected in {"a": ["c0", "c1", "c2"], "b": ["c3", "c4", "c5"], "d": []}.items():
        handle = store.open("scores", batch(name))
        assert handle is not None
        assert (handle.rows, ids(handle.to_arrow())) == (len(expected), expected)
        assert handle.schema.field("plan").type == SCHEMA.field("plan").type


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_replacing_a_batch_after_compaction_leaves_its_neighbours(store: DeltaTables, name: str):
    with_closed_day(store)
    expected = {
        n: piece(numbers).to_pylist() for n, numbers in {"a": range(3), "b": range(3, 6), "c": range(6, 9)}.items()
    }
    expected[name] = piece([50, 51]).to_pylist()
    for _ in range(2):
        store.write("scores", rows(batch(name, CLOSED), piece([50, 51])), "replace_batch")
        for other, records in expected.items():
            handle = store.open("scores", batch(other))
            assert handle is not None
            assert handle.to_arrow(SCHEMA.names).to_pylist() == records
    assert len(all_ids(store)) == 9
    assert len(files(store)) == 3


def test_a_batch_between_two_others_in_name_leaves_their_merged_file_alone(store: DeltaTables):
    for name in ("a", "c"):
        store.write("scores", rows(batch(name, CLOSED), piece([1])), "replace_batch")
    store.write("scores", rows(batch("new", NEWEST), piece([99])), "replace_batch")
    maintain(store)
    before = files(store)
    store.write("scores", rows(batch("b", CLOSED), piece([2])), "replace_batch")
    assert files(store)[:2] == before


def test_a_failed_stream_in_a_new_table_leaves_no_table(store: DeltaTables):
    def broken() -> Iterator[pa.RecordBatch]:
        yield piece([1])
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.write("scores", Rows(batch(), SCHEMA, broken()), "append")
    assert (store.open("scores"), store.tables()) == (None, [])


def test_a_damaged_log_is_said_in_words(store: DeltaTables):
    store.write("scores", rows(batch(), piece([1])), "append")
    (Path(store.location("scores")) / "_delta_log" / f"{1:020d}.json").write_text("{not json")
    with pytest.raises(TableNotReadable, match=r"scores is there and cannot be read"):
        store.open("scores")


def test_a_missing_data_file_is_said_in_words(store: DeltaTables):
    store.write("scores", rows(batch(), piece([1])), "append")
    [path] = files(store)
    TableFolder.at(store.location("scores")).files.delete_file(f"{store.location('scores')}/{path}")
    handle = store.open("scores")
    assert handle is not None
    with pytest.raises(TableNotReadable, match=r"scores is there and cannot be read"):
        handle.to_arrow()


def test_maintenance_deletes_only_what_is_old_and_needed_by_nobody(store: DeltaTables, tmp_path: Path):
    import os
    import time

    store.write("scores", rows(batch(), piece([1])), "replace_batch")
    folder = Path(store.location("scores"))
    old, young = folder / "batch_date=2026-03-01" / "old.parquet", folder / "batch_date=2026-03-01" / "young.parquet"
    spill, temporary = Path(store.folder) / "_spill-x", folder / "_delta_log" / "3.json#1"
    spill.mkdir()
    for path in (old, young, temporary, spill / "01.arrow"):
        path.write_text("left by a killed process")
    long_ago = time.time() - 8 * 24 * 3600
    for path in (old, temporary, spill / "01.arrow", spill):
        os.utime(path, (long_ago, long_ago))
    report = maintain(store)
    assert (report.strays, report.tables["scores"].files_deleted) == (2, 1)
    assert (old.exists(), young.exists(), temporary.exists(), spill.exists()) == (False, True, False, False)
    assert all_ids(store) == ["c1"]
    assert sweep_strays(tmp_path) == 0


def test_maintenance_twice_changes_nothing_the_second_time(store: DeltaTables):
    with_closed_day(store)
    again = maintain(store).tables["scores"]
    assert (again.files_before, again.files_after, again.files_deleted, again.busy) == (2, 2, 0, False)


@pytest.mark.parametrize("wrong", [{"retention_hours": 0}, {"retention_hours": 167}, {"older_than_days": 0}])
def test_maintenance_never_deletes_what_a_run_may_need(store: DeltaTables, wrong: dict[str, int]):
    with pytest.raises(RetentionTooShort, match="168 hours"):
        maintain(store, **wrong)


def test_places_and_values_that_repeat_take_no_room_and_come_back(tmp_path: Path):
    store, n = DeltaTables(str(tmp_path)), 200_000
    columns = {
        "source_position": pa.array(range(n)),
        "threshold": pa.repeat(0.4, n),
        "tenure": pa.array([place % 72 for place in range(n)]),
    }
    table = pa.table(columns)
    store.write("scores", Rows(batch(), table.schema, table.to_batches(65_536)), "replace_batch")
    (file,) = files(store)
    assert (tmp_path / "scores" / file).stat().st_size < n / 10
    found = store.open("scores", batch())
    assert found is not None and found.to_arrow(list(columns)) == table


def test_words_take_the_same_room_in_whatever_order_each_stretch_met_them(tmp_path: Path):
    store, rng = DeltaTables(str(tmp_path)), np.random.default_rng(1)
    words = [f"a tariff with a long name, number {n}" for n in range(40)]
    numbers = [pa.array(rng.integers(0, 40, 65_536), pa.int32()) for _ in range(2)]
    sizes = {}
    for name, second in (("alike", words), ("otherwise", words[::-1])):
        codes = numbers[1] if second is words else pa.array(39 - numbers[1].to_numpy(), pa.int32())
        plans = [
            pa.DictionaryArray.from_arrays(numbers[0], words),
            pa.DictionaryArray.from_arrays(codes, second),
        ]
        pieces = [pa.RecordBatch.from_arrays([part], names=["plan"]) for part in plans]
        handle = store.write(name, Rows(batch(), pieces[0].schema, pieces), "replace_batch")
        assert handle.to_arrow(["plan"])["plan"].to_pylist() == [word for part in plans for word in part.to_pylist()]
        (file,) = delta(store, name).file_uris()
        sizes[name] = Path(file).stat().st_size
    assert sizes["otherwise"] <= 1.01 * sizes["alike"]


def test_numbers_of_which_there_are_few_beside_the_rows_are_stored_once(store: DeltaTables):
    charges = pa.array(np.random.default_rng(1).integers(1_800, 12_000, 131_072) / 100)
    piece_ = pa.RecordBatch.from_arrays([charges], names=["MonthlyCharges"])
    store.write("scores", Rows(batch(), piece_.schema, [piece_]), "append")
    [path] = files(store)
    group = pq.ParquetFile(f"{store.location('scores')}/{path}").metadata.row_group(0)
    assert group.column(0).has_dictionary_page
    # Fourteen bits say which of ten thousand a number is.
    assert group.column(0).total_compressed_size < 131_072 * 2.5


def test_columns_that_are_never_missing_are_required_in_files_and_go_with_older_files_that_do_not_say_so(
    store: DeltaTables,
):
    store.write("scores", rows(batch("a", CLOSED), piece(range(3))), "replace_batch")
    never = pa.schema([field.with_nullable(field.name != "id") for field in SCHEMA])
    said = (pa.RecordBatch.from_arrays(found.columns, schema=never) for found in [piece(range(3, 6))])
    store.write("scores", Rows(batch("b", CLOSED), never, said), "replace_batch")
    older, newer = (pq.read_schema(Path(store.location("scores")) / path) for path in files(store))
    assert [(older.field(name).nullable, newer.field(name).nullable) for name in ("id", "plan", "batch_id")] == [
        (True, False), (True, True), (False, False)]  # fmt: skip
    assert all(field.nullable for field in delta(store).schema().fields)
    store.write("scores", rows(batch("new", NEWEST), piece([99])), "replace_batch")
    maintain(store)
    assert len(files(store)) == 2
    assert sorted(all_ids(store)) == [f"c{number}" for number in (*range(6), 99)]


def test_a_value_missing_where_none_may_be_is_an_error_and_nothing_is_written(store: DeltaTables):
    store.write("scores", rows(batch("a"), piece(range(3))), "replace_batch")
    never = pa.schema([field.with_nullable(False) for field in SCHEMA])
    broken = (pa.RecordBatch.from_arrays(found.columns, schema=never) for found in [piece(range(3, 6))])
    with pytest.raises(pa.ArrowInvalid, match="non-nullable but contains nulls"):
        store.write("scores", Rows(batch("b"), never, broken), "replace_batch")
    assert all_ids(store) == ["c0", "c1", "c2"]
