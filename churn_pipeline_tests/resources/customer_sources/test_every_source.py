"""What every customer source promises, held against each of them."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from churn_pipeline.batches import Batch, TableBatch
from churn_pipeline.contract.definition import AmbiguousColumn, MissingColumn
from churn_pipeline.contract.validation import validate
from churn_pipeline.resources.customer_sources.base import ROWS_PER_CHUNK, SourceChanged
from churn_pipeline.resources.customer_sources.memory import MemorySource
from churn_pipeline_tests.resources.customer_sources.shops import (
    CONTRACT,
    KINDS,
    SHOPS,
    broken,
    ids,
    positions,
    read,
    written,
)

every_source = pytest.mark.parametrize("kind", KINDS)


@every_source
def test_rows_come_in_order_with_positions_from_one_and_contract_columns_only(kind: str, tmp_path: Path):
    found = read(written(kind, SHOPS, tmp_path))
    assert ids(found) == ["S1", "S2", "S3", "S4", "S5"]
    assert positions(found) == [1, 2, 3, 4, 5]
    assert found[0].rows.schema.names == CONTRACT.columns()
    assert broken(found) == []


@every_source
def test_the_validator_sees_the_same_customers_whatever_the_format(kind: str, tmp_path: Path):
    as_of = datetime(2024, 6, 1, tzinfo=UTC)
    (rows,) = read(written(kind, SHOPS, tmp_path), with_label=True)
    verdict = validate(rows, CONTRACT, as_of, with_label=True)
    assert verdict.rejected.num_rows == 0
    assert verdict.customers.drop_columns(["source_partition", "source_position"]).to_pylist() == [
        {
            "shop": shop["shop"],
            "event_at": datetime(2024, 5, n, 10, tzinfo=UTC),
            "spend": shop["Spend, monthly"],
            "churned": shop["left"] == "yes",
        }
        | {name: shop[name] for name in ("visits", "size", "online", "note")}
        for n, shop in enumerate(SHOPS, start=1)
    ]


@every_source
def test_a_flag_of_0_or_1_is_a_truth_value_whatever_the_format_and_2_is_none(kind: str, tmp_path: Path):
    shops = [shop | {"online": n % 3} for n, shop in enumerate(SHOPS)]
    found = [
        validate(part, CONTRACT, datetime(2026, 1, 1, tzinfo=UTC)) for part in read(written(kind, shops, tmp_path))
    ]
    assert [row["online"] for part in found for row in part.customers.to_pylist()] == [False, True, False, True]
    assert [row["rules"] for part in found for row in part.rejected.to_pylist()] == [["not_a_boolean"]]


@every_source
def test_planning_twice_gives_the_same_batch_and_it_survives_run_config(kind: str, tmp_path: Path):
    source = written(kind, SHOPS, tmp_path)
    batch = source.plan()
    assert source.plan() == batch == Batch.from_json(batch.to_json())
    assert batch.id.startswith("shops-")
    assert ids(list(source.read(Batch.from_json(batch.to_json()), CONTRACT))) == ids(read(source))


@every_source
def test_a_limit_reads_so_many_rows_and_makes_another_batch(kind: str, tmp_path: Path):
    source = written(kind, SHOPS, tmp_path)
    batch = source.plan(limit=3)
    assert ids(list(source.read(batch, CONTRACT))) == ["S1", "S2", "S3"]
    assert batch.id != source.plan().id
    assert ids(list(source.read(source.plan(limit=9), CONTRACT))) == ["S1", "S2", "S3", "S4", "S5"]


@every_source
def test_a_missing_column_fails_before_the_first_row_and_names_the_nearest(kind: str, tmp_path: Path):
    shops = [{("Visits" if name == "visits" else name): value for name, value in shop.items()} for shop in SHOPS]
    source = written(kind, shops, tmp_path)
    with pytest.raises(MissingColumn, match=r"no column 'visits' \(nearest: 'Visits'\)"):
        next(iter(source.read(source.plan(), CONTRACT)))


@every_source
def test_the_label_is_read_for_training_only(kind: str, tmp_path: Path):
    shops = [{name: value for name, value in shop.items() if name != "left"} for shop in SHOPS]
    source = written(kind, shops, tmp_path)
    assert len(ids(read(source))) == 5
    with pytest.raises(MissingColumn, match="left"):
        read(source, with_label=True)


@every_source
def test_columns_are_told_without_reading_rows(kind: str, tmp_path: Path):
    source = written(kind, SHOPS, tmp_path)
    batch = source.plan()
    partition = batch.source if isinstance(batch, TableBatch) else batch.files[0].path
    # A database is asked for no more than the contract names.
    names = CONTRACT.columns(with_label=True) if kind == "sqlite" else list(SHOPS[0])
    assert source.columns(batch) == {partition: names}


@every_source
def test_many_rows_come_in_chunks_that_the_pipeline_can_hold(kind: str, tmp_path: Path):
    shops = [SHOPS[n % 5] | {"shop": f"S{n}"} for n in range(1, 70_001)]
    found = read(written(kind, shops, tmp_path))
    assert len(found) >= 2
    assert max(part.count for part in found) <= ROWS_PER_CHUNK
    assert positions(found) == list(range(1, 70_001))
    # The rows of a database's table have no order but that of their ids.
    wanted = [shop["shop"] for shop in shops]
    assert ids(found) == (sorted(wanted) if kind == "sqlite" else wanted)


@every_source
def test_other_content_is_another_batch_and_an_old_plan_cannot_read_it(kind: str, tmp_path: Path):
    batch = written(kind, SHOPS, tmp_path).plan()
    other = written(kind, SHOPS[:-1], tmp_path)
    assert other.plan().id != batch.id
    if kind == "sqlite":
        # It reads what it planned.
        assert ids(list(other.read(batch, CONTRACT))) == ["S1", "S2", "S3", "S4", "S5"]
        shutil.rmtree(Path(batch.files[0].path).parent)
    with pytest.raises(SourceChanged):
        list(other.read(batch, CONTRACT))


def test_a_column_that_is_there_twice_is_ambiguous(tmp_path: Path):
    table = pa.table([[1], [2]], names=["shop", "shop"])
    source = MemorySource(table)
    contract = CONTRACT.model_copy(update={"event_time": None, "features": {}})
    with pytest.raises(AmbiguousColumn, match="'shop'"):
        read(source, contract)
