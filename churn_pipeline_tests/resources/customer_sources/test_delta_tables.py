"""The rows of a Delta table, whole and in parts."""

import json
import os
import pickle
import shutil
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from churn_pipeline.contract.definition import Contract, MissingColumn
from churn_pipeline.contract.validation import validate
from churn_pipeline.resources.customer_sources.delta_tables import DeltaSource
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline.sample import sample
from churn_pipeline_tests.resources.customer_sources.delta_builders import add, change_add, written_by_hand
from churn_pipeline_tests.resources.customer_sources.shops import CONTRACT, SHOPS, ids, positions, read

TELCO = Contract.load("telco")
JUNE = datetime(2024, 6, 1, tzinfo=UTC)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A table of the first three shops."""
    location = str(tmp_path / "shops")
    add(location, SHOPS[:3])
    return location


# --- rows


def test_the_rows_are_those_of_the_same_parquet_files(tmp_path: Path):
    location = str(tmp_path / "customers")
    for seed in (1, 2):
        rows = sample(TELCO, 500, seed=seed)
        odd = pa.array([None if n % 9 == 0 else "whenever" if n % 7 == 0 else "One year" for n in range(500)])
        write_deltalake(
            location, rows.set_column(rows.schema.get_field_index("Contract"), "Contract", odd), mode="append"
        )
    source = DeltaSource(location)
    found = [validate(part, TELCO, JUNE) for part in source.read(source.plan(), TELCO)]
    log = shutil.move(f"{location}/_delta_log", tmp_path / "log")
    # Files in the order in which they were written.
    paths = sorted(Path(location).glob("*.parquet"), key=os.path.getmtime)
    same = [validate(part, TELCO, JUNE) for path in paths for part in read(FileSource(str(path)), TELCO)]
    assert Path(log).is_dir() and sum(part.rejected.num_rows for part in found) > 200
    for name in ("customers", "rejected"):
        assert [getattr(p, name).to_pylist() for p in found] == [getattr(p, name).to_pylist() for p in same]


def test_files_come_in_the_order_they_were_written_and_positions_are_those_of_a_file(table: str):
    for shop in SHOPS[3:]:
        add(table, [shop])
    found = read(DeltaSource(table))
    assert ids(found) == ["S1", "S2", "S3", "S4", "S5"]
    assert positions(found) == [1, 2, 3, 1, 1]
    assert [pq.read_table(part.partition)["shop"][0].as_py() for part in found] == ["S1", "S4", "S5"]


def test_the_order_survives_a_checkpoint(table: str):
    for n in range(12):
        add(table, [SHOPS[0] | {"shop": f"N{n}"}])
    batch = DeltaSource(table).plan()
    before = ids(list(DeltaSource(table).read(batch, CONTRACT)))
    DeltaTable(table).create_checkpoint()
    assert (
        ids(list(DeltaSource(table).read(batch, CONTRACT)))
        == before
        == ["S1", "S2", "S3", *(f"N{n}" for n in range(12))]
    )


def test_columns_of_few_values_are_dictionaries(table: str):
    (rows,) = read(DeltaSource(table))
    assert pa.types.is_dictionary(rows.rows.column("size").type)
    assert not pa.types.is_dictionary(rows.rows.column("shop").type)


def test_a_limit_counts_over_files(table: str):
    add(table, SHOPS[3:])
    source = DeltaSource(table)
    assert ids(list(source.read(source.plan(limit=4), CONTRACT))) == ["S1", "S2", "S3", "S4"]
    assert source.parts(source.plan(limit=4), 4) is None


def test_partition_columns_have_their_values_though_they_are_in_no_file(tmp_path: Path):
    location = str(tmp_path / "shops")
    notes = ["a b", "ü/ä", "x%20y=1", None, "c:d#?"]
    rows = [shop | {"note": note} for shop, note in zip(SHOPS, notes, strict=True)]
    add(location, rows, partition_by=["size", "online", "visits", "note"])
    found = read(DeltaSource(location))
    assert [set(pq.ParquetFile(part.partition).schema_arrow.names) for part in found] == [
        {"shop", "left", "Spend, monthly", "extra", "seen"}
    ] * 5
    same = [validate(part, CONTRACT, JUNE) for part in read(FileSource(plain_file(tmp_path, rows)))]
    judged = [validate(part, CONTRACT, JUNE) for part in found]
    assert customers(judged) == customers(same)


def test_partition_columns_are_of_every_type_that_a_contract_knows(tmp_path: Path):
    values = {
        "number": Decimal("12.50"), "integer": 7, "boolean": True, "category": "red", "text": "t",
    }  # fmt: skip
    contract = Contract.model_validate(
        {
            "name": "typed", "description": "Types.", "id": {"column": "id", "description": "Id."},
            "event_time": {"column": "day", "description": "Day."},
            "features": {
                kind: {"type": kind, "description": kind} | ({"allowed": ["red"]} if kind == "category" else {})
                for kind in values
            },
        }
    )  # fmt: skip
    rows = [{"id": "a", "day": date(2024, 5, 6)} | values]
    write_deltalake(tmp_path / "t", pa.Table.from_pylist(rows), partition_by=["day", *values])
    source = DeltaSource(str(tmp_path / "t"))
    (part,) = source.read(source.plan(), contract)
    (customer,) = validate(part, contract, JUNE).customers.to_pylist()
    wanted = values | {"id": "a", "event_at": datetime(2024, 5, 6, tzinfo=UTC), "number": 12.5}
    assert {name: customer[name] for name in wanted} == wanted


def test_a_column_that_came_later_is_missing_in_older_rows_and_one_that_no_version_has_is_an_error(table: str):
    later = CONTRACT.model_copy(
        update={"features": CONTRACT.features | {"colour": CONTRACT.features["note"].model_copy()}}
    )
    with pytest.raises(MissingColumn, match="'colour'"):
        read(DeltaSource(table), later)
    add(table, [SHOPS[3] | {"colour": "red"}], schema_mode="merge")
    found = read(DeltaSource(table), later)
    assert [value for part in found for value in part.rows.column("colour").to_pylist()] == [None, None, None, "red"]


def test_values_that_no_contract_type_can_hold_cost_their_rows(tmp_path: Path):
    add(str(tmp_path / "t"), [shop | {"note": [shop["shop"]]} for shop in SHOPS[:2]])
    found = [validate(part, CONTRACT, JUNE) for part in read(DeltaSource(str(tmp_path / "t")))]
    assert [row["rules"] for part in found for row in part.rejected.to_pylist()] == [["not_text"]] * 2


def test_rows_are_counted_from_the_log_and_not_at_all_where_a_writer_did_not(table: str):
    add(table, SHOPS[3:])
    source = DeltaSource(table)
    assert source.about(source.plan()) == 5
    commit = Path(table) / "_delta_log" / f"{1:020}.json"
    actions = [json.loads(line) for line in commit.read_text().splitlines()]
    for action in actions:
        action.get("add", {}).pop("stats", None)
    commit.write_text("\n".join(map(json.dumps, actions)))
    assert source.about(source.plan()) is None
    assert len(ids(read(source))) == 5


def test_a_table_without_rows_is_a_batch_of_none(tmp_path: Path):
    write_deltalake(tmp_path / "t", pa.Table.from_pylist(SHOPS).slice(0, 0))
    source = DeltaSource(str(tmp_path / "t"))
    batch = source.plan()
    assert (read(source), source.about(batch), source.parts(batch, 4)) == ([], 0, [])


# --- in parts


@pytest.mark.parametrize("count", [1, 4, 100])
def test_parts_of_a_batch_are_its_rows_in_their_order_read_without_the_log(tmp_path: Path, count: int):
    location = tmp_path / "customers"
    for seed in range(2):
        rows = sample(TELCO, 400, seed=seed)
        write_deltalake(location, rows, mode="append", partition_by=["Contract"])
    pq_files = {path: pq.read_table(path, partitioning=None) for path in location.rglob("*.parquet")}
    assert len(pq_files) == 6
    source = DeltaSource(str(location))
    batch = source.plan()
    whole = list(source.read(batch, TELCO))
    parts = pickle.loads(pickle.dumps(source.parts(batch, count)))
    shutil.rmtree(location / "_delta_log")
    found = [rows for part in parts for rows in source.read(part, TELCO)]
    assert [r.rows.to_pylist() for r in found] == [r.rows.to_pylist() for r in whole]
    assert [(r.partition, r.positions.to_pylist()) for r in found] == [
        (r.partition, r.positions.to_pylist()) for r in whole
    ]
    assert sum(part.size for part in parts) >= batch.size


def test_row_groups_of_one_file_are_parts_with_the_positions_of_the_whole(tmp_path: Path):
    location = written_by_hand(tmp_path / "t")
    pq.write_table(pa.Table.from_pylist(SHOPS), f"{location}/p.parquet", row_group_size=2)
    change_add(location, size=Path(location, "p.parquet").stat().st_size)
    source = DeltaSource(location)
    parts = source.parts(source.plan(), 3)
    assert parts is not None
    found = [list(source.read(part, CONTRACT)) for part in parts]
    assert [positions(part) for part in found] == [[1, 2], [3, 4], [5]]


def plain_file(folder: Path, rows: list[dict[str, Any]]) -> str:
    path = folder / "plain.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def customers(judged: list[Any]) -> list[dict[str, Any]]:
    """In the order of their ids, without where they came from."""
    found = [row for part in judged for row in part.customers.to_pylist()]
    for row in found:
        del row["source_partition"], row["source_position"]
    return sorted(found, key=lambda row: row["shop"])
