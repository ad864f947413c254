"""The screen before the CSV reader, against a slow reference and against damage anywhere."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_pipeline.contract.definition import Contract
from churn_pipeline.resources.customer_sources import csv_files, csv_lines
from churn_pipeline.resources.customer_sources.csv_lines import LONGEST_RECORD, screen
from churn_pipeline_tests.resources.customer_sources.shops import broken, ids, positions

THREE = Contract.model_validate(
    {
        "name": "three",
        "description": "Three columns.",
        "id": {"column": "a", "description": "Id."},
        "features": {name: {"type": "text", "description": "Text."} for name in "bc"},
    }
)


def _reference(lines: list[str], width: int = 3) -> tuple[list[tuple[int, list[str]]], list[int]]:
    """Records and broken positions by the rule: read each record strictly; if it fails, only its first line is bad."""
    records, bad, at, position = [], [], 0, 0
    while at < len(lines):
        if not lines[at].strip("\n"):
            at += 1
            continue
        position += 1
        reader = csv.reader(lines[at:], strict=True)
        try:
            fields = next(reader)
        except csv.Error:
            fields = []
        right = len(fields) == width
        if right:
            records.append((position, fields))
        else:
            bad.append(position)
        at += reader.line_num if right else 1
    return records, bad


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text('ab,"', max_size=9), max_size=12), st.sampled_from([3, 17, 1 << 20]))
def test_rows_and_broken_lines_are_those_of_a_strict_reading_line_by_line(tmp_path_factory, texts, block_bytes):
    path = tmp_path_factory.mktemp("csv") / "some.csv"
    lines = [text + "\n" for text in texts]
    path.write_text("a,b,c\n" + "".join(lines))
    found = list(csv_files.read(path, THREE, block_bytes=block_bytes))
    records, bad = _reference(lines)
    rows = [[(v or b"").decode() for v in row.values()] for part in found for row in part.rows.to_pylist()]
    assert rows == [fields for _, fields in records]
    assert positions(found) == [position for position, _ in records]
    assert [line[0] for line in broken(found)] == bad


def _file(quoting: int) -> list[bytes]:
    text = io.StringIO()
    csv.writer(text, quoting=quoting, lineterminator="\n").writerows(  # type: ignore[arg-type]
        [["a", "b", "c"], *([f"id{n}", "Month to month", f"{n}.5"] for n in range(12))]
    )
    return text.getvalue().encode().splitlines(keepends=True)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_one_damaged_byte_costs_no_line_but_its_own(tmp_path_factory, data):
    lines = _file(data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])))
    hit = data.draw(st.integers(1, 12))
    at = data.draw(st.integers(0, len(lines[hit]) - 2))
    new = data.draw(st.one_of(st.sampled_from([b"", b'"', b",", b"\n", b"\r", b"\0"]), st.binary(max_size=2)))
    replaced = data.draw(st.integers(0, 1))
    lines[hit] = lines[hit][:at] + new + lines[hit][at + replaced :]
    path = tmp_path_factory.mktemp("csv") / "some.csv"
    path.write_bytes(b"".join(lines))
    found = list(csv_files.read(path, THREE, block_bytes=data.draw(st.sampled_from([40, 1 << 20]))))
    untouched = [f"id{n}" for n in range(12)]
    assert ids(found)[: hit - 1] == untouched[: hit - 1]
    assert ids(found)[len(ids(found)) - (12 - hit) :] == untouched[hit:]
    everything = sorted([*positions(found), *(line[0] for line in broken(found))])
    assert everything == list(range(1, len(everything) + 1))


def test_a_quote_not_closed_within_the_longest_record_is_a_stray_one():
    rest = b"x,y,z\n" * (LONGEST_RECORD // 6 + 1)
    screened = screen(b'a,"b,c\n' + rest, 3, b"-", last=False)
    assert (screened.broken, screened.carry) == ([("malformed_quotes", b'a,"b,c')], b"")
    assert screened.block == b"-\n" + rest


def test_an_unfinished_record_is_carried_to_the_next_block():
    screened = screen(b'x,y,z\na,"b\n', 3, b"-", last=False)
    assert (screened.block, screened.carry) == (b"x,y,z\n", b'a,"b\n')


@settings(deadline=None)
@given(st.lists(st.text('ab,"\r', max_size=9), max_size=12))
def test_lines_are_judged_alike_whatever_is_looked_at_together(texts):
    block = "".join(f"{text}\n" for text in texts).encode()
    found = screen(block, 3, b"broken", last=True)
    for piece in (1, 7):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_lines, "_PIECE", piece)
            assert screen(block, 3, b"broken", last=True) == found


def test_clean_lines_are_handed_on_untouched():
    block = b'a,"b, ""c""",\n,"",""\n'
    assert screen(block, 3, b"-", last=True).block is block


def test_the_reference_itself(tmp_path: Path):
    assert _reference(['a,"b\n', 'c",d\n', "x\n"]) == ([(1, ["a", "b\nc", "d"])], [2])
