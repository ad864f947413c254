"""Which version of a Delta table is read, and which are not."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from churn_pipeline.batches import Batch
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources.base import SourceChanged, SourceNotFound, SourceUnreadable
from churn_pipeline.resources.customer_sources.delta_tables import DeltaSource
from churn_pipeline.resources.customer_sources.delta_versions import TableFeatureUnsupported, is_delta_table
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline_tests.resources.customer_sources.delta_builders import add, change_add, written_by_hand
from churn_pipeline_tests.resources.customer_sources.shops import CONTRACT, SHOPS, ids, read


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A table of the first three shops."""
    location = str(tmp_path / "shops")
    add(location, SHOPS[:3])
    return location


def read_batch(location: str, batch: Batch) -> list[SourceRows]:
    return list(DeltaSource(location).read(batch, CONTRACT))


# --- which rows


def test_a_batch_is_the_version_that_was_the_newest_whatever_is_written_afterwards(table: str):
    batch = DeltaSource(table).plan()
    add(table, SHOPS[3:])
    assert ids(read_batch(table, batch)) == ["S1", "S2", "S3"]
    assert ids(read(DeltaSource(table))) == ["S1", "S2", "S3", "S4", "S5"]
    add(table, SHOPS[4:], "overwrite")
    assert ids(read_batch(table, batch)) == ["S1", "S2", "S3"]
    assert ids(read(DeltaSource(table))) == ["S5"]


def test_versions_are_batches_of_their_own_with_the_date_of_their_commit(table: str):
    first = DeltaSource(table).plan()
    add(table, SHOPS[3:])
    second = DeltaSource(table).plan()
    assert (first.version, second.version, first.table_id) == (0, 1, second.table_id)
    assert first.id != second.id and first.stored < second.stored
    committed = DeltaTable(table).history(1)[0]["timestamp"]
    assert second.as_of.timestamp() * 1000 == pytest.approx(committed)


def test_a_version_is_the_same_batch_from_any_working_folder(table: str, monkeypatch: pytest.MonkeyPatch):
    batch = DeltaSource(table).plan()
    monkeypatch.chdir(Path(table).parent)
    assert DeltaSource("shops").plan() == batch == DeltaSource("./shops/").plan()


def test_a_version_that_was_vacuumed_is_an_error(table: str):
    batch = DeltaSource(table).plan()
    add(table, SHOPS, "overwrite")
    DeltaTable(table).vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(SourceChanged, match=r"was vacuumed: version 0, on which batch shops-"):
        read_batch(table, batch)
    assert len(ids(read(DeltaSource(table)))) == 5


def test_a_version_whose_log_is_gone_is_an_error(table: str):
    batch = DeltaSource(table).plan()
    add(table, SHOPS, "overwrite")
    DeltaTable(table).create_checkpoint()
    (Path(table) / "_delta_log" / f"{0:020}.json").unlink()
    with pytest.raises(SourceChanged, match="does not go back so far"):
        read_batch(table, batch)


def test_a_table_that_was_made_anew_is_an_error_though_its_versions_have_the_same_numbers(table: str):
    batch = DeltaSource(table).plan()
    shutil.rmtree(table)
    add(table, SHOPS[:3])
    with pytest.raises(SourceChanged, match="deleted and made anew"):
        read_batch(table, batch)
    assert DeltaSource(table).plan().id != batch.id


def test_a_table_that_is_gone_or_went_back_is_an_error(table: str, tmp_path: Path):
    shutil.copytree(table, tmp_path / "copy")
    add(table, SHOPS[3:])
    batch = DeltaSource(table).plan()
    shutil.rmtree(table)
    with pytest.raises(SourceChanged, match="is a Delta table no more"):
        read_batch(table, batch)
    shutil.copytree(tmp_path / "copy", table)
    with pytest.raises(SourceChanged, match="has no version after 0"):
        read_batch(table, batch)


def test_a_file_that_was_written_over_is_an_error(table: str):
    batch = DeltaSource(table).plan()
    (path,) = Path(table).glob("*.parquet")
    pq.write_table(pa.Table.from_pylist(SHOPS), path)
    with pytest.raises(SourceChanged, match=r"a file that was replaced \(part-"):
        read_batch(table, batch)


def test_a_damaged_file_of_the_right_size_is_an_error(table: str):
    (path,) = Path(table).glob("*.parquet")
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(SourceUnreadable, match="not Parquet, is damaged"):
        read(DeltaSource(table))


