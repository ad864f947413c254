"""Tables while processes write side by side, are killed, and run out of disk."""

import multiprocessing
import random
import resource
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from churn_pipeline.io_managers.base import Rows
from churn_pipeline.io_managers.current_scores import merge_newest
from churn_pipeline.io_managers.delta_commit import Changes, commit
from churn_pipeline.io_managers.delta_files import TableFolder, active_files, open_delta
from churn_pipeline.io_managers.delta_staging import Staging
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.table_errors import TableBusy, TableNotWritable
from churn_pipeline_tests.io_managers.builders import SCHEMA, batch, piece, rows
from churn_pipeline_tests.io_managers.test_every_table_store import STORES

pytestmark = pytest.mark.slow

# Real processes that start in milliseconds: each is forked from one that has the imports and no threads.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["churn_pipeline_tests.io_managers.test_tables_under_fire"])
WRITERS, ROUNDS = 8, 3
MOMENTS = random.Random(7)
GENERATION = pa.schema([("id", pa.int64()), ("generation", pa.int64())])


def start(work: Callable[..., None], *args: object) -> BaseProcess:
    process = PROCESSES.Process(target=work, args=args)
    process.start()
    return process


def all_finish(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.join(50)
    assert [process.exitcode for process in processes] == [0] * len(processes)


def write_own_and_shared(folder: str, writer: int) -> None:
    store = DeltaTables(folder)
    for _ in range(ROUNDS):
        own = store.write(
            "scores", rows(batch(f"own{writer}"), piece(range(50)), piece(range(50, 100))), "replace_batch"
        )
        assert own.rows == own.to_arrow(["id"]).num_rows == 100
        shared = store.write("scores", rows(batch("shared"), piece(range(100))), "replace_batch")
        assert shared.rows == shared.to_arrow(["id"]).num_rows == 100


def test_eight_processes_on_the_same_and_different_batches_lose_and_double_nothing(tmp_path: Path):
    all_finish([start(write_own_and_shared, str(tmp_path), writer) for writer in range(WRITERS)])
    handle = DeltaTables(str(tmp_path)).open("scores")
    assert handle is not None
    found = Counter(handle.to_arrow(["batch_id"])["batch_id"].to_pylist())
    assert found == dict.fromkeys([batch("shared").id, *(batch(f"own{n}").id for n in range(WRITERS))], 100)


def generation(of: str, number: int, count: int) -> Rows:
    columns = [pa.array(range(count)), pa.repeat(pa.scalar(number), count)]
    return Rows(batch(of), GENERATION, iter([pa.RecordBatch.from_arrays(columns, schema=GENERATION)]))


def merge_own_batches(folder: str, writer: int) -> None:
    for number in range(2):
        merge_newest(
            DeltaTables(folder),
            "current",
            generation(f"b{writer}-{number}", writer * 10 + number, 300),
            "id",
            ["generation"],
        )


def test_eight_processes_merging_at_once_leave_one_row_a_customer_the_newest(tmp_path: Path):
    all_finish([start(merge_own_batches, str(tmp_path), writer) for writer in range(WRITERS)])
    handle = DeltaTables(str(tmp_path)).open("current")
    assert handle is not None
    found = handle.to_arrow()
    assert sorted(found["id"].to_pylist()) == list(range(300))
    assert found["generation"].unique().to_pylist() == [(WRITERS - 1) * 10 + 1]
    assert [path.name for path in tmp_path.iterdir()] == ["current"]


def test_a_write_that_others_always_overtake_gives_up_and_leaves_no_file(tmp_path: Path):
    store = DeltaTables(str(tmp_path))
    store.write("scores", rows(batch("a"), piece([1])), "replace_batch")
    location = store.location("scores")

    def overtaken(table: DeltaTable) -> Changes:
        store.write("scores", rows(batch("a"), piece([2])), "replace_batch")
        return Changes(staged, active_files(table))

    with pytest.raises(TableBusy, match=r"20 times"), Staging(TableFolder.at(location), "mine") as staging:
        staged = staging.write(
            [piece([3]).append_column("batch_id", pa.array([batch("a").id]))], {"batch_date": "2026-03-01"}
        )
        commit(location, staging, overtaken, fence=f"batch:{batch('a').id}", batch_id="mine")
    handle = store.open("scores")
    assert handle is not None
    assert handle.to_arrow(["id"])["id"].to_pylist() == ["c2"]
    assert not list(tmp_path.rglob("mine-*"))


def killed_at_a_random_moment(work: Callable[..., None], folder: Path, first: int, within: float) -> None:
    """Run `work` until it has written once, and kill it `within` seconds after that."""
    written = PROCESSES.Event()
    writer = start(work, str(folder), first, written)
    assert written.wait(30)
    time.sleep(MOMENTS.uniform(0, within))
    writer.kill()
    writer.join()


def replace_for_ever(folder: str, first: int, written: Event) -> None:
    store, number = DeltaTables(folder), first
    while True:
        for name in "abcd":
            store.write("scores", generation(name, number, 30_000), "replace_batch")
            written.set()
        number += 1


def test_a_writer_killed_at_any_moment_leaves_every_batch_whole(tmp_path: Path):
    store = DeltaTables(str(tmp_path))
    for name in "abcd":
        store.write("scores", generation(name, 0, 30_000), "replace_batch")
    for kill in range(1, 21):
        killed_at_a_random_moment(replace_for_ever, tmp_path, kill * 1000, within=0.2)
        for name in "abcd":
            handle = store.open("scores", batch(name))
            assert handle is not None
            found = handle.to_arrow()
            assert found["id"].to_pylist() == list(range(30_000))
            assert len(found["generation"].unique()) == 1
    table = open_delta(store.location("scores"))
    assert table is not None
    assert (len(active_files(table)), table.version() > 24) == (4, True)


def merge_for_ever(folder: str, first: int, written: Event) -> None:
    number = first
    while True:
        merge_newest(DeltaTables(folder), "current", generation("a", number, 20_000), "id", ["generation"])
        written.set()
        number += 1


def test_a_merge_killed_at_any_moment_leaves_one_row_a_customer(tmp_path: Path):
    for kill in range(1, 7):
        killed_at_a_random_moment(merge_for_ever, tmp_path, kill * 1000, within=0.4)
        handle = DeltaTables(str(tmp_path)).open("current")
        assert handle is not None
        found = handle.to_arrow()
        assert sorted(found["id"].to_pylist()) == list(range(20_000))
        assert len(found["generation"].unique()) == 1


def write_too_much(kind: str, folder: str, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        STORES[kind](Path(folder)).write(
            "scores", rows(batch("a"), *(piece(range(20_000)) for _ in range(5))), "replace_batch"
        )
    except TableNotWritable as error:
        assert "a file grew past the allowed size. Its old content is intact." in str(error)
        return
    raise AssertionError("the write went through")


@pytest.mark.parametrize(("kind", "limit"), [("delta", 10), *((kind, 100_000) for kind in STORES if kind != "memory")])
def test_a_disk_that_takes_no_more_leaves_the_old_rows_and_no_litter(tmp_path: Path, kind: str, limit: int):
    store = STORES[kind](tmp_path)
    store.write("scores", rows(batch("a"), piece([1, 2])), "replace_batch")
    files = sorted(tmp_path.rglob("*"))
    all_finish([start(write_too_much, kind, str(tmp_path), limit)])
    handle = store.open("scores")
    assert handle is not None
    assert handle.to_arrow(SCHEMA.names).to_pylist() == piece([1, 2]).to_pylist()
    assert sorted(tmp_path.rglob("*")) == files
