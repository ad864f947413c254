"""JSON Lines: broken lines, missing keys, values of several kinds."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_pipeline.contract.definition import Contract, MissingColumn
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources.base import SourceUnreadable
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline_tests.resources.customer_sources.shops import broken, ids, positions, read

CONTRACT = Contract.model_validate(
    {
        "name": "narrow",
        "description": "Two columns.",
        "id": {"column": "id", "description": "Id."},
        "features": {"x": {"type": "number", "description": "A number."}},
    }
)


@pytest.fixture
def found(tmp_path: Path):
    def read_bytes(data: bytes) -> list[SourceRows]:
        path = tmp_path / "some.jsonl"
        path.write_bytes(data)
        return read(FileSource(str(path)), CONTRACT)

    return read_bytes


@pytest.mark.parametrize(
    "data",
    [
        b'{"id":"a","x":1}\n{"id":"b","x":2}\n',
        b'{"id":"a","x":1}\r\n{"id":"b","x":2}',
        b'\xef\xbb\xbf{"x" : 1.0, "id" : "a"}\n {"id": "b", "x": 2, "more": {"id": [1]}} \n',
    ],
    ids=["plain", "CRLF", "BOM and spaces"],
)
def test_equal_tables_are_read_alike_however_they_are_written(found, data: bytes):
    (rows,) = found(data)
    assert rows.rows.to_pylist() == [{"id": "a", "x": 1.0}, {"id": "b", "x": 2.0}]
    assert not rows.text_only
    assert rows.misfits is None


def test_positions_are_line_numbers_and_blank_lines_count(found):
    assert positions(found(b'\n{"id":"a","x":1}\n\n \n{"id":"b","x":2}\n\n')) == [2, 5]


def test_an_empty_file_is_no_rows(found):
    assert found(b"") == []
    assert found(b"\n\n") == []


def test_a_key_that_one_line_lacks_is_a_missing_value_and_one_that_all_lack_a_missing_column(found):
    (rows,) = found(b'{"id":"a"}\n{"x":2}\n')
    assert rows.rows.to_pylist() == [{"id": "a", "x": None}, {"id": None, "x": 2.0}]
    with pytest.raises(MissingColumn, match=r"'x' \(nearest: 'X'\)"):
        found(b'{"id":"a","X":1}\n{"id":"b"}\n')


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"{", "not_json"),
        (b'{"id":"b","x":NaN}', "not_json"),
        (b'{"id":"b"} {"id":"c"}', "not_json"),
        (b'{"id":"b","x":' + b"[" * 5000 + b"]" * 5000 + b"}", "not_json"),
        (b"\0", "not_json"),
        (b'{"id":"b\xff","x":1}', "not_utf8"),
        (b'["b", 1]', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"id":"b","x":1e999}', "number_out_of_range"),
        (b'{"id":"b","x":1,"x":2}', "duplicate_key"),
        (b'{"id":"b","x" :1,"x":2,"y" : 3}', "duplicate_key"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[:24].decode(errors="replace"),
)
def test_what_is_no_object_with_distinct_keys_is_a_broken_line(found, line: bytes, rule: str):
    rows = found(b'{"id":"a","x":1}\n' + line + b'\n{"id":"c","x":3}\n')
    assert ids(rows) == ["a", "c"]
    assert positions(rows) == [1, 3]
    assert broken(rows) == [(2, rule, line.decode(errors="backslashreplace"))]


def test_a_file_of_broken_lines_only_loses_none(found):
    assert [line[:2] for line in broken(found(b"{\n{}}\n"))] == [(1, "not_json"), (2, "not_json")]


def test_one_odd_value_costs_its_own_row_and_leaves_the_numbers_beside_it_readable(found):
    (rows,) = found(
        b'{"id":"a","x":1.5}\n{"id":"b","x":"2"}\n{"id":["c"],"x":true}\n{"id":4,"x":{"y":1}}\n{"id":5.5,"x":null}\n'
    )
    assert rows.rows.column("x").to_pylist() == ["1.5", "2", "true", '{"y":1}', None]
    assert rows.rows.column("id").to_pylist() == ["a", "b", '["c"]', "4", "5.5"]
    assert rows.misfits == {"x": [1, 2, 3], "id": [2, 4]}


def test_a_column_of_texts_where_numbers_are_wanted_is_left_to_the_validator(found):
    (rows,) = found(b'{"id":"a","x":"1"}\n{"id":"b","x":"b"}\n')
    assert rows.rows.column("x").type == pa.string()
    assert rows.misfits is None


def test_integers_beyond_64_bits_spoil_no_neighbour(found):
    (rows,) = found(b'{"id":"a","x":18446744073709551616}\n{"id":"b","x":9007199254740993}\n{"id":"c","x":0.1}\n')
    x: Any = rows.rows.column("x").cast(pa.float64()).to_pylist()
    assert x == [2.0**64, 2.0**53, 0.1]


def test_utf16_is_told_what_to_do(found):
    with pytest.raises(SourceUnreadable, match="Save it as UTF-8"):
        found('{"id":"a","x":1}\n'.encode("utf-16"))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_one_damaged_byte_costs_no_line_but_its_own(tmp_path_factory, data):
    lines = [b'{"id":"%d","x":%d.5,"note":"a: b"}\n' % (n, n) for n in range(12)]
    hit = data.draw(st.integers(1, 12))
    at = data.draw(st.integers(0, len(lines[hit - 1]) - 2))
    new = data.draw(st.one_of(st.sampled_from([b"", b'"', b",", b"\n", b"\r", b"}"]), st.binary(max_size=2)))
    lines[hit - 1] = lines[hit - 1][:at] + new + lines[hit - 1][at + 1 :]
    path = tmp_path_factory.mktemp("json") / "some.jsonl"
    path.write_bytes(b"".join(lines))
    found = read(FileSource(str(path)), CONTRACT)
    written = b"".join(lines).count(b"\n") - sum(not line.strip(b" \t\r") for line in b"".join(lines).split(b"\n")[:-1])
    assert len(positions(found)) + len(broken(found)) == written
    assert ids(found)[: hit - 1] == [str(n) for n in range(hit - 1)]
    assert ids(found)[len(ids(found)) - (12 - hit) :] == [str(n) for n in range(hit, 12)]
