"""A real schema registry beside a real broker: topics whose messages are Avro, or JSON with a schema, become rows."""

import io
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import fastavro
import pytest
from confluent_kafka import Producer

from churn_pipeline import deployments
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources.schema_registry import SchemaRegistry, SchemaRegistryUnreachable
from churn_pipeline_tests.kafka.apicurio import Apicurio
from churn_pipeline_tests.kafka.fixtures import started
from churn_pipeline_tests.resources.customer_sources.registry_fake import framed
from churn_pipeline_tests.resources.customer_sources.telco_messages import TELCO, judged, record, written

# The registry alone needs no broker and is as slow to start as one.
pytestmark = pytest.mark.kafka

_AVRO = {"integer": "int", "number": "double", "category": "string"}
FIELDS = [{"name": "customerID", "type": "string"}] + [
    {"name": name, "type": ["null", _AVRO[feature.type]]} for name, feature in TELCO.features.items()
]
CUSTOMER = {"type": "record", "name": "Customer", "namespace": "shop", "fields": FIELDS}


@pytest.fixture(scope="module")
def registry() -> Iterator[Apicurio]:
    """A running registry for the tests here."""
    with ExitStack() as context:
        yield started(context, Apicurio)


def avro(schema: Any, schema_id: int, **changes: Any) -> bytes:
    """A customer as a framed message of this schema."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), record(**changes))
    return framed(schema_id, stream.getvalue())


def read_back(broker: Any, topic: str, home: Any, *values: bytes | None, **settings: str) -> list[SourceRows]:
    """What a deployment with these settings reads of a topic that these messages were sent to."""
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0
    source = deployments.test(home, kafka_servers=broker.bootstrap, **settings).open_source(f"kafka:{topic}")
    return list(source.read(source.plan(), TELCO))


def test_messages_of_two_versions_of_a_schema_are_read_from_a_topic(kafka_broker, make_topic, registry, tmp_path):
    first = registry.register("evolving", CUSTOMER)
    more = CUSTOMER | {"fields": [*FIELDS, {"name": "region", "type": "string", "default": ""}]}
    second = registry.register("evolving", more)
    assert first != second
    values = [avro(CUSTOMER, first, customerID="a"), avro(more, second, customerID="b", region="north")]
    values += [b"{}", framed(2**31 - 1, b"x"), framed(first, b"x"), None]
    settings = {"kafka_format": "avro", "registry_url": registry.url}
    found = judged(read_back(kafka_broker, make_topic(), tmp_path, *values, **settings))
    assert [row["customerID"] for part in found for row in part.customers.to_pylist()] == ["a", "b"]
    assert {row["source_position"]: row["rules"] for part in found for row in part.rejected.to_pylist()} == {
        2: ["not_framed"],
        3: ["unknown_schema"],
        4: ["not_avro"],
        5: ["tombstone"],
    }


def test_json_messages_with_a_schema_are_read_from_a_topic(kafka_broker, make_topic, registry, tmp_path):
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    schema_id = registry.register("as-json", schema, kind="JSON")
    values = [framed(schema_id, written(customerID=name)) for name in "ab"] + [written()]
    settings = {"kafka_format": "json_schema", "registry_url": registry.url}
    found = judged(read_back(kafka_broker, make_topic(), tmp_path, *values, **settings))
    assert [row["customerID"] for part in found for row in part.customers.to_pylist()] == ["a", "b"]
    assert [row["rules"] for part in found for row in part.rejected.to_pylist()] == [["not_framed"]]


def test_a_schema_comes_with_those_that_it_names(registry):
    registry.register("customer", CUSTOMER)
    envelope = {"type": "record", "name": "Change", "fields": [{"name": "after", "type": "shop.Customer"}]}
    schema_id = registry.register("change", envelope, references=[("customer", 1)])
    found = SchemaRegistry(registry.url).schema(schema_id)
    assert found is not None
    assert (found.kind, len(found.references)) == ("AVRO", 1)
    assert "customerID" in found.references[0]


@pytest.mark.parametrize("schema_id", [0, 999_999, 2**31 - 1])
def test_an_id_that_a_real_registry_does_not_know_is_none(registry, schema_id):
    assert SchemaRegistry(registry.url).schema(schema_id) is None


def test_an_address_beside_the_paths_of_a_real_registry_is_an_error_and_no_unknown_schema(registry):
    with pytest.raises(SchemaRegistryUnreachable):
        SchemaRegistry(registry.url + "/nowhere").schema(1)
