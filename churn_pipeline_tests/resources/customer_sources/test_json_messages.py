"""JSON messages: every one is a row or a broken line, whatever it is and however it was decoded."""

import json
from datetime import timedelta
from typing import Any

import pytest

from churn_pipeline.resources.customer_sources.json_messages import JsonMessages, MessageLimits
from churn_pipeline.resources.topics.base import Messages
from churn_pipeline_tests.resources.customer_sources.shops import CONTRACT as SHOP
from churn_pipeline_tests.resources.customer_sources.shops import SHOPS
from churn_pipeline_tests.resources.customer_sources.telco_messages import (
    EPOCH,
    FIRST,
    TELCO,
    TIME_OF_FIRST,
    customers,
    judged,
    read,
    record,
    rejected,
    written,
)

LIMITS = MessageLimits(bytes=20_000, fields=50, depth=4)


def test_a_message_is_a_row_with_its_place_its_bytes_and_its_time():
    values = [written(customerID="a"), written(customerID="b", tenure=7)]
    (rows,) = read(*values)
    assert rows.partition == "customers/3"
    assert rows.positions.to_pylist() == [FIRST, FIRST + 1]
    assert rows.raw == tuple(values)
    assert rows.times is not None
    assert rows.times.to_pylist() == [EPOCH, EPOCH + timedelta(milliseconds=1)]
    assert rows.rows.schema.names == TELCO.columns()
    assert not rows.text_only
    assert rows.rows.to_pylist() == [record(customerID="a"), record(customerID="b", tenure=7)]


def test_no_messages_are_no_rows():
    assert read() == []


@pytest.mark.parametrize("timestamp", [-1, -62_135_596_800_001, 253_402_300_800_000, 2**62])
def test_a_time_that_no_calendar_has_is_none(timestamp: int):
    found = Messages("customers", 0, [1, 2], [timestamp, timestamp], [written(), b"{"])
    (rows,) = JsonMessages(TELCO).rows(found)
    assert rows.times is not None
    assert rows.times.to_pylist() == [None]
    assert rows.broken[0].at is None
    assert customers([rows])[0]["event_at"] == EPOCH  # what the batch gives those without a time


TOO_DEEP = b'{"a":' * 2_000 + b"1" + b"}" * 2_000
BROKEN: list[tuple[bytes | None, str]] = [
    (None, "tombstone"),
    (b"", "empty_message"),
    (b" " * 20_001, "message_too_large"),
    (written(note="x" * 10_000_000), "message_too_large"),
    (written(**{f"k{n}": n for n in range(50)}), "too_many_fields"),
    (written(more=[{f"k{n}": n} for n in range(50)]), "too_many_fields"),
    (written(more=[[[[]]]]), "nested_too_deep"),
    (written()[:-1] + b',"more":' + TOO_DEEP[:15_000] + b"}", "too_many_fields"),
    (b"[" * 2_000 + b"]" * 2_000, "nested_too_deep"),
    (b'{"tenure":' + b"[" * 2_000 + b"]" * 2_000 + b"}", "nested_too_deep"),
    (b"\xef\xbb\xbf" + written(), "byte_order_mark"),
    (written(customerID="?").replace(b"?", b"\xff"), "not_utf8"),
    (written(more="?").replace(b"?", b"\xc0\xaf"), "not_utf8"),
    (written().decode().encode("utf-16"), "not_json"),
    (written(tenure=float("nan")), "not_json"),
    (written(TotalCharges=float("inf")), "not_json"),
    (written() + written(), "not_json"),
    (written() + b"\n" + written(), "not_json"),
    (written() + b"\0", "not_json"),
    (written()[:-1], "not_json"),
    (b"\0", "not_json"),
    (b" ", "not_json"),
    (b"customer", "not_json"),
    (b'"' + b"\\" * 1_001, "not_json"),
    (written(more="x").replace(b'"x"', b'"\\ud800"'), "not_json"),
    (b"[" + written() + b"]", "not_an_object"),
    (b"null", "not_an_object"),
    (b"7", "not_an_object"),
    (b'"text"', "not_an_object"),
    (written()[:-1] + b',"tenure":2}', "duplicate_key"),
    (written()[:-1] + b',"tenure" :2}', "duplicate_key"),
    (written()[:-1] + b',"tenure"\r\n:2}', "duplicate_key"),
    (written()[:-1] + b',"ten\\u0075re":2}', "duplicate_key"),
    (written()[:-1] + b',"more":1,"more":1}', "duplicate_key"),
    (written()[:-1] + b',"more":{"a":1,"b":{"c":1,"c" :2}}}', "duplicate_key"),
    (written()[:-1] + b',"more":[{"c":1,"c":2}]}', "duplicate_key"),
    (written()[:-1] + b',"more":1e999}', "number_out_of_range"),
    (written()[:-1] + b',"more":' + b"9" * 5_000 + b"}", "number_out_of_range"),
]


