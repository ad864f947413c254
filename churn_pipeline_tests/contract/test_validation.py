"""The streaming validator: what is cleaned, what is rejected, and why."""

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.json_schema import json_schema
from churn_pipeline.contract.rows import BrokenLine, SourceRows
from churn_pipeline.contract.validation import RejectLimit, Tally, TooManyRejected, customers_schema, validate

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
YAML = {
    "name": "gym",
    "description": "Members.",
    "id": {"column": "member", "description": "Id."},
    "label": {"column": "left", "positive": "y", "negative": "n", "description": "Left."},
    "event_time": {"column": "at", "description": "When.", "nullable": True},
    "features": {
        "visits": {"type": "integer", "min": 0, "description": "Visits."},
        "fee": {
            "type": "number", "min": 0, "max": 500, "nullable": True, "description": "Fee.",
            "cleaning": {"trim": True, "blank_to_null": True, "number_from_text": True},
        },
        "plan": {"type": "category", "allowed": ["basic", "gold"], "description": "Plan."},
        "active": {"type": "boolean", "description": "Active."},
        "note": {"type": "text", "nullable": True, "description": "Note.", "source": "Remark"},
    },
}  # fmt: skip
GYM = Contract.model_validate(YAML)
GOOD = {"member": b"m1", "at": b"2026-01-02T03:04:05Z", "visits": b"3", "fee": b"9.5", "plan": b"gold",
        "active": b"true", "Remark": b"hi", "left": b"n"}  # fmt: skip


def rows(*changes: dict[str, bytes | None], broken=(), with_label=False) -> SourceRows:
    """Rows as CSV gives them: bytes, categories as dictionaries."""
    records = [{**GOOD, **change} for change in changes]
    columns = {}
    for name in GYM.columns(with_label=with_label):
        cells = pa.array([r[name] for r in records], pa.binary())
        columns[name] = cells.dictionary_encode() if name in ("plan", "active", "left") else cells
    positions = pa.array(range(1, len(records) + 1), pa.int64())
    return SourceRows(pa.RecordBatch.from_pydict(columns), "f.csv", positions, tuple(broken), text_only=True)


def rules(change: dict[str, bytes | None]) -> list[str]:
    [row] = validate(rows(change), GYM, AS_OF).rejected.to_pylist() or [{"rules": []}]
    return row["rules"]


def test_a_good_row_becomes_typed_values():
    got = validate(rows({}), GYM, AS_OF).customers
    assert got.schema == customers_schema(GYM)
    assert got.to_pylist() == [
        {
            "member": "m1", "event_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "visits": 3, "fee": 9.5,
            "plan": "gold", "active": True, "note": "hi", "source_partition": "f.csv", "source_position": 1,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change, broken",
    [
        ({"member": None}, ["missing"]),
        ({"member": b""}, ["missing"]),
        ({"member": "ü".encode() * 1_001}, ["too_long"]),
        ({"member": b"\xff\xfe"}, ["not_utf8"]),
        ({"visits": b"three"}, ["not_an_integer"]),
        ({"visits": b"3.0"}, ["not_an_integer"]),
        ({"visits": b"0x10"}, ["not_an_integer"]),
        ({"visits": b" 3"}, ["not_an_integer"]),
        ({"visits": b"99999999999999999999"}, ["not_an_integer"]),
        ({"visits": b"-1"}, ["below_minimum"]),
        ({"visits": None}, ["missing"]),
        ({"fee": b"nan"}, ["not_finite"]),
        ({"fee": b"1e999"}, ["not_finite"]),
        ({"fee": b"1,5"}, ["not_a_number"]),
        ({"fee": b"500.01"}, ["above_maximum"]),
        ({"plan": b"Gold"}, ["not_allowed"]),
        ({"plan": b"gold "}, ["not_allowed"]),
        ({"plan": b"\xff"}, ["not_utf8"]),
        ({"plan": None}, ["missing"]),
        ({"active": b"perhaps"}, ["not_a_boolean"]),
        ({"at": b"yesterday"}, ["not_a_time"]),
        ({"at": b"2026-02-30"}, ["not_a_time"]),
        ({"at": b"2026-01-02T03:04:05.1234567890Z"}, ["not_a_time"]),
        ({"at": b"1767322800000"}, ["not_a_time"]),
        ({"Remark": b"a\xffb"}, ["not_utf8"]),
        ({"visits": b"-1", "plan": b"x", "fee": b"y"}, ["below_minimum", "not_a_number", "not_allowed"]),
    ],
)
def test_a_broken_value_names_its_rule(change, broken):
    assert rules(change) == broken


@pytest.mark.parametrize(
    "change",
    [
        {"fee": b" 9.5 "}, {"fee": b" "}, {"fee": None}, {"at": b"2026-01-02 03:04:05"}, {"at": None},
        {"at": b"2026-01-02T05:04:05+02:00"}, {"Remark": b""}, {"Remark": None}, {"active": b"False"}, {"active": b"1"},
    ],
)  # fmt: skip
def test_what_the_contract_allows_is_accepted(change):
    assert rules(change) == []


def test_times_are_utc_and_a_record_without_one_has_the_files():
    changes = [{"at": b"2026-01-02T05:00:00+02:00"}, {"at": b"2026-01-02T03:00:00"}, {"at": None}]
    got = validate(rows(*changes), GYM, AS_OF).customers.column("event_at").to_pylist()
    assert got == [datetime(2026, 1, 2, 3, tzinfo=UTC), datetime(2026, 1, 2, 3, tzinfo=UTC), AS_OF]


@pytest.mark.parametrize("written", ["1234567Z", "123456789Z", "1234567+00:00", "123456789", "12345678Z"])
def test_what_is_finer_than_microseconds_in_a_time_is_left_out(written):
    times = [b"2026-01-02T03:04:05.1Z", f"2026-01-02T03:04:05.{written}".encode(), b"2026-01-02"]
    got = validate(rows(*({"at": time} for time in times)), GYM, AS_OF).customers.column("event_at").to_pylist()
    assert got[1:] == [datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)]


