"""Framed messages: the frame is judged first, then the schema that it names, and only then the payload."""

import json

import pytest

from churn_pipeline.resources.customer_sources.json_messages import MessageLimits
from churn_pipeline.resources.customer_sources.registry_messages import FramedJsonMessages, Frames
from churn_pipeline.resources.customer_sources.schema_registry import SchemaRegistry, SchemaRegistryUnreachable
from churn_pipeline_tests.resources.customer_sources.registry_fake import FakeRegistry, framed
from churn_pipeline_tests.resources.customer_sources.telco_messages import (
    EPOCH,
    FIRST,
    TELCO,
    TIME_OF_FIRST,
    customers,
    read,
    rejected,
    written,
)

JSON_SCHEMA = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
#: What JSONSerializer of confluent-kafka 2.16.1 wrote, its schema having the id 4.
BY_CONFLUENT = b'\x00\x00\x00\x00\x04{"customerID":"7590-VHVEG","tenure":1,"MonthlyCharges":29.85}'


@pytest.fixture
def fake():
    with FakeRegistry() as registry:
        yield registry


def frames(fake: FakeRegistry, limit: int = 100) -> Frames[tuple[str]]:
    """Frames that make of a schema a tuple of its text; a text alone would be a rule."""
    return Frames(SchemaRegistry(fake.url), MessageLimits(bytes=limit), lambda schema: (schema.text,))


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (None, "tombstone"),
        (b"", "empty_message"),
        (b"\0" * 101, "message_too_large"),
        (b"\0", "not_framed"),
        (b"\0\0\0\1", "not_framed"),
        (b"\1\0\0\0\1x", "not_framed"),
        (written()[:100], "not_framed"),
        (framed(7, b"x"), "unknown_schema"),
        (framed(2**31 - 1, b"x"), "unknown_schema"),
    ],
)
def test_a_message_whose_frame_says_nothing_is_broken(fake, value, rule):
    assert frames(fake).open(value) == rule


def test_what_is_no_frame_is_never_asked_about(fake):
    opened = frames(fake)
    for value in (None, b"", b"\0" * 101, b"{}", b"\0\0", framed(2**31, b"x"), framed(2**32 - 1, b"x")):
        assert isinstance(opened.open(value), str)
    assert fake.asked == []


def test_a_frame_gives_its_schema_and_the_bytes_after_it(fake):
    first, second = fake.register("first"), fake.register("second")
    opened = frames(fake)
    assert opened.open(framed(first, b"payload")) == (("first",), b"payload")
    assert opened.open(framed(second, b"")) == (("second",), b"")


def test_a_schema_is_fetched_once_and_so_is_one_that_is_not_there(fake):
    schema_id = fake.register("schema")
    opened = frames(fake)
    for _ in range(3):
        opened.open(framed(schema_id, b"x"))
        opened.open(framed(9, b"x"))
    assert fake.asked == [f"/schemas/ids/{schema_id}", "/schemas/ids/9"]


def test_a_schema_that_was_fetched_needs_the_registry_no_more(fake):
    schema_id = fake.register("schema")
    opened = frames(fake)
    before = opened.open(framed(schema_id, b"x"))
    fake.answer = (503, b"")
    assert opened.open(framed(schema_id, b"x")) == before


def test_a_registry_that_fails_is_an_error_and_rejects_no_message(fake):
    schema_id = fake.register(JSON_SCHEMA, "JSON")
    fake.answer = (503, b"")
    reader = FramedJsonMessages(SchemaRegistry(fake.url), TELCO)
    with pytest.raises(SchemaRegistryUnreachable):
        read(framed(schema_id, written()), reader=reader)
    fake.answer = None  # and it is asked again
    assert len(customers(read(framed(schema_id, written()), reader=reader))) == 1


def test_framed_json_is_read_as_json_is_and_keeps_its_frame_for_whoever_looks_at_it(fake):
    schema_id = fake.register(JSON_SCHEMA, "JSON")
    plain = [written(customerID=f"c{n}", tenure=n) for n in range(4)] + [b"{", written(Partner=7), b"[]"]
    values = [framed(schema_id, value) for value in plain]
    found = read(*values, reader=FramedJsonMessages(SchemaRegistry(fake.url), TELCO))
    assert customers(found) == customers(read(*plain))
    assert rejected(found) == rejected(read(*plain))
    for part in found:
        assert part.raw == [values[offset - FIRST] for offset in part.positions.to_pylist()]
        assert [line.raw for line in part.broken] == [values[line.position - FIRST] for line in part.broken]


def test_every_message_is_a_row_or_a_broken_line_with_its_place_its_time_and_its_bytes(fake):
    known, avro = fake.register(JSON_SCHEMA, "JSON"), fake.register({"type": "record", "name": "C", "fields": []})
    limits = MessageLimits(bytes=5_000, fields=50, depth=4)
    cases = [
        (framed(known, written(customerID="a")), None),
        (None, "tombstone"),
        (written(), "not_framed"),
        (framed(99, written()), "unknown_schema"),
        (framed(avro, written()), "unusable_schema"),
        (framed(known, b""), "empty_message"),
        (framed(known, b" " * 5_000), "message_too_large"),
        (framed(known, written(more=[[[[]]]])), "nested_too_deep"),
        (framed(known, written(**{f"k{n}": n for n in range(50)})), "too_many_fields"),
        (framed(known, written()[:-1]), "not_json"),
        (framed(known, framed(known, written())), "not_json"),
        (framed(known, written(customerID="b")), None),
    ]
    found = read(*(value for value, _ in cases), reader=FramedJsonMessages(SchemaRegistry(fake.url), TELCO, limits))
    assert {row["customerID"] for row in customers(found)} == {"a", "b"}
    assert rejected(found) == {FIRST + n: [rule] for n, (_, rule) in enumerate(cases) if rule}
    for line in (line for part in found for line in part.broken):
        n = line.position - FIRST
        assert (line.raw, line.at) == (cases[n][0], TIME_OF_FIRST + n)
    assert sum(part.count for part in found) == len(cases)


def test_a_framed_record_may_be_in_an_envelope(fake):
    schema_id = fake.register(JSON_SCHEMA, "JSON")
    reader = FramedJsonMessages(SchemaRegistry(fake.url), TELCO, envelope="after")
    value = framed(schema_id, json.dumps({"op": "u", "after": json.loads(written(customerID="a"))}).encode())
    found = read(value, framed(schema_id, b'{"after":null}'), reader=reader)
    assert [row["customerID"] for row in customers(found)] == ["a"]
    assert rejected(found) == {FIRST + 1: ["envelope_null"]}


def test_what_confluents_serializer_wrote_is_read(fake):
    for _ in range(4):
        fake.register(JSON_SCHEMA, "JSON")
    (rows,) = read(BY_CONFLUENT, reader=FramedJsonMessages(SchemaRegistry(fake.url), TELCO))
    (row,) = rows.rows.to_pylist()
    assert (row["customerID"], row["tenure"], row["MonthlyCharges"]) == ("7590-VHVEG", 1, 29.85)
    assert rows.times is not None
    assert rows.times.to_pylist() == [EPOCH]


def test_no_messages_are_no_rows_and_no_questions(fake):
    assert read(reader=FramedJsonMessages(SchemaRegistry(fake.url), TELCO)) == []
    assert fake.asked == []
