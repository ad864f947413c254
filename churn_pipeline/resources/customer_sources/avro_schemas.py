"""Avro schemas that messages may be decoded with.

A few bytes can be a value without end: a record inside itself ends the process, for fastavro runs out of stack, and
an array of items that take no bytes fills the memory. So what a message may cost is held against its schema, once,
before anything is decoded with it.

Belongs here: parsing a schema and weighing it. Does not: messages (`avro_messages.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from churn_pipeline.resources.customer_sources.json_messages import MessageLimits
from churn_pipeline.resources.customer_sources.schema_registry import RegisteredSchema

#: Bytes that a value takes at least; 1 where nothing is said.
_LEAST_BYTES = {"null": 0, "float": 4, "double": 8}


def avro_schema(schema: RegisteredSchema, limits: MessageLimits) -> dict[str, Any] | str:
    """The schema of a record as fastavro decodes with it, or the rule that every message of it breaks.

    The limits of fields and depth are those of a message with one item in every array.
    """
    from fastavro.schema import SchemaParseException, parse_schema

    if schema.kind != "AVRO":
        return "unusable_schema"
    named: dict[str, Any] = {}
    try:
        for text in schema.references:
            parse_schema(json.loads(text), named)
        parsed = parse_schema(json.loads(schema.text), named)
        weight = _Weights(named).of(parsed)
    except _Broken as broken:
        return broken.rule
    except RecursionError:
        return "nested_too_deep"
    # fastavro checks little and stumbles over the rest in many ways.
    except (SchemaParseException, ValueError, LookupError, TypeError, AttributeError):
        return "unusable_schema"
    if not isinstance(parsed, dict) or parsed["type"] != "record":
        return "unusable_schema"
    if weight.fields > limits.fields:
        return "too_many_fields"
    return "nested_too_deep" if weight.depth > limits.depth else parsed


class _Broken(Exception):
    def __init__(self, rule: str) -> None:
        self.rule = rule


@dataclass(frozen=True)
class _Weight:
    """What a value of a schema is: bytes at least; at most the fields and the records and arrays inside each other."""

    bytes: int
    fields: int = 0
    depth: int = 0


class _Weights:
    """Weighs parsed schemas; each named one once, for they may name each other many times over."""

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._known: dict[str, _Weight | None] = {}

    def of(self, schema: Any) -> _Weight:
        if isinstance(schema, list):
            found = [self.of(branch) for branch in schema]
            # Which of them it is takes a byte.
            least = 1 + min((one.bytes for one in found), default=0)
            return _Weight(least, max(_.fields for _ in found), max(_.depth for _ in found))
        kind = schema["type"] if isinstance(schema, dict) else schema
        match kind:
            case "record" | "error":
                return self._record(schema)
            case "array":
                return self._array(self.of(schema["items"]))
            case "map":
                values = self.of(schema["values"])
                return _Weight(1, values.fields + 1, values.depth + 1)
            case "fixed":
                return _Weight(schema["size"])
        return self.of(self._named[kind]) if kind in self._named else _Weight(_LEAST_BYTES.get(kind, 1))

    def _record(self, schema: dict[str, Any]) -> _Weight:
        name = schema["name"]
        if name not in self._known:
            self._known[name] = None
            found = [self.of(field["type"]) for field in schema["fields"]]
            fields = len(found) + sum(one.fields for one in found)
            depth = 1 + max((one.depth for one in found), default=0)
            self._known[name] = _Weight(sum(one.bytes for one in found), fields, depth)
        weight = self._known[name]
        if weight is None:  # It is being weighed: the record is inside itself.
            raise _Broken("nested_too_deep")
        return weight

    def _array(self, items: _Weight) -> _Weight:
        if not items.bytes:
            raise _Broken("unusable_schema")
        return _Weight(1, items.fields, items.depth + 1)
