"""Which files a location names, and files that change under the reader."""

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from churn_pipeline.contract.definition import Contract, MissingColumn
from churn_pipeline.resources.customer_sources.base import (
    CustomerSource,
    SourceChanged,
    SourceEmpty,
    SourceFormatUnknown,
    SourceMixed,
    SourceNotFound,
    SourceUnreadable,
)
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline.sample import sample
from churn_pipeline_tests.resources.customer_sources.shops import (
    CONTRACT,
    SHOPS,
    as_csv,
    broken,
    ids,
    positions,
    read,
    written,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`b.csv`, `a.csv` and `deep/c.CSV` with two shops each, and things that are no customers."""
    place = tmp_path / "shops"
    for name, first in {
        "b.csv": 3,
        "a.csv": 1,
        "deep/c.CSV": 5,
        ".hidden.csv": 7,
        "_SUCCESS": 7,
        "_tmp/x.csv": 7,
    }.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_csv([SHOPS[0] | {"shop": f"S{n}"} for n in (first, first + 1)]))
    (place / "README.md").write_text("About these files.")
    return place


def _names(source: CustomerSource) -> list[str]:
    return [Path(bound.path).name for bound in source.plan().files]


def test_a_folder_stands_for_the_customer_files_in_and_below_it_in_order(folder: Path):
    source = FileSource(str(folder))
    assert _names(source) == ["a.csv", "b.csv", "c.CSV"]
    found = read(source)
    assert ids(found) == ["S1", "S2", "S3", "S4", "S5", "S6"]
    assert positions(found) == [1, 2] * 3
    assert [Path(part.partition).name for part in found] == ["a.csv", "b.csv", "c.CSV"]


def test_a_glob_stands_for_what_it_matches(folder: Path):
    assert _names(FileSource(f"{folder}/*.csv")) == ["a.csv", "b.csv"]
    assert _names(FileSource(f"{folder}/**/*.CSV")) == ["c.CSV"]
    assert _names(FileSource(f"{folder}/*")) == ["a.csv", "b.csv", "c.CSV"]
    assert _names(FileSource(f"{folder}/[ab].csv")) == ["a.csv", "b.csv"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path):
    (tmp_path / "shops[1].csv").write_bytes(as_csv(SHOPS))
    assert _names(FileSource(str(tmp_path / "shops[1].csv"))) == ["shops[1].csv"]


def test_a_relative_location_is_the_same_batch_as_the_absolute_one(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    assert FileSource("../shops/a.csv").plan().files == FileSource(str(folder / "a.csv")).plan().files


def test_a_limit_ends_within_a_file_and_counts_broken_lines(folder: Path):
    with (folder / "a.csv").open("ab") as file:
        file.write(b"broken\n")
    source = FileSource(str(folder))
    for limit, rows, lines in [(2, ["S1", "S2"], 0), (3, ["S1", "S2"], 1), (4, ["S1", "S2", "S3"], 1), (0, [], 0)]:
        found = list(source.read(source.plan(limit), CONTRACT))
        assert (ids(found), len(broken(found))) == (rows, lines)


def test_every_file_is_checked_for_its_columns_before_the_first_row(folder: Path):
    (folder / "deep" / "c.CSV").write_text("shop\n")
    source = FileSource(str(folder))
    with pytest.raises(MissingColumn, match=r"c\.CSV has no column"):
        source.read(source.plan(), CONTRACT)


def test_the_date_of_a_batch_is_that_of_its_newest_file(folder: Path):
    os.utime(folder / "a.csv", (0, 1_714_600_000.25))
    os.utime(folder / "b.csv", (0, 1_700_000_000))
    assert FileSource(f"{folder}/*.csv").plan().as_of == datetime(2024, 5, 1, 21, 46, 40, 250_000, tzinfo=UTC)


def test_a_file_that_is_not_there_names_the_nearest(folder: Path):
    with pytest.raises(SourceNotFound, match=r"no file or folder .*aa\.csv \(nearest: 'a\.csv'\)"):
        FileSource(str(folder / "aa.csv")).plan()
    with pytest.raises(SourceNotFound, match="no file under"):
        FileSource(f"{folder}/*.jsonl").plan()
    (folder / "empty").mkdir()
    with pytest.raises(SourceNotFound, match="no file under"):
        FileSource(str(folder / "empty")).plan()


def test_files_of_several_formats_need_a_choice(folder: Path):
    written("jsonl", SHOPS, folder)
    with pytest.raises(SourceMixed, match=r"\(csv, jsonl\).*\*\.csv"):
        FileSource(str(folder)).plan()
    assert _names(FileSource(str(folder), format="jsonl")) == ["shops.jsonl"]


def test_a_suffix_that_says_nothing_needs_the_format(tmp_path: Path):
    path = tmp_path / "shops.txt"
    path.write_bytes(as_csv(SHOPS))
    with pytest.raises(SourceFormatUnknown, match=r"none of the suffixes \.csv"):
        FileSource(str(path)).plan()
    assert len(ids(read(FileSource(str(path), format="csv")))) == 5
    with pytest.raises(SourceFormatUnknown, match=r"nearest: 'parquet'"):
        FileSource(str(path), format="parket")


def test_compressed_files_and_delta_tables_are_not_read_by_mistake(folder: Path):
    (folder / "more.csv.gz").write_bytes(b"")
    with pytest.raises(SourceFormatUnknown, match=r"more\.csv\.gz is compressed"):
        FileSource(str(folder)).plan()
    (folder / "_delta_log").mkdir()
    with pytest.raises(SourceFormatUnknown, match="Delta table"):
        FileSource(str(folder)).plan()


def test_an_empty_file_is_told_when_planning(folder: Path):
    (folder / "b.csv").write_bytes(b"")
    with pytest.raises(SourceEmpty, match=r"b\.csv is empty"):
        FileSource(str(folder)).plan()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(folder: Path):
    (folder / "a.csv").chmod(0)
    with pytest.raises(SourceUnreadable, match="permission denied"):
        FileSource(str(folder / "a.csv")).plan()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that fails when it is read")
def test_a_file_that_fails_when_it_is_read_says_so():
    with pytest.raises(SourceUnreadable, match="input/output error"):
        FileSource("/proc/self/mem", format="csv").plan()


def test_a_pipe_is_no_customer_file(tmp_path: Path):
    os.mkfifo(tmp_path / "some.csv")
    assert stat.S_ISFIFO((tmp_path / "some.csv").stat().st_mode)
    with pytest.raises(SourceUnreadable, match="not a regular file"):
        FileSource(str(tmp_path / "some.csv")).plan()


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_file_that_changed_after_planning_is_an_error(kind: str, tmp_path: Path):
    source = written(kind, SHOPS, tmp_path)
    batch = source.plan()
    path = Path(batch.files[0].path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"large", b"LARGE"))
    os.utime(path, (0, 1_714_600_000))
    with pytest.raises(SourceChanged, match="changed after the batch was planned"):
        list(source.read(batch, CONTRACT))
    path.unlink()
    with pytest.raises(SourceChanged):
        list(source.read(batch, CONTRACT))


def test_a_file_that_was_only_touched_is_still_the_batch(tmp_path: Path):
    source = written("csv", SHOPS, tmp_path)
    batch = source.plan()
    os.utime(batch.files[0].path, (0, 1_714_600_000))
    assert len(ids(list(source.read(batch, CONTRACT)))) == 5


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"S9\n")


def _same_size_and_time(path: Path) -> None:
    found = path.stat()
    path.write_bytes(path.read_bytes().replace(b"S1", b"S7"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _replace(path: Path) -> None:
    beside = path.with_name("new")
    beside.write_bytes(path.read_bytes())
    beside.replace(path)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("change", [_grow, _same_size_and_time, _replace, Path.unlink])
def test_a_file_that_changes_while_it_is_read_is_an_error_at_the_end(kind: str, change, tmp_path: Path):
    source = written(kind, SHOPS, tmp_path)
    batch = source.plan()
    rows = source.read(batch, CONTRACT)
    assert next(iter(rows)).count == 5
    change(Path(batch.files[0].path))
    with pytest.raises(SourceChanged):
        list(rows)


def test_a_reader_that_stops_early_raises_nothing(tmp_path: Path):
    source = written("csv", SHOPS, tmp_path)
    rows = source.read(source.plan(), CONTRACT)
    next(iter(rows))
    rows.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("suffix", "off_by"), [(".parquet", 0.0), (".csv", 0.3), (".jsonl", 0.3)])
def test_how_many_rows_there_are_is_about_known_without_reading_them(tmp_path, suffix, off_by):
    rows = sample(Contract.load("telco"), 500, seed=1)
    for n in range(2):
        path = tmp_path / f"{n}{suffix}"
        if suffix == ".parquet":
            pq.write_table(rows, path)
        elif suffix == ".csv":
            pa_csv.write_csv(rows, path)
        else:
            path.write_text("".join(json.dumps(record) + "\n" for record in rows.to_pylist()))
    source = FileSource(str(tmp_path))
    assert abs(source.about(source.plan()) - 1_000) <= off_by * 1_000


@pytest.mark.parametrize("count", [1, 3, 100])
def test_parts_of_a_batch_are_its_rows_in_their_order(tmp_path, count):
    contract = Contract.load("telco")
    for n in range(2):
        pq.write_table(sample(contract, 400, seed=n), tmp_path / f"{n}.parquet", row_group_size=90)
    source = FileSource(str(tmp_path))
    batch = source.plan()
    parts = source.parts(batch, count)
    found = [rows for part in parts for rows in source.read(part, contract)]
    whole = list(source.read(batch, contract))
    for places in (lambda rows: rows.positions.to_pylist(), lambda rows: rows.rows.column(0).to_pylist()):
        assert [n for rows in found for n in places(rows)] == [n for rows in whole for n in places(rows)]
    assert len(parts) == (10 if count == 100 else 2)


def test_the_first_rows_of_a_batch_are_no_parts(tmp_path):
    pq.write_table(sample(Contract.load("telco"), 40), tmp_path / "c.parquet")
    source = FileSource(str(tmp_path))
    assert source.parts(source.plan(limit=7), 4) is None
