"""Avro schemas: one that lets a few bytes be a value without end is never decoded with."""

import json
from typing import Any

import pytest

from churn_pipeline.resources.customer_sources.avro_schemas import avro_schema
from churn_pipeline.resources.customer_sources.json_messages import MessageLimits
from churn_pipeline.resources.customer_sources.schema_registry import RegisteredSchema

LIMITS = MessageLimits(fields=50, depth=6)


def record(name: str, **fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": n, "type": kind} for n, kind in fields.items()]}


def usable(schema: Any, *references: Any, kind: str = "AVRO") -> Any:
    """What comes of a schema: a dict, or the rule that its messages break."""
    text = schema if isinstance(schema, str) else json.dumps(schema)
    return avro_schema(RegisteredSchema(kind, text, [json.dumps(one) for one in references]), LIMITS)


def nested(depth: int) -> dict[str, Any]:
    found = record("Deepest", a="int")
    for n in range(depth - 1):
        found = record(f"R{n}", a=found)
    return found


def doubled(times: int) -> dict[str, Any]:
    """A record of nothing, twice in a record that is twice in a record …, each named once."""
    found = record("R0", nothing="null")
    for n in range(times):
        found = record(f"R{n + 1}", a=found, b=f"R{n}")
    return found


@pytest.mark.parametrize(
    "schema",
    [
        record("C"),
        record("C", a="int", b=["null", "string"], c={"type": "array", "items": "int"}),
        record("C", a={"type": "array", "items": ["null", "int"]}),
        record("C", a={"type": "map", "values": "null"}),
        record("C", a={"type": "array", "items": {"type": "fixed", "name": "F", "size": 2}}, b="F"),
        record("C", a={"type": "enum", "name": "E", "symbols": ["A"]}, b="E"),
        record("C", a=record("D", b="int"), c="D"),
        record("n.s.C", a=record("D", b="int"), c="n.s.D"),
        nested(6),
        doubled(3),
    ],
    ids=str,
)
def test_a_record_of_whatever_ends_is_usable(schema):
    assert isinstance(usable(schema), dict)


@pytest.mark.parametrize(
    "schema",
    [
        record("C", next=["null", "C"]),
        record("C", next={"type": "array", "items": "C"}),
        record("C", next={"type": "map", "values": ["C", "null"]}),
        record("C", a=record("D", back=["null", "C"])),
        record("n.s.C", next=["null", "C"]),
        nested(7),
        nested(40),
        record("C", a={"type": "array", "items": record("D", a={"type": "map", "values": nested(4)})}),
    ],
    ids=lambda schema: json.dumps(schema)[:80],
)
def test_a_record_inside_itself_or_in_too_many_others_is_nested_too_deep(schema):
    assert usable(schema) == "nested_too_deep"


def test_a_schema_too_deep_for_any_parser_is_nested_too_deep():
    assert usable('{"type":' * 5_000 + '"int"' + "}" * 5_000) == "nested_too_deep"
    for depth in (300, 450, 480):
        assert usable('{"type":"array","items":' * depth + '"int"' + "}" * depth) in (
            "nested_too_deep",
            "unusable_schema",
        )


@pytest.mark.parametrize(
    "schema", [record("C", **{f"f{n}": "int" for n in range(51)}), doubled(5), doubled(300)], ids=len
)
def test_fields_are_counted_as_often_as_a_message_has_them(schema):
    assert usable(schema) == "too_many_fields"


@pytest.mark.parametrize(
    "items",
    ["null", record("D"), record("D", a="null"), {"type": "fixed", "name": "F", "size": 0}],
    ids=str,
)
def test_an_array_whose_items_take_no_bytes_is_unusable(items):
    assert usable(record("C", a={"type": "array", "items": items})) == "unusable_schema"
    assert usable(record("C", a=[{"type": "array", "items": items}])) == "unusable_schema"


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "{",
        "7",
        "null",
        "[]",
        '"string"',
        '{"type":"array","items":"int"}',
        '[{"type":"record","name":"C","fields":[]}]',
        '{"type":"record"}',
        '{"type":"record","name":"C","fields":7}',
        '{"type":"record","name":"C","fields":["a"]}',
        '{"type":"record","name":"C","fields":[{"name":"a"}]}',
        '{"type":"record","name":"C","fields":[{"name":"a","type":"Missing"}]}',
        '{"type":"record","name":"C","fields":[{"name":"a","type":[]}]}',
        '{"type":"record","name":"C","fields":[{"name":"a","type":{"type":"array"}}]}',
        '{"type":"record","name":"C","fields":[{"name":"a","type":{"type":"fixed","name":"F"}}]}',
        '{"type":"record","name":"C","fields":[{"name":"a","type":{"type":"fixed","name":"F","size":"x"}}]}',
        '{"__fastavro_parsed":true,"type":"record"}',
        '{"__fastavro_parsed":true,"__named_schemas":7,"type":"record","name":"C","fields":[]}',
    ],
)
def test_what_is_no_schema_of_a_record_is_unusable(schema):
    assert usable(schema) == "unusable_schema"


def test_a_schema_of_another_kind_is_unusable():
    assert usable("{}", kind="JSON") == usable("syntax = 'proto3';", kind="PROTOBUF") == "unusable_schema"


def test_a_schema_may_name_others_that_come_before_it():
    assert isinstance(usable(record("C", a="B"), record("A", a="int"), record("B", a="A")), dict)
    assert usable(record("C", a="B"), record("B", a="A"), record("A", a="int")) == "unusable_schema"
    assert usable(record("C", a="B")) == "unusable_schema"
