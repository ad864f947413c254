"""Messages as other systems write them: docs/kafka.md says which are read, by what setting, and which are not."""

import json
from typing import Any

import pytest

from churn_pipeline.resources.customer_sources.json_messages import JsonMessages
from churn_pipeline_tests.resources.customer_sources.telco_messages import (
    FIRST,
    TELCO,
    customers,
    read,
    record,
    rejected,
)

CUSTOMER = record(tenure=3)
#: Of Kafka Connect's JSON converter, as far as it goes: a schema of nested objects in arrays.
SCHEMA = {"type": "struct", "fields": [{"type": "struct", "fields": [{"type": "int32", "field": "tenure"}]}]}
CHANGE = {"before": None, "after": CUSTOMER, "op": "c", "source": {"table": "customers", "xmin": None}, "ts_ms": 1}
DELETION = CHANGE | {"before": CUSTOMER, "after": None, "op": "d"}
EVENT = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "changed", "time": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    ("envelope", "message"),
    [
        ("payload.after", {"schema": SCHEMA, "payload": CHANGE}),
        ("after", CHANGE),
        (None, CUSTOMER | {"__deleted": "false", "__op": "u"}),
        ("payload", {"schema": SCHEMA, "payload": CUSTOMER}),
        ("data", EVENT | {"datacontenttype": "application/json", "data": CUSTOMER}),
    ],
    ids=["debezium with schema", "debezium", "debezium flattened", "connect with schema", "cloudevents"],
)
def test_a_customer_in_a_message_of_another_system_is_the_customer(envelope: str | None, message: dict[str, Any]):
    value = json.dumps(message).encode()
    found = read(value, value, reader=JsonMessages(TELCO, envelope=envelope))
    assert [row["tenure"] for row in customers(found)] == [3, 3]
    assert rejected(found) == {}


@pytest.mark.parametrize(
    ("envelope", "message", "rule"),
    [
        ("payload.after", {"schema": SCHEMA, "payload": DELETION}, "envelope_null"),
        ("after", {"op": "t", "ts_ms": 1}, "envelope_missing"),
        ("data", EVENT | {"data": json.dumps(CUSTOMER)}, "envelope_not_an_object"),
        ("data", EVENT | {"data_base64": "e30="}, "envelope_missing"),
        ("data", [EVENT | {"data": CUSTOMER}], "not_an_object"),
        (None, {"customerID": "c", "account": CUSTOMER}, "missing"),
    ],
    ids=["deletion", "truncation", "event of text", "event of bytes", "batched events", "nested record"],
)
def test_what_another_system_writes_and_is_no_customer_says_so(envelope: str | None, message: Any, rule: str):
    found = read(json.dumps(message).encode(), reader=JsonMessages(TELCO, envelope=envelope))
    assert {FIRST: {rule}} == {offset: set(rules) for offset, rules in rejected(found).items()}
