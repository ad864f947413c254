"""CSV: encodings, line ends, widths, blanks, damage."""

from pathlib import Path

import pytest

from churn_pipeline.contract.definition import AmbiguousColumn, Contract, MissingColumn
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources import csv_files
from churn_pipeline.resources.customer_sources.base import SourceEmpty, SourceUnreadable
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline_tests.resources.customer_sources.shops import broken, ids, positions, read

NARROW = Contract.model_validate(
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
        path = tmp_path / "some.csv"
        path.write_bytes(data)
        return read(FileSource(str(path)), NARROW)

    return read_bytes


def cells(found: list[SourceRows]) -> list[tuple[bytes | None, ...]]:
    return [tuple(row.values()) for part in found for row in part.rows.to_pylist()]


@pytest.mark.parametrize(
    "data",
    [
        b"id,x\na,1\nb,2\n",
        b"id,x\na,1\nb,2",
        b"\xef\xbb\xbfid,x\na,1\nb,2\n",
        b"id,x\r\na,1\r\nb,2\r\n",
        b'"id","x"\r\n"a","1"\r\n"b","2"\r\n',
        b"\n\nid,x\n\na,1\n\r\n\nb,2\n\n",
        b"x,other,id\n1,,a\n2,,b\n",
        b"other,other,,id,x\n,,,a,1\n,,,b,2\n",
    ],
    ids=["plain", "no last line end", "BOM", "CRLF", "quoted", "blank lines", "other order", "unnamed columns"],
)
def test_equal_tables_are_read_alike_however_they_are_written(found, data: bytes):
    assert cells(found(data)) == [(b"a", b"1"), (b"b", b"2")]
    assert positions(found(data)) == [1, 2]


def test_a_quoted_value_may_hold_separators_quotes_and_line_ends(found):
    rows = found(b'id,x\n"a,""b""\r\nc",1\nd,2\n')
    assert cells(rows) == [(b'a,"b"\r\nc', b"1"), (b"d", b"2")]
    assert positions(rows) == [1, 2]


def test_an_empty_cell_is_missing_and_a_quoted_one_is_empty_text(found):
    assert cells(found(b'id,x\n,""\n"",\n')) == [(None, b""), (b"", None)]


def test_a_header_alone_is_no_rows(found):
    assert found(b"id,x\n") == []
    assert found(b"id,x") == []


def test_numbers_and_text_that_is_not_utf8_are_left_to_the_validator(found):
    rows = found(b"id,x\n\xff,abc\nb\0,0x1\n")
    assert cells(rows) == [(b"\xff", b"abc"), (b"b\0", b"0x1")]
    assert rows[0].text_only


def test_a_line_of_the_wrong_width_is_broken_and_the_rows_around_it_keep_their_positions(found):
    rows = found(b"id,x\na,1\nb\nc,3,4\nd,5\n \n")
    assert ids(rows) == ["a", "d"]
    assert positions(rows) == [1, 4]
    assert broken(rows) == [(2, "wrong_width", "b"), (3, "wrong_width", "c,3,4"), (5, "wrong_width", " ")]


def test_a_file_of_broken_lines_only_loses_none(found):
    rows = found(b"id,x\na\nb\n")
    assert (ids(rows), [line[0] for line in broken(rows)]) == ([], [1, 2])


def test_a_wrong_width_that_is_not_utf8_either_is_one_broken_line(found):
    rows = found(b"id,x\na,1\n\xff\xfe,2,3\nb,2\n")
    assert ids(rows) == ["a", "b"]
    assert broken(rows) == [(2, "wrong_width", "\\xff\\xfe,2,3")]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'b,"2', 'b,"2'),
        (b'"b,2', '"b,2'),
        (b'"b"x,2', '"b"x,2'),
        (b'b,"2" ', 'b,"2" '),
        (b'b,"2\xff', 'b,"2\\xff'),
    ],
    ids=["never closed", "at the start", "text after it", "space after it", "not UTF-8"],
)
def test_a_stray_quote_costs_its_own_line_and_no_other(found, line: bytes, text: str):
    rows = found(b"id,x\na,1\n" + line + b'\nc,3\n"d","4"\n')
    assert ids(rows) == ["a", "c", "d"]
    assert positions(rows) == [1, 3, 4]
    assert broken(rows) == [(2, "malformed_quotes", text)]


def test_a_quote_within_a_value_is_part_of_it(found):
    assert cells(found(b'id,x\n5" pipe,1\n')) == [(b'5" pipe', b"1")]


def test_a_byte_order_mark_within_the_file_is_part_of_the_value(tmp_path: Path):
    path = tmp_path / "some.csv"
    path.write_bytes(b"id,x\n\xef\xbb\xbfa,1\n")
    rows = list(csv_files.read(path, NARROW, block_bytes=5))
    assert cells(rows) == [(b"\xef\xbb\xbfa", b"1")]


@pytest.mark.parametrize("block_bytes", [1, 7, 16, 1000])
def test_where_a_block_ends_makes_no_difference(tmp_path: Path, block_bytes: int):
    path = tmp_path / "some.csv"
    path.write_bytes(b'id,x\na,1\n"b\n1",2\nc\n"d\n\n2",3\ne,"4\nf,5\n')
    rows = list(csv_files.read(path, NARROW, block_bytes=block_bytes))
    assert ids(rows) == ["a", "b\n1", "d\n\n2", "f"]
    assert positions(rows) == [1, 2, 4, 6]
    assert broken(rows) == [(3, "wrong_width", "c"), (5, "malformed_quotes", 'e,"4')]


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\r\n\n"])
def test_a_file_without_even_a_header_is_empty(found, data: bytes):
    with pytest.raises(SourceEmpty, match=r"some\.csv is empty"):
        found(data)


@pytest.mark.parametrize(
    ("data", "advice"),
    [
        ("id,x\na,1\n".encode("utf-16"), "Save it as UTF-8"),
        ("id,x\na,1\n".encode("utf-16-le"), "Save the file as UTF-8"),
        ("idé,x\n".encode("latin-1"), "not UTF-8"),
        (b"id;x\na;1\n", "with commas"),
        (b'"id,x\na,1\n', "a quote is not closed"),
        (b"id,x\ra,1\rb,2\r", "do not end in a line feed"),
    ],
)
def test_a_file_in_another_dialect_is_told_what_to_do(found, data: bytes, advice: str):
    with pytest.raises(SourceUnreadable, match=advice):
        found(data)


def test_header_names_are_taken_as_they_are(found):
    with pytest.raises(MissingColumn, match=r"no column 'x' \(nearest: ' x'\)"):
        found(b"id, x\na,1\n")
    with pytest.raises(AmbiguousColumn, match="'x' more than once"):
        found(b"id,x,x\na,1,2\n")


def test_a_line_that_never_ends_is_refused(tmp_path: Path, found):
    with pytest.raises(SourceUnreadable, match="line of more than 64 MB"):
        found(b"id,x\n" + b"a" * (73 << 20))
