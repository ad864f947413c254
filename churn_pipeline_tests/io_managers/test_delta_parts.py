"""A batch in parts: read and written by several processes, seen as one."""

import pickle
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from churn_pipeline.io_managers.base import NotInParts, Rows
from churn_pipeline.io_managers.csv_files import CsvFiles
from churn_pipeline.io_managers.delta_staging import ROWS_PER_GROUP
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.maintenance import maintain
from churn_pipeline_tests.io_managers.builders import batch, ids, piece, rows

NUMBERS = pa.schema([("id", pa.int64())])


@pytest.fixture
def store(tmp_path: Path) -> DeltaTables:
    return DeltaTables(str(tmp_path / "tables"), file_bytes=1_500_000)


def numbers(start: int, count: int) -> pa.RecordBatch:
    shuffled = np.random.default_rng(start).permutation(count) + start  # in order they would take no room
    return pa.RecordBatch.from_arrays([pa.array(shuffled)], schema=NUMBERS)


def read(parts) -> list[list[int]]:
    return [pa.Table.from_batches(part.stream(["id"]), NUMBERS)["id"].to_pylist() for part in parts]


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_parts_are_the_rows_of_the_batch_in_their_order(store: DeltaTables, count: int):
    pieces = [numbers(start * 65_536, 65_536) for start in range(12)]
    handle = store.write("numbers", Rows(batch(), NUMBERS, pieces), "replace_batch")
    found = read(pickle.loads(pickle.dumps(store.parts(handle, count))))
    assert len(found) == min(count, 12 * 65_536 // ROWS_PER_GROUP)
    assert [number for part in found for number in part] == handle.to_arrow(["id"])["id"].to_pylist()


def test_a_part_of_a_compacted_file_has_rows_of_its_batch_only(store: DeltaTables):
    day = date(2026, 3, 1)
    written = [store.write("scores", rows(batch(n, day), piece([i])), "append") for i, n in enumerate("abc")]
    store.write("scores", rows(batch("new", date(2026, 3, 5)), piece([99])), "append")
    maintain(store)
    found = [store.open("scores", handle.batch) for handle in written]
    for handle in found:
        assert handle is not None
        (part,) = store.parts(handle, 4)
        assert ids(pa.Table.from_batches(part.stream())) == ids(handle.to_arrow())


def test_an_empty_batch_has_no_parts(store: DeltaTables):
    handle = store.write("numbers", Rows(batch(), NUMBERS, []), "replace_batch")
    assert store.parts(handle, 4) == []


def test_staged_rows_are_nobodys_until_they_are_written_and_then_in_the_order_given(store: DeltaTables):
    store.write("numbers", Rows(batch(), NUMBERS, [numbers(0, 5)]), "replace_batch")
    staged = [store.stage("numbers", Rows(batch(), NUMBERS, [numbers(start, 3)])) for start in (30, 10, 20)]
    assert store.open("numbers").rows == 5
    files = [file for part in (staged[1], staged[0], staged[2]) for file in pickle.loads(pickle.dumps(part))]
    handle = store.write("numbers", Rows(batch(), NUMBERS, files=files), "replace_batch")
    assert handle.rows == 9 == store.open("numbers").rows
    assert [n // 10 for n in handle.to_arrow()["id"].to_pylist()] == [1, 1, 1, 3, 3, 3, 2, 2, 2]


def test_what_was_staged_twice_is_seen_once_and_the_rest_is_swept(store: DeltaTables):
    wanted = store.stage("numbers", Rows(batch(), NUMBERS, [numbers(0, 3)]))
    store.stage("numbers", Rows(batch(), NUMBERS, [numbers(0, 3)]))
    handle = store.write("numbers", Rows(batch(), NUMBERS, files=wanted), "replace_batch")
    assert handle.rows == 3
    folder = Path(store.location("numbers"))
    assert len(list(folder.rglob("*.parquet"))) == 2
    assert len(DeltaTable(str(folder)).vacuum(retention_hours=0, enforce_retention_duration=False, full=True)) == 1


def test_parts_of_what_was_staged_can_be_read_before_anybody_sees_it(store: DeltaTables):
    files = [*store.stage("numbers", Rows(batch(), NUMBERS, [numbers(0, 3)])),
             *store.stage("numbers", Rows(batch(), NUMBERS, [numbers(10, 2)]))]  # fmt: skip
    found = read(store.staged_parts("numbers", Rows(batch(), NUMBERS, files=files)))
    assert [sorted(part) for part in found] == [[0, 1, 2], [10, 11]]


def test_plain_files_say_that_only_one_process_can_write_them(tmp_path: Path):
    with pytest.raises(NotInParts, match="Delta tables"):
        CsvFiles(str(tmp_path)).stage("numbers", Rows(batch(), NUMBERS, []))
