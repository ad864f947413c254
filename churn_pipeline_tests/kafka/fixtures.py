"""Fixtures of the Kafka tier.

Belongs here: which broker a test gets, and fresh topics. Does not: how a broker runs (`apache_kafka.py`).

Tests share `kafka_broker`, which is the cluster that KAFKA_BOOTSTRAP_SERVERS names, or else one that is started here.
A test that kills or freezes takes its own from `new_broker` or `new_cluster`. Without Java or the jars such tests are
skipped; where CI is set they fail.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from churn_pipeline_tests.kafka.apache_kafka import Broker, Cluster
from churn_pipeline_tests.kafka.jars import BrokerUnavailable
from churn_pipeline_tests.kafka.secured import SecuredBroker

#: Fixtures that make a test one of the Kafka tier.
BROKERS = {"kafka_broker", "secured_broker", "new_broker", "new_cluster"}

# Read at import: later, tests see no settings of the developer.
_NAMED = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")

Node = TypeVar("Node", Broker, SecuredBroker, Cluster)


@dataclass(frozen=True)
class NamedCluster:
    """A cluster that somebody else runs."""

    bootstrap: str


def started(context: ExitStack, make: Callable[..., Node], **options: Any) -> Node:
    """Make and start a broker for as long as the context is open; skip or fail where there can be none."""
    try:
        return context.enter_context(make(**options))
    except BrokerUnavailable as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Apache Kafka here: {error}")


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[Broker | NamedCluster]:
    """A running broker for everybody: `.bootstrap`. Not to be stopped; topics come from `make_topic`."""
    with ExitStack() as context:
        yield NamedCluster(_NAMED) if _NAMED else started(context, Broker)


@pytest.fixture(scope="session")
def secured_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    """A running broker with SASL and TLS for everybody: `.client(protocol, mechanism, user)`. Not to be stopped."""
    with ExitStack() as context:
        yield started(context, SecuredBroker, folder=tmp_path_factory.mktemp("secured") / "kafka")


@pytest.fixture
def new_broker() -> Iterator[Callable[..., Broker]]:
    """Start a broker of the test's own, with the options of `Broker`; it ends with the test."""
    with ExitStack() as context:
        yield lambda **options: started(context, Broker, **options)


@pytest.fixture
def new_cluster() -> Iterator[Callable[[], Cluster]]:
    """Start three nodes of the test's own; they end with the test."""
    with ExitStack() as context:
        yield lambda: started(context, Cluster)


@pytest.fixture
def make_topic(kafka_broker: Broker | NamedCluster) -> Iterator[Callable[..., str]]:
    """Make a topic on `kafka_broker`: `make_topic(partitions=1, **settings)` gives its name; it ends with the test."""
    made: list[str] = []

    def make(partitions: int = 1, **settings: Any) -> str:
        made.append(create_topic(kafka_broker.bootstrap, f"test-{uuid.uuid4().hex[:12]}", partitions, **settings))
        return made[-1]

    yield make
    if made:
        admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
        for future in admin.delete_topics(made).values():
            future.result()


def create_topic(bootstrap: str, name: str, partitions: int = 1, **settings: Any) -> str:
    """Create a topic and wait for it; settings as `retention_ms=1000`. Returns its name."""
    config = {key.replace("_", "."): str(value) for key, value in settings.items()}
    topic = NewTopic(name, num_partitions=partitions, replication_factor=-1, config=config)
    # A client without a name is gone before its answer comes.
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([topic])[name].result()
    return name