def test_what_is_a_table_at_one_time_and_a_folder_of_files_at_another_is_an_error(table: str):
    as_table = DeltaSource(table).plan()
    shutil.move(f"{table}/_delta_log", f"{table}/../log")
    as_files = FileSource(table).plan()
    with pytest.raises(SourceChanged, match="was a Delta table when batch"):
        list(FileSource(table).read(as_table, CONTRACT))
    shutil.move(f"{table}/../log", f"{table}/_delta_log")
    with pytest.raises(SourceChanged, match="was a folder of files when batch"):
        read_batch(table, as_files)


# --- what cannot be read so


def test_a_writer_that_does_not_say_when_it_committed_leaves_the_time_of_its_files(tmp_path: Path):
    source = DeltaSource(written_by_hand(tmp_path / "t"))
    assert source.plan().as_of == datetime(2024, 6, 1, tzinfo=UTC)
    assert ids(read(source)) == ["S1", "S2", "S3", "S4", "S5"]


@pytest.mark.parametrize(
    "features",
    [("timestampNtz",), ("v2Checkpoint",), ("vacuumProtocolCheck",), ("deletionVectors",), ("columnMapping",)],
)
def test_features_that_leave_rows_as_they_are_do_not_matter(tmp_path: Path, features: tuple[str, ...]):
    location = written_by_hand(tmp_path / "t", features)
    assert ids(read(DeltaSource(location))) == ["S1", "S2", "S3", "S4", "S5"]


@pytest.mark.parametrize("feature", ["typeWidening", "somethingNew"])
def test_a_feature_that_may_change_rows_is_an_error_that_names_it(tmp_path: Path, feature: str):
    with pytest.raises(TableFeatureUnsupported, match=f"the table uses {feature}, "):
        DeltaSource(written_by_hand(tmp_path / "t", (feature,))).plan()


def test_rows_that_a_vector_deleted_are_never_read(tmp_path: Path):
    location = written_by_hand(tmp_path / "t", ("deletionVectors",))
    vector = {"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^", "offset": 4, "sizeInBytes": 40}
    change_add(location, deletionVector=vector | {"cardinality": 1})
    with pytest.raises(TableFeatureUnsupported, match="deletionVectors"):
        DeltaSource(location).plan()


@pytest.mark.parametrize("features", [(), ("columnMapping",)])
def test_columns_that_files_have_under_other_names_are_an_error(tmp_path: Path, features: tuple[str, ...]):
    location = written_by_hand(tmp_path / "t", features, **{"delta.columnMapping.mode": "name"})
    with pytest.raises(TableFeatureUnsupported, match="columnMapping"):
        DeltaSource(location).plan()


def test_files_of_another_table_are_an_error(tmp_path: Path):
    location = written_by_hand(tmp_path / "t")
    change_add(location, path=f"file://{location}/p.parquet")
    with pytest.raises(TableFeatureUnsupported, match="a shallow clone"):
        DeltaSource(location).plan()


def test_a_log_that_cannot_be_read_is_an_error_without_its_text(table: str):
    commit = Path(table) / "_delta_log" / f"{0:020}.json"
    commit.write_text('{"protocol": "S1')
    with pytest.raises(SourceUnreadable, match="log is damaged") as error:
        DeltaSource(table).plan()
    assert "S1" not in str(error.value)


# --- where


def test_a_uri_is_read_through_the_storage_of_the_log(tmp_path: Path):
    location = f"{tmp_path.as_uri()}/shops"
    rows = [shop | {"note": f"{n} %/ü"} for n, shop in enumerate(SHOPS)]
    add(location, rows, partition_by=["note"])
    source = DeltaSource(location)
    batch = source.plan()
    assert is_delta_table(location) and batch.source == location and batch.id.startswith("shops-")
    assert sorted(ids(list(source.read(batch, CONTRACT)))) == ["S1", "S2", "S3", "S4", "S5"]
    parts = source.parts(batch, 10)
    assert parts is not None and len(parts) == 5
    shutil.rmtree(next((tmp_path / "shops").glob("note=0*")))
    with pytest.raises(SourceChanged, match="was vacuumed"):
        list(source.read(batch, CONTRACT))


def test_a_table_that_is_not_there_names_the_nearest(table: str, tmp_path: Path):
    with pytest.raises(SourceNotFound, match=r"no Delta table in .*shop \(nearest: 'shops'\)"):
        DeltaSource(f"{table[:-1]}").plan()
    with pytest.raises(SourceNotFound, match="no Delta table at file://"):
        DeltaSource(f"{tmp_path.as_uri()}/nothing").plan()
    with pytest.raises(SourceNotFound, match="the kind of storage"):
        DeltaSource("nosuch://bucket/customers").plan()