def _named(value: Any) -> str:
    return value if isinstance(value, str) else repr((value or b"")[-24:])


@pytest.mark.parametrize(("value", "rule"), BROKEN, ids=_named)
@pytest.mark.parametrize("before", [0, 3], ids=["first of a topic", "after good ones"])
def test_what_is_no_record_is_a_broken_line_and_costs_no_neighbour(value: bytes | None, rule: str, before: int):
    good = [written(customerID=f"c{n}") for n in range(6)]
    found = read(*good[:before], value, *good[before:], reader=JsonMessages(TELCO, LIMITS))
    assert [row["customerID"] for row in customers(found)] == [f"c{n}" for n in range(6)]
    (line,) = [line for part in found for line in part.broken]
    assert (line.position, line.rule, line.raw) == (FIRST + before, rule, value)
    assert line.at == TIME_OF_FIRST + before
    assert rejected(found) == {FIRST + before: [rule]}


def test_a_broken_line_shows_its_bytes_and_of_those_too_large_the_beginning():
    (rows,) = read(b'{"a":"\xff', b"x" * 30_000, None, reader=JsonMessages(TELCO, LIMITS))
    assert [line.text for line in rows.broken] == ['{"a":"\\xff', "x" * 1_000, ""]
    assert rows.rows.num_rows == 0


def test_limits_are_passed_by_what_stands_outside_of_texts_only():
    within = [written(note=text) for text in (":" * 100, "[{" * 100, '\\"' + "[" * 100, '":{[' * 100, "\\")]
    found = read(*within, reader=JsonMessages(TELCO, LIMITS))
    assert len(customers(found)) == len(within)


def test_a_message_at_a_limit_is_read_and_one_past_it_is_not():
    size, fields = len(written(note="")), len(record()) + 2
    at = MessageLimits(bytes=size, fields=fields, depth=2)
    assert rejected(read(written(note=""), written(note="x"), reader=JsonMessages(TELCO, at))) == {
        FIRST + 1: ["message_too_large"]
    }
    at = MessageLimits(fields=fields)
    assert rejected(read(written(a=1, b=1), written(a=1, b={"c": 1}), reader=JsonMessages(TELCO, at))) == {
        FIRST + 1: ["too_many_fields"]
    }
    at = MessageLimits(depth=2)
    assert rejected(read(written(a=[]), written(a=[[]]), written(a={"b": {}}), reader=JsonMessages(TELCO, at))) == {
        FIRST + 1: ["nested_too_deep"],
        FIRST + 2: ["nested_too_deep"],
    }


def test_limits_may_be_raised_as_far_as_a_parser_goes():
    reader = JsonMessages(TELCO, MessageLimits(bytes=20_000_000, fields=10_000, depth=10_000))
    large, deep = written(note="x" * 10_000_000), written()[:-1] + b',"note":' + TOO_DEEP + b"}"
    found = read(large, written(note=""), deep, written(note=[]), TOO_DEEP, reader=reader)
    assert rejected(found) == {FIRST + 2: ["not_json"], FIRST + 4: ["not_json"]}
    assert len(customers(found)) == 3


