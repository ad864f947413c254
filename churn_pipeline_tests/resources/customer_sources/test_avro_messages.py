"""Avro messages: decoded with the schema they were written with, whatever it is, and never at any cost."""

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_pipeline.contract.definition import Contract
from churn_pipeline.deployments import Settings
from churn_pipeline.resources.customer_sources import avro_messages
from churn_pipeline.resources.customer_sources.avro_messages import AvroMessages, AvroUnavailable
from churn_pipeline.resources.customer_sources.json_messages import MessageLimits
from churn_pipeline.resources.customer_sources.schema_registry import RegisteredSchema, SchemaRegistry
from churn_pipeline_tests.resources.customer_sources import shops
from churn_pipeline_tests.resources.customer_sources.registry_fake import FakeRegistry, framed
from churn_pipeline_tests.resources.customer_sources.telco_messages import (
    EPOCH,
    FIRST,
    TELCO,
    TIME_OF_FIRST,
    customers,
    judged,
    messages,
    read,
    record,
    rejected,
    written,
)

_AVRO = {"integer": "int", "number": "double", "category": "string"}
FIELDS: list[dict[str, Any]] = [{"name": "customerID", "type": "string"}] + [
    {"name": name, "type": ["null", _AVRO[f.type]] if f.nullable else _AVRO[f.type]}
    for name, f in TELCO.features.items()
]
#: What AvroSerializer of confluent-kafka 2.16.1 wrote, its schema having the id 3.
BY_CONFLUENT = b"\x00\x00\x00\x00\x03\x147590-VHVEG\x02\x02\x9a\x99\x99\x99\x99\xd9=@"
SCHEMA_BY_CONFLUENT = [("customerID", "string"), ("tenure", "int"), ("MonthlyCharges", ["null", "double"])]


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


def schema(*fields: dict[str, Any], **types: Any) -> dict[str, Any]:
    """The schema of a customer, some fields being of another type, or more."""
    own = [f | {"type": types.pop(f["name"])} if f["name"] in types else f for f in FIELDS]
    more = [{"name": name, "type": kind} for name, kind in types.items()]
    return {"type": "record", "name": "Customer", "namespace": "test", "fields": [*own, *more, *fields]}


