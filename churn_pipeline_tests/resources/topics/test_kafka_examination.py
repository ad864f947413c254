"""Questions to a cluster tell what is there and what is allowed, change nothing, and end in time."""

import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from churn_pipeline.resources.topics.base import BrokerUnreachable, TopicMissing, TopicRefused
from churn_pipeline.resources.topics.bookmarks import Bookmark
from churn_pipeline.resources.topics.connection import KafkaConnection
from churn_pipeline.resources.topics.embedded import EmbeddedBroker
from churn_pipeline.resources.topics.kafka_examination import (
    Partition,
    examine_cluster,
    examine_group,
    examine_topic,
)
from churn_pipeline.resources.topics.kafka_publishing import KafkaPublisher
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline_tests.kafka.fixtures import create_topic
from churn_pipeline_tests.kafka.secured import PASSWORDS
from churn_pipeline_tests.resources.topics.builders import batch, numbered, outgoing, produce

GROUP = "examined"


@pytest.fixture
def embedded():
    with EmbeddedBroker() as broker:
        yield KafkaConnection(broker.bootstrap)


@pytest.fixture
def kafka(kafka_broker):
    return KafkaConnection(kafka_broker.bootstrap)


def secured(broker, user):
    servers = broker.client("SASL_PLAINTEXT")["bootstrap.servers"]
    return KafkaConnection(servers, "SASL_PLAINTEXT", "PLAIN", user, PASSWORDS[user])


def test_the_embedded_broker_is_known_and_asked_only_what_it_knows(embedded):
    produce(embedded.bootstrap_servers, "customers", numbered(3))
    cluster = examine_cluster(embedded)
    assert cluster.is_embedded and cluster.brokers == (embedded.bootstrap_servers,)
    assert cluster.topics["customers"][0] == Partition(has_leader=True, replicas=1, in_sync=1)
    answers = examine_topic(embedded, cluster, "customers")
    assert sum(answers.end.values()) == 3 and not any(answers.low.values())
    assert (answers.allowed, answers.settings) == (None, {})


def test_what_was_published_on_the_embedded_broker_is_told(embedded):
    produce(embedded.bootstrap_servers, "customers", numbered(3))
    given = batch("customers", {0: (0, 1)}, topic_id=None)
    KafkaPublisher(embedded, GROUP).publish(given, outgoing("predictions", b"a"))
    answers = examine_group(embedded, examine_cluster(embedded), GROUP, "customers", range(4))
    assert answers.bookmarks == {0: Bookmark(1, given.id)}


def test_asking_about_a_topic_that_is_not_there_does_not_make_it(embedded, new_broker):
    with pytest.raises(TopicMissing):
        willing = KafkaConnection(new_broker(properties={"auto.create.topics.enable": "true"}).bootstrap)
        examine_topic(willing, examine_cluster(willing), "absent")
    examine_topic(embedded, examine_cluster(embedded), "absent")
    assert [examine_cluster(connection).topics for connection in (willing, embedded)] == [{}, {}]


def test_a_topic_tells_its_partitions_settings_and_permissions(kafka, make_topic):
    name = make_topic(2, retention_ms=7_200_000)
    produce(kafka.bootstrap_servers, name, numbered(10))
    cluster = examine_cluster(kafka)
    assert cluster.cluster_id and cluster.controller in cluster.brokers and not cluster.is_embedded
    assert set(cluster.topics[name].values()) == {Partition(has_leader=True, replicas=1, in_sync=1)}
    answers = examine_topic(kafka, cluster, name)
    assert sum(answers.end.values()) == 10 and answers.settings["retention.ms"] == "7200000"
    assert {"READ", "WRITE", "DESCRIBE"} <= set(answers.allowed)


def test_while_a_batch_is_published_the_end_and_the_bookmark_are_those_before_it(kafka, make_topic):
    name, group = make_topic(), f"examined-{time.time_ns()}"
    produce(kafka.bootstrap_servers, name, numbered(3))
    given = batch(name, {0: (0, 3)}, KafkaTopic(kafka, name).watermarks().topic_id)
    assert KafkaPublisher(kafka, group).publish(given, outgoing(name, b"a")) == 1
    before = examine_topic(kafka, examine_cluster(kafka), name).end
    servers = {"bootstrap.servers": kafka.bootstrap_servers}
    publisher = Producer({**servers, "transactional.id": group})
    publisher.init_transactions(10)
    publisher.begin_transaction()
    publisher.produce(name, b"b")
    consumer = Consumer({**servers, "group.id": group})
    publisher.send_offsets_to_transaction([TopicPartition(name, 0, 9)], consumer.consumer_group_metadata(), 10)
    publisher.flush()
    cluster = examine_cluster(kafka)
    assert examine_topic(kafka, cluster, name).end == before
    answers = examine_group(kafka, cluster, group, name, [0])
    assert answers.bookmarks == {0: Bookmark(3, given.id, given.topic_id)}
    assert answers.members == 0 and "READ" in answers.allowed
    publisher.abort_transaction(10)
    consumer.close()


def test_a_group_that_somebody_is_subscribed_with_has_members(kafka, make_topic):
    name, group = make_topic(), f"examined-{time.time_ns()}"
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    consumer.subscribe([name])
    while not consumer.assignment():
        consumer.poll(0.1)
    assert examine_group(kafka, examine_cluster(kafka), group, name, [0]).members == 1
    consumer.close()


def test_who_has_no_permission_is_refused_at_once(secured_broker):
    name = create_topic(secured_broker.bootstrap, f"customers-{time.time_ns()}")
    guest, churn = secured(secured_broker, "guest"), secured(secured_broker, "churn")
    started = time.monotonic()
    cluster = examine_cluster(guest)
    assert cluster.cluster_id and name not in cluster.topics
    with pytest.raises(TopicRefused, match=f"refused topic '{name}'"):
        examine_topic(guest, cluster, name)
    with pytest.raises(TopicRefused, match=f"refused consumer group '{GROUP}'"):
        examine_group(guest, cluster, GROUP, name, [0])
    assert time.monotonic() - started < guest.timeout_seconds
    assert "READ" in examine_topic(churn, examine_cluster(churn), name).allowed
    assert "READ" in examine_group(churn, examine_cluster(churn), GROUP, name, [0]).allowed


def test_a_broker_that_freezes_is_waited_for_no_longer_than_the_timeout(new_broker):
    broker = new_broker()
    name = create_topic(broker.bootstrap, "customers")
    connection = KafkaConnection(broker.bootstrap, timeout_seconds=1.5)
    cluster = examine_cluster(connection)
    broker.freeze()
    for ask in (
        lambda: examine_cluster(connection),
        lambda: examine_topic(connection, cluster, name),
        lambda: examine_group(connection, cluster, GROUP, name, [0]),
    ):
        started = time.monotonic()
        with pytest.raises(BrokerUnreachable):
            ask()
        assert time.monotonic() - started < 3
    broker.thaw()
