"""Tables and queries of a database, with SQLite; what only PostgreSQL does is in `postgres/`."""

import os
import pickle
import shutil
import sqlite3
import stat
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from churn_pipeline.batches import FileBatch
from churn_pipeline.contract.definition import AmbiguousColumn, MissingColumn
from churn_pipeline.errors import ChurnPipelineError
from churn_pipeline.resources.customer_sources import databases
from churn_pipeline.resources.customer_sources.base import SourceChanged, SourceNotFound
from churn_pipeline.resources.customer_sources.databases import (
    Database,
    DatabaseUnreachable,
    DatabaseUrlWrong,
    QueryFailed,
    SqlUnavailable,
)
from churn_pipeline.resources.customer_sources.query_snapshots import QuerySnapshots, SnapshotNotWritable
from churn_pipeline.resources.customer_sources.sql_queries import QueryMissing, SqlSource
from churn_pipeline_tests.resources.customer_sources.shops import CONTRACT, SHOPS, ids, read, sqlite_table


def source(folder: Path, query: str, url: str | None = None) -> SqlSource:
    url = f"sqlite:///{folder}/shops.db" if url is None else url
    return SqlSource(f"sql:{query}", Database(url), CONTRACT, QuerySnapshots(folder / "snapshots"))


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "snapshots").iterdir())


def statements(folder: Path, *texts: str) -> None:
    with closing(sqlite3.connect(folder / "shops.db")) as connection, connection:
        for text in texts:
            connection.execute(text)


# --- the batch is what the database answered


def test_the_same_rows_are_the_same_batch_whatever_their_order_in_the_table_and_are_kept_once(tmp_path: Path):
    batch = sqlite_table(tmp_path, SHOPS).plan()
    again = sqlite_table(tmp_path, SHOPS[::-1]).plan()
    assert batch == again and len(kept(tmp_path)) == 1
    assert batch.source == "sql:shops" and batch.id.startswith("shops-")


def test_a_retry_reads_what_was_planned_though_the_database_changed_and_then_went(tmp_path: Path):
    asked = sqlite_table(tmp_path, SHOPS)
    batch = asked.plan()
    statements(tmp_path, "delete from shops where shop < 'S4'")
    assert ids(read(asked)) == ["S4", "S5"]
    (tmp_path / "shops.db").unlink()
    assert ids(list(asked.read(batch, CONTRACT))) == ["S1", "S2", "S3", "S4", "S5"]
    assert asked.about(batch) == 5


def test_planning_the_same_rows_does_not_disturb_who_reads_them(tmp_path: Path):
    asked = sqlite_table(tmp_path, [SHOPS[0] | {"shop": f"S{n:06}"} for n in range(70_000)])
    reading = iter(asked.read(asked.plan(), CONTRACT))
    next(reading)
    asked.plan()
    assert len(next(reading).rows) + 65_536 == 70_000
    assert list(reading) == []


def test_only_this_user_may_look_into_a_snapshot(tmp_path: Path):
    (bound,) = sqlite_table(tmp_path, SHOPS).plan().files
    file = Path(bound.path)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o600, 0o700]


def test_a_query_is_asked_as_it_is_and_keeps_its_order(tmp_path: Path):
    sqlite_table(tmp_path, SHOPS)
    asked = source(tmp_path, "select *, 'x' as more from shops where shop <> 'S2' order by shop desc; ")
    assert ids(read(asked)) == ["S5", "S4", "S3", "S1"]
    batch = asked.plan(limit=2)
    assert batch.id.startswith("query-") and ids(list(asked.read(batch, CONTRACT))) == ["S5", "S4"]
    assert ids(read(source(tmp_path, "select * from shops -- all of them"))) == ["S1", "S2", "S3", "S4", "S5"]


@pytest.mark.parametrize("table", ["main.shops", '"shops"', " shops ", "some_shops"])
def test_a_table_may_have_a_schema_quotes_or_be_a_view(tmp_path: Path, table: str):
    sqlite_table(tmp_path, SHOPS)
    statements(tmp_path, "create view some_shops as select * from shops")
    assert ids(read(source(tmp_path, table))) == ["S1", "S2", "S3", "S4", "S5"]


def test_a_table_without_rows_is_a_batch_of_none(tmp_path: Path):
    asked = sqlite_table(tmp_path, SHOPS)
    statements(tmp_path, "delete from shops")
    assert (ids(read(asked)), asked.about(asked.plan())) == ([], 0)


def test_a_table_can_be_looked_at_without_keeping_anything(tmp_path: Path):
    assert sqlite_table(tmp_path, SHOPS).look() == list(SHOPS[0])
    assert source(tmp_path, "select shop, 1 as one from shops -- two").look() == ["shop", "one"]
    assert not (tmp_path / "snapshots").exists()


# --- other processes


def test_who_reads_elsewhere_gets_the_rows_and_not_the_secret(tmp_path: Path):
    asked = sqlite_table(tmp_path, SHOPS)
    batch = asked.plan()
    packed = pickle.dumps(asked)
    assert b"shops.db" not in packed and b"sqlite" not in packed
    there = pickle.loads(packed)
    parts = asked.parts(batch, 4)
    assert parts is not None
    assert [ids(list(there.read(part, CONTRACT))) for part in parts] == [["S1", "S2", "S3", "S4", "S5"]]


# --- snapshots


