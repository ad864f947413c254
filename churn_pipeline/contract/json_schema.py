"""The contract as a JSON Schema of one record, for people and programs that send records.

Belongs here: the translation (JSON Schema 2020-12). Does not: judging records.
"""

from typing import Any

from churn_pipeline.contract.columns import LONGEST_ID, ColumnRules, rules_of
from churn_pipeline.contract.definition import Contract

_TYPES = {"number": "number", "integer": "integer", "category": "string", "boolean": "boolean", "text": "string"}


def json_schema(contract: Contract) -> dict[str, Any]:
    """Schema of one customer record under the contract's source column names; the label is optional."""
    rules = rules_of(contract)
    properties = {r.source: _property(r, _sentence(contract, r)) for r in rules}
    if label := contract.label:
        properties[label.column] = {"enum": [label.positive, label.negative], "description": label.description}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": contract.name,
        "description": contract.description,
        "type": "object",
        "properties": properties,
        "required": [r.source for r in rules if not r.nullable],
        "additionalProperties": True,
    }


def _sentence(contract: Contract, r: ColumnRules) -> str:
    if r.identifies:
        return contract.id.description
    if r.name == "event_at" and contract.event_time:
        return contract.event_time.description
    return contract.features[r.name].description


def _property(r: ColumnRules, description: str) -> dict[str, Any]:
    if r.kind == "timestamp":
        said: dict[str, Any] = {"type": "string", "format": "date-time"}
    elif r.allowed is not None:
        said = {"enum": list(r.allowed)}
    else:
        said = {"type": _TYPES[r.kind]}
        if r.identifies:
            said |= {"minLength": 1, "maxLength": LONGEST_ID}
        if r.min is not None:
            said["minimum"] = r.min
        if r.max is not None:
            said["maximum"] = r.max
    choices = [said]
    if r.cleaning.number_from_text and r.kind in ("number", "integer"):
        choices.append({"type": "string", "description": "The number as text."})
    if r.nullable:
        choices.append({"type": "null"})
    return {**(choices[0] if len(choices) == 1 else {"anyOf": choices}), "description": description}
