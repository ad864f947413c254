"""The broker of the Kafka tier does what the tests of others rely on."""

import time

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from churn_pipeline_tests.kafka.apache_kafka import Broker
from churn_pipeline_tests.kafka.fixtures import create_topic


def produce(bootstrap: str, topic: str, count: int) -> None:
    """Messages "0", "1", …, each acknowledged."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    for n in range(count):
        producer.produce(topic, str(n).encode())
    assert producer.flush(10) == 0


def consume(bootstrap: str, topic: str, count: int) -> list[bytes | None]:
    """The first `count` messages of partition 0, in 20 seconds."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "auto.offset.reset": "error"})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()


def end_of(bootstrap: str, topic: str, timeout: float) -> int:
    """The end offset of partition 0, asked by a client of its own."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "looker", "log_level": 0})
    try:
        return consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=timeout)[1]
    finally:
        consumer.close()


def test_another_node_leads_when_the_leader_was_killed_and_nothing_acknowledged_is_lost(new_cluster):
    cluster = new_cluster()
    topic = create_topic(cluster.bootstrap, "customers")
    produce(cluster.bootstrap, topic, 10)
    lost = cluster.leader(topic)
    lost.kill()
    assert consume(cluster.bootstrap, topic, 10) == [str(n).encode() for n in range(10)]
    assert cluster.leader(topic) is not lost
    lost.start()


def test_what_is_produced_is_consumed(kafka_broker, make_topic):
    topic = make_topic()
    produce(kafka_broker.bootstrap, topic, 100)
    assert consume(kafka_broker.bootstrap, topic, 100) == [str(n).encode() for n in range(100)]


def test_a_topic_has_the_partitions_and_settings_that_were_asked_for(kafka_broker, make_topic):
    topic = make_topic(partitions=6, max_message_bytes=100)
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap})
    assert len(producer.list_topics(topic, timeout=10).topics[topic].partitions) == 6
    failed = []
    producer.produce(topic, b"x" * 1000, on_delivery=lambda error, _: failed.append(error and error.name()))
    producer.flush(10)
    assert failed == ["MSG_SIZE_TOO_LARGE"]


@pytest.mark.parametrize("end", [Broker.kill, Broker.terminate])
def test_what_was_acknowledged_is_there_after_the_broker_was_killed_and_started_again(new_broker, end):
    broker = new_broker()
    topic = create_topic(broker.bootstrap, "customers")
    produce(broker.bootstrap, topic, 10)
    end(broker)
    assert not broker.running
    address = broker.bootstrap
    broker.start()
    assert broker.bootstrap == address
    assert consume(address, topic, 10) == [str(n).encode() for n in range(10)]


def test_a_frozen_broker_does_not_answer_and_answers_again_when_it_is_thawed(new_broker):
    broker = new_broker()
    topic = create_topic(broker.bootstrap, "customers")
    produce(broker.bootstrap, topic, 3)
    broker.freeze()
    began = time.monotonic()
    with pytest.raises(KafkaException):
        end_of(broker.bootstrap, topic, timeout=1)
    assert time.monotonic() - began < 3
    assert broker.running
    broker.thaw()
    assert end_of(broker.bootstrap, topic, timeout=10) == 3