def test_cleaned_cells_are_counted_and_null_is_not_cleaning():
    got = validate(rows({"fee": b" "}, {"fee": b" 2"}, {"fee": None}, {}), GYM, AS_OF)
    assert dict(got.cleaned) == {"fee": 2} and got.customers.num_rows == 4


def test_the_quarantine_keeps_every_rule_value_record_and_place():
    broken = [BrokenLine(2, "wrong_width", "a,b")]
    got = validate(rows({}, {"visits": b"-1", "plan": b"\xfe"}, broken=broken), GYM, AS_OF).rejected.to_pylist()
    assert [r["source_position"] for r in got] == [2, 2]
    bad, line = sorted(got, key=lambda r: r["record"] == "a,b")
    assert bad["failures"] == [
        {"rule": "below_minimum", "column": "visits", "value": "-1"},
        {"rule": "not_utf8", "column": "plan", "value": "\\xfe"},
    ]
    assert json.loads(bad["record"])["Remark"] == "hi" and bad["member"] == "m1"
    assert line["rules"] == ["wrong_width"] and line["member"] is None


def test_the_label_is_judged_only_for_training():
    assert "churned" not in validate(rows({"left": b"?"}), GYM, AS_OF).customers.schema.names
    got = validate(rows({"left": b"y"}, {"left": b"n"}, {"left": b"?"}, with_label=True), GYM, AS_OF, with_label=True)
    assert got.customers.column("churned").to_pylist() == [True, False]
    assert got.rejected.to_pylist()[0]["rules"] == ["not_allowed"]


def test_a_limit_by_count_stops_at_once_and_one_by_share_at_the_end():
    by_count, by_share = Tally(RejectLimit(count=1)), Tally(RejectLimit(ratio=0.5))
    part = validate(rows({"visits": b"-1"}, {"visits": b"-1"}, {"plan": b"x"}, {}), GYM, AS_OF)
    with pytest.raises(
        TooManyRejected, match=r"3 of 4 rows \(75 %\).*limit of 1 row\..*visits below minimum \(2\), plan not"
    ):
        by_count.add(part)
    by_share.add(part)
    with pytest.raises(TooManyRejected, match=r"limit of 50 %\. Nothing was written.* raise CHURN_REJECT_LIMIT"):
        by_share.finish()
    assert [str(RejectLimit.parse(text)) for text in ("1", "1.0")] == ["1 row", "100 % of the rows"]


@pytest.mark.parametrize(
    "text, limit",
    [
        ("100", RejectLimit(count=100)),
        ("0", RejectLimit(count=0)),
        ("0.05", RejectLimit(ratio=0.05)),
        ("1.0", RejectLimit(ratio=1.0)),
    ],
)
def test_a_limit_is_a_count_or_a_share(text, limit):
    assert RejectLimit.parse(text) == limit


@pytest.mark.parametrize("text", ["5 %", "-1", "1.5", "", "nan"])
def test_anything_else_is_no_limit(text):
    with pytest.raises(ValueError, match=r".+"):
        RejectLimit.parse(text)


def test_the_json_schema_says_what_the_contract_says():
    schema = json_schema(GYM)
    assert schema["required"] == ["member", "visits", "plan", "active"]
    assert schema["properties"]["plan"]["enum"] == ["basic", "gold"]
    assert {"type": "null"} in schema["properties"]["fee"]["anyOf"]
    assert all(item["description"] for item in schema["properties"].values())
    assert "Remark" in schema["properties"] and "note" not in schema["properties"]