def payload(of: Any, **changes: Any) -> bytes:
    """A customer that keeps the contract, but for the changes, written by this schema."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(of), record(**changes))
    return stream.getvalue()


def reader(fake: FakeRegistry, contract: Contract = TELCO, **options: Any) -> AvroMessages:
    return AvroMessages(SchemaRegistry(fake.url), contract, **options)


def test_a_message_is_a_row_with_its_place_its_bytes_and_its_time(fake):
    schema_id = fake.register(schema())
    values = [framed(schema_id, payload(schema(), customerID=name, TotalCharges=None)) for name in "ab"]
    (rows,) = read(*values, reader=reader(fake))
    assert rows.rows.to_pylist() == [record(customerID=name, TotalCharges=None) for name in "ab"]
    assert rows.rows.schema.names == TELCO.columns()
    assert rows.partition == "customers/3"
    assert rows.positions.to_pylist() == [FIRST, FIRST + 1]
    assert rows.raw == tuple(values)
    assert rows.times is not None
    assert rows.times.to_pylist()[0] == EPOCH
    assert len(customers([rows])) == 2


def test_avro_gives_what_the_same_records_give_as_json(fake):
    changed = [{"customerID": f"c{n}", "tenure": n, "MonthlyCharges": n / 3} for n in range(30)]
    schema_id = fake.register(schema())
    found = read(*(framed(schema_id, payload(schema(), **c)) for c in changed), reader=reader(fake))
    assert customers(found) == customers(read(*(written(**c) for c in changed)))


def test_what_confluents_serializer_wrote_is_read(fake):
    fields = [{"name": name, "type": kind} for name, kind in SCHEMA_BY_CONFLUENT]
    for _ in range(3):
        fake.register({"type": "record", "name": "Shop", "fields": fields})
    (rows,) = read(BY_CONFLUENT, reader=reader(fake))
    (row,) = rows.rows.to_pylist()
    assert (row["customerID"], row["tenure"], row["MonthlyCharges"]) == ("7590-VHVEG", 1, 29.85)


def test_versions_of_a_schema_stand_beside_each_other(fake):
    without = schema()
    without["fields"] = [f for f in without["fields"] if f["name"] != "TotalCharges"][::-1]
    versions = [
        schema(),
        without,
        schema({"name": "more", "type": {"type": "map", "values": "long"}, "default": {}}, tenure="long"),
        schema(MonthlyCharges=["float", "null"], Partner={"type": "enum", "name": "YesNo", "symbols": ["Yes", "No"]}),
        schema(MonthlyCharges={"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}),
    ]
    values = []
    for n, of in enumerate(versions):
        charge = Decimal("29.50") if n == 4 else 29.5
        changes = {"customerID": f"c{n}", "MonthlyCharges": charge, "TotalCharges": 7.25, "more": {"a": 1}}
        values.append(framed(fake.register(of), payload(of, **changes)))
    (rows,) = read(*values, reader=reader(fake))
    found = customers([rows])
    assert [row["customerID"] for row in found] == [f"c{n}" for n in range(5)]
    assert [row["MonthlyCharges"] for row in found] == [29.5] * 5
    assert [row["TotalCharges"] for row in found] == [7.25, None, 7.25, 7.25, 7.25]
    assert len(fake.asked) == 5


def test_logical_types_are_the_values_that_they_stand_for(fake):
    of = {
        "type": "record",
        "name": "Shop",
        "fields": [
            {"name": "shop", "type": {"type": "string", "logicalType": "uuid"}},
            {"name": "seen", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "visits", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 1}},
            {"name": "size", "type": {"type": "enum", "name": "Size", "symbols": ["small", "large"]}},
            {"name": "online", "type": ["null", "boolean"]},
            {"name": "note", "type": "bytes"},
        ],
    }
    name, seen = UUID(int=7), datetime(2026, 5, 6, 7, 8, 9, 123000, tzinfo=UTC)
    given = {"shop": name, "seen": seen, "visits": Decimal("3.0"), "size": "large", "online": True, "note": b"n"}
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(of), given)
    found = read(framed(fake.register(of), stream.getvalue()), reader=reader(fake, shops.CONTRACT))
    ((row,),) = [part.customers.to_pylist() for part in judged(found, shops.CONTRACT)]
    expected = {"shop": str(name), "event_at": seen, "visits": 3, "size": "large", "online": True, "note": "n"}
    assert {key: row[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("kind", "value", "time"),
    [
        ({"type": "int", "logicalType": "date"}, date(2026, 5, 6), datetime(2026, 5, 6, tzinfo=UTC)),
        ({"type": "long", "logicalType": "timestamp-micros"}, EPOCH, EPOCH),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, EPOCH.replace(tzinfo=None), EPOCH),
        ("string", "2026-01-02T00:00:00Z", EPOCH),
        ("string", "2026-01-02T01:00:00+01:00", EPOCH),
    ],
    ids=str,
)
def test_an_event_time_may_be_a_date_a_time_or_a_text(fake, kind, value, time):
    fields = [{"name": "shop", "type": "string"}, {"name": "seen", "type": kind}, {"name": "visits", "type": "int"}]
    fields += [{"name": "size", "type": "string"}, {"name": "online", "type": "boolean"}]
    of = {"type": "record", "name": "Shop", "fields": fields}
    given = {"shop": "S1", "seen": value, "visits": 1, "size": "small", "online": True}
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(of), given)
    found = read(framed(fake.register(of), stream.getvalue()), reader=reader(fake, shops.CONTRACT))
    ((row,),) = [part.customers.to_pylist() for part in judged(found, shops.CONTRACT)]
    assert row["event_at"] == time


@pytest.mark.parametrize(
    ("types", "changes", "rules"),
    [
        ({}, {"MonthlyCharges": float("nan")}, ["not_finite"]),
        ({}, {"MonthlyCharges": float("-inf")}, ["not_finite"]),
        ({}, {"customerID": ""}, ["missing"]),
        ({}, {"Partner": "yes"}, ["not_allowed"]),
        ({"tenure": "string"}, {"tenure": "7"}, ["not_an_integer"]),
        ({"tenure": "double"}, {"tenure": 7.5}, ["not_an_integer"]),
        ({"tenure": "boolean"}, {"tenure": True}, ["not_an_integer"]),
        ({"tenure": {"type": "array", "items": "int"}}, {"tenure": [7]}, ["not_an_integer"]),
        ({"tenure": {"type": "map", "values": "int"}}, {"tenure": {"a": 7}}, ["not_an_integer"]),
        ({"Partner": "boolean"}, {"Partner": True}, ["not_text"]),
        ({"Partner": "bytes"}, {"Partner": b"\xff"}, ["not_text"]),
        ({"customerID": {"type": "int", "logicalType": "date"}}, {"customerID": EPOCH.date()}, ["not_text"]),
        (
            {"MonthlyCharges": {"type": "int", "logicalType": "date"}},
            {"MonthlyCharges": EPOCH.date()},
            ["not_a_number"],
        ),
    ],
    ids=str,
)
def test_a_record_that_breaks_the_contract_is_rejected_and_costs_no_neighbour(fake, types, changes, rules):
    good, bad = schema(), schema(**types)
    value = framed(fake.register(good), payload(good))
    found = read(value, framed(fake.register(bad), payload(bad, **changes)), value, reader=reader(fake))
    assert rejected(found) == {FIRST + 1: rules}
    assert len(customers(found)) == 2


WHOLE = payload(schema())


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "not_avro"),
        (WHOLE[:-1], "not_avro"),
        (WHOLE + b"\0", "not_avro"),
        (WHOLE + WHOLE, "not_avro"),
        (b"\x09" + WHOLE, "not_avro"),
        (b"\xff" * 40, "not_avro"),
        (written(), "not_avro"),
        (b"\x02\xff" + WHOLE[2:], "not_utf8"),
    ],
)
def test_a_payload_that_the_schema_does_not_decode_is_a_broken_line(fake, body, rule):
    schema_id = fake.register(schema())
    good = framed(schema_id, WHOLE)
    (rows,) = read(good, framed(schema_id, body), good, reader=reader(fake))
    (line,) = rows.broken
    assert (line.position, line.rule, line.raw, line.at) == (
        FIRST + 1,
        rule,
        framed(schema_id, body),
        TIME_OF_FIRST + 1,
    )
    assert len(customers([rows])) == 2


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "long", "logicalType": "timestamp-micros"},
        {"type": "int", "logicalType": "date"},
    ],
    ids=lambda kind: kind["logicalType"],
)
def test_a_time_that_no_calendar_has_is_a_broken_line(fake, kind):
    of = {"type": "record", "name": "C", "fields": [{"name": "seen", "type": kind}]}
    found = read(framed(fake.register(of), b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"), reader=reader(fake))
    assert rejected(found) == {FIRST: ["not_avro"]}


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "bytes", "logicalType": "decimal"},
        {"type": "bytes", "logicalType": "decimal", "precision": None},
        {"type": "fixed", "name": "F", "size": 1.5},
        {"type": "fixed", "name": "F", "size": 2**70},
        {"type": "enum", "name": "E", "symbols": []},
        {"type": "string", "logicalType": "uuid"},
        {"type": "int", "logicalType": "time-millis"},
    ],
    ids=str,
)
def test_a_schema_whose_fault_shows_in_decoding_only_breaks_its_own_messages(fake, kind):
    of = {"type": "record", "name": "C", "fields": [{"name": "a", "type": kind}]}
    schema_id = fake.register(of)
    bodies = [b"", b"\x04ab", b"\0", b"\xff" * 12]
    found = read(*(framed(schema_id, body) for body in bodies), reader=reader(fake))
    assert sum(part.count for part in found) == len(bodies)
    assert "not_avro" in rejected(found)[FIRST]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(WHOLE)))
def test_no_bytes_whatever_do_more_than_break_their_own_message(noise, kept):
    found = _Known({1: RegisteredSchema("AVRO", json.dumps(schema()))})
    values = [framed(1, WHOLE), framed(1, WHOLE[:kept] + noise), noise, framed(1, WHOLE)]
    parts = read(*values, reader=AvroMessages(found, TELCO))
    assert sum(part.count for part in parts) == 4
    assert {FIRST, FIRST + 3}.isdisjoint(rejected(parts))


class _Known:
    """A registry that needs no server."""

    def __init__(self, schemas: dict[int, RegisteredSchema]) -> None:
        self.schema = schemas.get


def test_a_record_may_be_in_an_envelope_of_a_schema_of_its_own(fake):
    fake.register(schema(), subject="customer")
    envelope = {
        "type": "record",
        "name": "Envelope",
        "fields": [{"name": "op", "type": "string"}, {"name": "after", "type": ["null", "test.Customer"]}],
    }
    schema_id = fake.register(envelope, subject="change", references=[("customer", 1)])
    values = [framed(schema_id, b"\x02u\x02" + WHOLE), framed(schema_id, b"\x02d\x00")]
    found = read(*values, reader=reader(fake, envelope="after"))
    assert len(customers(found)) == 1
    assert rejected(found) == {FIRST + 1: ["envelope_null"]}
    deeper = {"type": "record", "name": "Event", "fields": [{"name": "change", "type": "Envelope"}]}
    value = framed(fake.register(deeper, references=[("customer", 1), ("change", 1)]), values[0][5:])
    assert len(customers(read(value, reader=reader(fake, envelope="change.after")))) == 1
    assert rejected(read(values[0], reader=reader(fake, envelope="op"))) == {FIRST: ["envelope_not_an_object"]}
    assert rejected(read(values[0], reader=reader(fake, envelope="before"))) == {FIRST: ["envelope_missing"]}


def test_the_limit_of_bytes_holds_before_the_schema_is_asked_for(fake):
    found = read(framed(1, WHOLE), reader=reader(fake, limits=MessageLimits(bytes=len(WHOLE) + 4)))
    assert rejected(found) == {FIRST: ["message_too_large"]}
    assert fake.asked == []


def test_without_the_extra_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(avro_messages, "find_spec", lambda _: None)
    chosen = Settings.from_environment({"CHURN_KAFKA_FORMAT": "avro", "SCHEMA_REGISTRY_URL": "http://localhost"})
    with pytest.raises(AvroUnavailable, match=r"pip install churn-pipeline\[registry\]"):
        chosen.message_format()


def test_the_format_of_the_settings_is_the_one_that_reads(fake):
    variables = {"CHURN_KAFKA_FORMAT": "avro", "SCHEMA_REGISTRY_URL": fake.url, "CHURN_KAFKA_MESSAGE_BYTES": "5000"}
    rows = Settings.from_environment(variables).message_format()(TELCO, False)
    values = [framed(fake.register(schema()), WHOLE), bytes(5_001)]
    found = list(rows(messages(*values)))
    assert len(customers(found)) == 1
    assert rejected(found) == {FIRST + 1: ["message_too_large"]}