@pytest.mark.parametrize(
    ("changes", "rules"),
    [
        ({"tenure": 2**63}, ["not_an_integer"]),
        ({"tenure": -(2**70)}, ["not_an_integer"]),
        ({"MonthlyCharges": 2**64}, ["above_maximum"]),
        ({"tenure": "7"}, ["not_an_integer"]),
        ({"tenure": 7.5}, ["not_an_integer"]),
        ({"tenure": True}, ["not_an_integer"]),
        ({"MonthlyCharges": "29.85"}, ["not_a_number"]),
        ({"TotalCharges": "much"}, ["not_a_number"]),
        ({"TotalCharges": "NaN"}, ["not_finite"]),
        ({"MonthlyCharges": [29.85]}, ["not_a_number"]),
        ({"customerID": ""}, ["missing"]),
        ({"customerID": None}, ["missing"]),
        ({"customerID": {"id": "c"}}, ["not_text"]),
        ({"Partner": "yes"}, ["not_allowed"]),
        ({"Partner": 1}, ["not_allowed"]),
        ({"Partner": True}, ["not_text"]),
        ({"tenure": -1, "Partner": "yes", "gender": None}, ["missing", "not_allowed", "below_minimum"]),
    ],
    ids=str,
)
@pytest.mark.parametrize("before", [0, 3], ids=["first of a topic", "after good ones"])
def test_a_record_that_breaks_the_contract_is_a_row_that_is_rejected_for_every_rule(changes, rules, before: int):
    good = [written(customerID=f"c{n}") for n in range(6)]
    found = read(*good[:before], written(**changes), *good[before:])
    assert [line for part in found for line in part.broken] == []
    assert rejected(found) == {FIRST + before: rules}
    assert [row["customerID"] for row in customers(found)] == [f"c{n}" for n in range(6)]


@pytest.mark.parametrize(
    ("changes", "column", "value"),
    [
        ({"tenure": 7.0}, "tenure", 7),
        ({"TotalCharges": " 12.5 "}, "TotalCharges", 12.5),
        ({"TotalCharges": " "}, "TotalCharges", None),
        ({"TotalCharges": None}, "TotalCharges", None),
        ({"customerID": 7}, "customerID", "7"),
        ({"customerID": 2**64}, "customerID", str(2**64)),
        ({"customerID": 'a: {b}, "c": [é\0\n'}, "customerID", 'a: {b}, "c": [é\0\n'),
    ],
    ids=str,
)
def test_what_the_contract_lets_pass_is_read_as_its_type(changes: dict[str, Any], column: str, value: object):
    found = read(written(), written(**changes), written())
    assert [row[column] for row in customers(found) if row["source_position"] == FIRST + 1] == [value]


def test_keys_in_any_order_escaped_lacking_or_unknown_to_the_contract_are_no_fault():
    lacking = record()
    del lacking["TotalCharges"]
    found = read(
        written(),
        json.dumps(dict(reversed(record().items())), indent=1).encode(),
        written().replace(b'"tenure"', b'"ten\\u0075re"'),
        json.dumps(lacking).encode(),
        written(at="2026-01-01T00:00:00Z", tags=["a", {"b": "c: d"}], customerid="no"),
    )
    assert rejected(found) == {}
    rows = sorted(customers(found), key=lambda row: row["source_position"])
    assert [row["TotalCharges"] for row in rows] == [29.85, 29.85, 29.85, None, 29.85]
    assert all(row["tenure"] == 1 for row in rows)


def test_a_key_that_must_be_there_and_is_not_is_missing():
    lacking = record()
    del lacking["tenure"]
    assert rejected(read(written(), json.dumps(lacking).encode(), b"{}")) == {
        FIRST + 1: ["missing"],
        FIRST + 2: ["missing"] * (len(record()) - 1),  # TotalCharges may be missing
    }


def test_the_label_is_read_where_it_is_asked_for():
    (rows,) = read(written(Churn="Yes"), reader=JsonMessages(TELCO, with_label=True))
    assert rows.rows.column("Churn").to_pylist() == ["Yes"]


