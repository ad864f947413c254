import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn_pipeline.io_managers.exports import UnknownExportFormat, export_file
from churn_pipeline_tests.io_managers.builders import SCHEMA, piece


def test_csv_has_a_header_iso_times_and_tells_missing_from_empty(tmp_path: Path):
    path = tmp_path / "new" / "scores.csv"
    assert export_file(path, iter([piece([2, 6])]), SCHEMA) == 2
    assert path.read_text() == (
        '"id","plan","amount","tenure","active","event_at","rules"\n'
        '"c2",,,,,,\n'
        '"c6","",0.8571428571428571,1,true,"2026-01-01T00:00:06.000006Z","[""too_small"",""ü""]"\n'
    )


def test_json_lines_have_one_object_a_line(tmp_path: Path):
    path = tmp_path / "scores.jsonl"
    export_file(path, iter([piece([1, 2])]), SCHEMA)
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert (first["plan"], first["event_at"], first["rules"]) == (
        "größer 😀",
        "2026-01-01T00:00:01.000001Z",
        ["too_small", "ü"],
    )
    assert second == dict.fromkeys(SCHEMA.names) | {"id": "c2"}


def test_parquet_keeps_the_types(tmp_path: Path):
    path = tmp_path / "scores.PARQUET"
    export_file(path, iter([piece([1]), piece([2])]), SCHEMA)
    assert pq.read_table(path).to_pylist() == piece([1, 2]).to_pylist()
    assert pq.read_schema(path).field("plan").type == SCHEMA.field("plan").type


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet", "scores.jsonl", "scores.ndjson"])
@pytest.mark.parametrize("failure", [ValueError("no"), OSError(5, "the source's disk")])
def test_rows_that_fail_leave_the_old_file_and_nothing_else(tmp_path: Path, name: str, failure: Exception):
    def broken() -> Iterator[pa.RecordBatch]:
        yield piece([1])
        raise failure

    (tmp_path / name).write_text("old")
    with pytest.raises(type(failure)) as raised:
        export_file(tmp_path / name, broken(), SCHEMA)
    assert raised.value is failure
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "old")]


@pytest.mark.parametrize("name", ["scores", "scores.xlsx"])
def test_an_ending_that_names_no_format_is_an_error_before_anything_is_read(tmp_path: Path, name: str):
    with pytest.raises(UnknownExportFormat, match=r"\.csv, \.parquet, \.jsonl"):
        export_file(tmp_path / name, iter([]), SCHEMA)
    assert list(tmp_path.iterdir()) == []
