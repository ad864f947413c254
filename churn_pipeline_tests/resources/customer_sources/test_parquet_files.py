"""Parquet: types, damage."""

from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources.base import SourceError, SourceUnreadable
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline_tests.resources.customer_sources.shops import CONTRACT, SHOPS, ids, positions, read


def _read(folder: Path, **columns: Any) -> SourceRows:
    """The five shops, with some columns replaced."""
    table = pa.Table.from_pylist(SHOPS)
    for name, values in columns.items():
        name = CONTRACT.features[name].source or name if name in CONTRACT.features else name
        table = table.set_column(table.column_names.index(name), name, values)
    pq.write_table(table, folder / "some.parquet")
    (rows,) = read(FileSource(str(folder / "some.parquet")))
    return rows


def test_few_valued_text_comes_as_dictionary_and_other_types_as_they_are(tmp_path: Path):
    rows = _read(tmp_path, spend=pa.array([Decimal("1.5")] * 5), visits=pa.array([1, 2, 3, 4, 5], pa.uint16())).rows
    types = {field.name: str(field.type) for field in rows.schema}
    assert types["size"] == "dictionary<values=string, indices=int32, ordered=0>"
    assert types["Spend, monthly"].startswith("decimal128")
    assert (types["visits"], types["online"], types["shop"]) == ("uint16", "bool", "string")


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int8(), pa.string())], ids=str
)
def test_every_way_to_store_text_is_text(tmp_path: Path, kind: pa.DataType):
    names = pa.array([f"S{n}" for n in range(5)])
    names = names.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else names.cast(kind)
    assert ids([_read(tmp_path, shop=names)]) == ["S0", "S1", "S2", "S3", "S4"]


def test_a_list_where_one_of_few_values_is_wanted_costs_its_rows(tmp_path: Path):
    rows = _read(tmp_path, size=pa.array([["small"], None, ["large"], None, None]))
    assert rows.misfits == {"size": [0, 2]}


def test_text_that_is_not_utf8_stays_bytes_for_the_validator_to_reject(tmp_path: Path):
    wrong = pa.array([b"a", b"\xff", b"c", b"d", None]).view(pa.string())
    rows = _read(tmp_path, note=wrong, size=wrong.dictionary_encode()).rows
    assert rows.column("note").to_pylist() == [b"a", b"\xff", b"c", b"d", None]
    assert rows.column("size").to_pylist() == [b"a", b"\xff", b"c", b"d", None]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (pa.array([[1], [2, 3], None, [], [4]]), ["[1]", "[2,3]", None, "[]", "[4]"]),
        (pa.array([{"a": "x"}, None, {"a": None}, None, None]), ['{"a":"x"}', None, '{"a":null}', None, None]),
        (pa.array([time(1, 2), None, None, None, None]), ['"01:02:00"', None, None, None, None]),
    ],
    ids=["list", "struct", "time"],
)
def test_what_no_contract_type_can_hold_is_shown_as_json_and_named(tmp_path: Path, values: pa.Array, shown: list[str]):
    rows = _read(tmp_path, spend=values)
    assert rows.rows.column("Spend, monthly").to_pylist() == shown
    assert rows.misfits == {"Spend, monthly": [n for n, value in enumerate(shown) if value is not None]}


def test_a_column_of_nothing_has_the_contracts_type(tmp_path: Path):
    rows = _read(tmp_path, spend=pa.nulls(5), size=pa.nulls(5), seen=pa.nulls(5)).rows
    assert [rows.column(name).null_count for name in ("Spend, monthly", "size", "seen")] == [5, 5, 5]
    assert rows.column("Spend, monthly").type == pa.float64()


def test_a_table_without_rows_is_no_rows(tmp_path: Path):
    pq.write_table(pa.Table.from_pylist(SHOPS).slice(0, 0), tmp_path / "some.parquet")
    assert positions(read(FileSource(str(tmp_path / "some.parquet")))) == []


@pytest.mark.parametrize("data", [b"", b"PAR1", b"id,x\na,1\n" * 10, b"PAR1" + b"\0" * 100 + b"PAR1"])
def test_what_is_not_parquet_is_unreadable(tmp_path: Path, data: bytes):
    (tmp_path / "some.parquet").write_bytes(data)
    with pytest.raises(SourceError, match=r"some\.parquet is (empty|not Parquet)"):
        read(FileSource(str(tmp_path / "some.parquet")))


def test_a_damaged_page_is_found_by_its_checksum(tmp_path: Path):
    path = tmp_path / "some.parquet"
    pq.write_table(
        pa.Table.from_pylist(SHOPS), path, compression="none", write_page_checksum=True, use_dictionary=False
    )
    data = path.read_bytes()
    path.write_bytes(data.replace(b"S3", b"S8", 1))
    with pytest.raises(SourceUnreadable, match="is damaged"):
        read(FileSource(str(path)))


def test_a_file_cut_short_is_unreadable(tmp_path: Path):
    path = tmp_path / "some.parquet"
    pq.write_table(pa.Table.from_pylist(SHOPS), path)
    rng = np.random.default_rng(1)
    whole = path.read_bytes()
    for size in rng.integers(1, len(whole), 20):
        path.write_bytes(whole[:size])
        with pytest.raises(SourceUnreadable):
            read(FileSource(str(path)))