def test_truth_values_may_be_0_and_1_among_true_and_false():
    given = [True, 0, 1, False, 2, 1.0, "true", "1"]
    for values in (given, given[1:3], given[:2]):
        found = read(*(json.dumps(SHOPS[0] | {"online": v}).encode() for v in values), reader=JsonMessages(SHOP))
        kept = [row["online"] for part in judged(found, SHOP) for row in part.customers.to_pylist()]
        assert kept == [bool(v) for v in values[:4]]


def in_envelope(record: bytes) -> bytes:
    return b'{"op":"c","after":' + record + b',"source":{"ts_ms":1,"table":"customers"}}'


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (b"{}", "envelope_missing"),
        (written(), "envelope_missing"),
        (in_envelope(b"null"), "envelope_null"),
        (in_envelope(b"[]"), "envelope_not_an_object"),
        (in_envelope(b'"text"'), "envelope_not_an_object"),
        (in_envelope(written()[:-1] + b',"tenure":1}'), "duplicate_key"),
        (in_envelope(written())[:-1] + b',"after":null}', "duplicate_key"),
        (in_envelope(written() + b"x"), "not_json"),
        (None, "tombstone"),
    ],
)
def test_a_record_in_an_envelope_is_read_and_an_envelope_without_one_is_a_broken_line(value, rule: str):
    reader = JsonMessages(TELCO, envelope="after")
    good = [in_envelope(written(customerID=f"c{n}")) for n in range(3)]
    found = read(value, *good, value, b'{"after":' + written(customerID="c3") + b"}", reader=reader)
    assert sorted(row["customerID"] for row in customers(found)) == ["c0", "c1", "c2", "c3"]
    assert rejected(found) == {FIRST: [rule], FIRST + 4: [rule]}
    assert [line.raw for part in found for line in part.broken] == [value, value]


def test_the_record_of_a_change_event_with_its_schema_is_two_fields_deep():
    schema = {"type": "struct", "fields": [{"type": "struct", "fields": [{"type": "int32", "field": "tenure"}]}]}
    events = [{"before": None, "after": record(customerID=name), "op": "c", "ts_ms": 1} for name in "ab"]
    events += [{"before": record(customerID="a"), "after": None, "op": "d"}, {"ts_ms": 1}]
    values = [json.dumps({"schema": schema, "payload": event}).encode() for event in [*events, None, "text"]]
    values += [json.dumps({"payload": event}).encode() for event in events] + [b"{}"]
    found = read(*values, reader=JsonMessages(TELCO, envelope="payload.after"))
    assert [row["customerID"] for row in customers(found)] == ["a", "b", "a", "b"]
    rules = {2: "null", 3: "missing", 4: "null", 5: "not_an_object", 8: "null", 9: "missing", 10: "missing"}
    assert rejected(found) == {FIRST + n: [f"envelope_{rule}"] for n, rule in rules.items()}


def test_a_customers_messages_stay_in_order_though_they_are_written_in_two_ways():
    ways = [{}, {}, {"more": 1}]
    values = [written(customerID=f"c{n % 4}", tenure=n, **ways[n % 3]) for n in range(24)]
    values += [written(customerID=f"alike{n}") for n in range(24)]
    found = read(*values, written(customerID=" c1 ", tenure=24, more=1))
    assert len(found) == 2
    assert sorted(row["source_position"] for row in customers(found)) == [*range(FIRST, FIRST + 49)]
    for name in ("c0", "c1", "c2", "c3"):
        tenures = [row["tenure"] for row in customers(found) if row["customerID"].strip() == name]
        assert tenures == sorted(tenures)


def test_a_topic_that_is_written_in_another_way_from_some_message_on_is_learned_anew():
    reader = JsonMessages(TELCO)
    old = [written(customerID=f"c{n}") for n in range(300)]
    new = [written(customerID=f"d{n}", source="web") for n in range(600)]
    assert len(read(*old, *new, reader=reader)) == 2
    assert len(read(*new, reader=reader)) == 1
    assert len(read(new[0], b"{", new[1], reader=reader)) == 1