def test_a_snapshot_that_was_removed_or_changed_is_an_error_and_made_anew_by_the_next_plan(tmp_path: Path):
    asked = sqlite_table(tmp_path, SHOPS)
    batch = asked.plan()
    Path(batch.files[0].path).write_bytes(b"something else")
    with pytest.raises(SourceChanged, match="changed after"):
        list(asked.read(batch, CONTRACT))
    assert ids(read(asked)) == ["S1", "S2", "S3", "S4", "S5"]
    shutil.rmtree(tmp_path / "snapshots")
    for look in (asked.about, asked.columns, lambda batch: asked.parts(batch, 3), lambda b: asked.read(b, CONTRACT)):
        with pytest.raises(SourceChanged, match=r"snapshot of batch shops-\w+ \(sql:shops\) is gone"):
            look(batch)
    assert asked.plan().id == batch.id


def test_old_snapshots_and_what_killed_processes_left_are_swept(tmp_path: Path):
    asked = sqlite_table(tmp_path, SHOPS)
    old, new = asked.plan(limit=1), asked.plan(limit=2)
    stray, young = tmp_path / "snapshots" / ".a.tmp", tmp_path / "snapshots" / ".b.tmp"
    for path in (stray, young):
        path.mkdir()
    for path, days in ((Path(old.files[0].path).parent, 31), (Path(new.files[0].path).parent, 29), (stray, 2)):
        os.utime(path, (0, time.time() - days * 86_400))
    assert QuerySnapshots(tmp_path / "snapshots").sweep(30) == 2
    assert kept(tmp_path) == [young, Path(new.files[0].path).parent]
    os.utime(Path(new.files[0].path).parent, (0, 0))
    assert asked.plan(limit=2) == new  # used again
    assert QuerySnapshots(tmp_path / "snapshots").sweep(30) == 0
    assert QuerySnapshots(tmp_path / "nowhere").sweep(30) == 0


def test_a_disk_that_refuses_is_told(tmp_path: Path):
    (tmp_path / "snapshots").write_text("no folder")
    with pytest.raises(SnapshotNotWritable, match="cannot be kept in"):
        sqlite_table(tmp_path, SHOPS).plan()


def test_a_query_that_fails_leaves_nothing(tmp_path: Path):
    sqlite_table(tmp_path, SHOPS)
    asked = source(tmp_path, "select *, case shop when 'S4' then json('hunter2') end as odd from shops")
    with pytest.raises(QueryFailed) as error:
        asked.plan()
    assert "hunter2" not in str(error.value).replace(asked.describe(), "")
    assert not (tmp_path / "snapshots").exists() or kept(tmp_path) == []


# --- what can be wrong


@pytest.mark.parametrize(
    ("query", "kind", "said"),
    [
        ("shoops", SourceNotFound, r"no table shoops \(nearest: 'shops'\)"),
        ("select * from shoops", QueryFailed, "no such table: shoops"),
        ("select nope from shops", QueryFailed, "no such column: nope"),
        ("selec * from shops", QueryFailed, 'near "selec": syntax error'),
        ("delete from shops where 1", QueryFailed, "write a readonly database"),
        ("select shop from shops", MissingColumn, "no column 'Spend, monthly'|no column 'seen'"),
        ("select *, note from shops", AmbiguousColumn, "'note'"),
        ("select *, \"left\" from shops", AmbiguousColumn, "'left'"),
        (" ; ", QueryMissing, "no table and no query"),
    ],
)  # fmt: skip
def test_a_wrong_query_is_told(tmp_path: Path, query: str, kind: type[ChurnPipelineError], said: str):
    sqlite_table(tmp_path, SHOPS)
    with pytest.raises(kind, match=said):
        source(tmp_path, query).plan()
    assert len(ids(read(source(tmp_path, "shops")))) == 5


def test_a_column_of_several_types_is_told_where_the_driver_cannot_hold_it(tmp_path: Path):
    rows: list[dict[str, Any]] = [SHOPS[0] | {"shop": f"S{n:06}"} for n in range(66_000)]
    rows[-1]["visits"] = "many"
    with pytest.raises(QueryFailed, match=r"column number 5 .* CAST\(column AS TEXT\)"):
        sqlite_table(tmp_path, rows).plan()


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("", DatabaseUrlWrong, "CHURN_DATABASE_URL does not say"),
        ("mysql://me:hunter2@host/shop", DatabaseUrlWrong, "begins with neither"),
        ("sqlite://hunter2", DatabaseUrlWrong, "names no file"),
        ("sqlite:////nowhere/at/all.db", DatabaseUnreachable, "does not answer"),
        ("postgresql://me:hun/ter2@host/shop", DatabaseUrlWrong, "cannot be taken apart"),
        ("postgresql://me:hun?ter2@host/shop", DatabaseUrlWrong, "cannot be taken apart"),
        ("postgresql://me:hun[ter2@host/shop", DatabaseUrlWrong, "cannot be taken apart"),
    ],
)
def test_a_wrong_url_is_told_and_not_repeated(tmp_path: Path, url: str, kind: type[ChurnPipelineError], said: str):
    with pytest.raises(kind, match=said) as error:
        source(tmp_path, "shops", url).plan()
    assert "ter2" not in str(error.value)


def test_a_batch_is_read_where_no_url_is_set(tmp_path: Path):
    batch = sqlite_table(tmp_path, SHOPS).plan()
    assert len(ids(list(source(tmp_path, "shops", "").read(batch, CONTRACT)))) == 5


def test_missing_drivers_are_an_instruction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(databases, "find_spec", lambda _: None)
    with pytest.raises(SqlUnavailable, match=r"churn-pipeline\[sql\]"):
        sqlite_table(tmp_path, SHOPS).plan()


def test_a_batch_scored_again_is_another(tmp_path: Path):
    batch = sqlite_table(tmp_path, SHOPS).plan()
    assert isinstance(batch, FileBatch)
    assert replace(batch, again="churn_model/2").id != batch.id
