"""Exactly the messages of a range are read from Apache Kafka, whatever the log holds and whatever becomes of the
broker."""

import threading
import time
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from churn_pipeline.resources.topics.base import BrokerUnreachable, MessagesLost, TopicMissing
from churn_pipeline.resources.topics.connection import KafkaConnection
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline_tests.kafka.fixtures import create_topic
from churn_pipeline_tests.resources.topics.builders import numbered, offsets, produce, ranges, settle, values, wait_for

#: More than a client fetches ahead, so that a broker can be lost while there is more to read.
MESSAGE, MESSAGES = b"x" * 100_000, 250


@pytest.fixture
def transaction(kafka_broker):
    """Produce messages in a transaction and end it by `commit_transaction`, `abort_transaction`, or not at all."""

    def run(topic, messages, end=Producer.commit_transaction):
        producer = Producer({"bootstrap.servers": kafka_broker.bootstrap, "transactional.id": uuid.uuid4().hex})
        producer.init_transactions(20)
        producer.begin_transaction()
        for value in messages:
            producer.produce(topic, value)
        assert producer.flush(20) == 0
        if end:
            end(producer, 20)
            settle(kafka_broker.bootstrap, topic)
        return producer

    return run


@pytest.fixture
def reader(kafka_broker):
    def of(topic):
        return KafkaTopic(KafkaConnection(kafka_broker.bootstrap), topic, patience_seconds=10)

    return of


def reader_of(cluster, topic="customers", patience_seconds=30.0):
    return KafkaTopic(KafkaConnection(cluster.bootstrap), topic, patience_seconds=patience_seconds)


def read_over(cluster, lose, bring_back=lambda: None):
    """The offsets read of a large topic, of which a broker is lost after the first ones and brought back meanwhile."""
    create_topic(cluster.bootstrap, "customers")
    produce(cluster.bootstrap, "customers", [MESSAGE] * MESSAGES)
    reading = reader_of(cluster).read(ranges("customers", {0: (0, MESSAGES)}), chunk=20)
    found = list(next(reading).offsets)
    lose()
    is_read = threading.Event()

    def bring_back_and_stay():
        # A broker ends with the thread that started it.
        bring_back()
        is_read.wait()

    thread = threading.Thread(target=bring_back_and_stay)
    thread.start()
    try:
        return found + offsets(reading)
    finally:
        is_read.set()
        thread.join()


@pytest.mark.parametrize(("start", "expected"), [(0, [0, 1, 2]), (2, [2]), (3, [])])
def test_a_range_that_ends_on_the_marker_of_a_transaction_ends(make_topic, reader, transaction, start, expected):
    topic = make_topic()
    transaction(topic, numbered(3))
    assert reader(topic).watermarks().end == {0: 4}
    assert offsets(reader(topic).read(ranges(topic, {0: (start, 4)}))) == expected


@pytest.mark.parametrize("end", [5, 6, 7, 8, 9])
def test_aborted_messages_are_passed_over_at_the_end_of_a_range_too(kafka_broker, make_topic, reader, transaction, end):
    topic = make_topic()
    produce(kafka_broker.bootstrap, topic, numbered(5))
    transaction(topic, [b"aborted"] * 3, Producer.abort_transaction)
    assert reader(topic).watermarks().end == {0: 9}
    assert values(reader(topic).read(ranges(topic, {0: (0, end)}))) == numbered(5)


def test_a_topic_ends_where_an_open_transaction_begins(kafka_broker, make_topic, reader, transaction):
    topic = make_topic()
    produce(kafka_broker.bootstrap, topic, numbered(2))
    still_open = transaction(topic, numbered(3), end=None)
    assert reader(topic).watermarks().end == {0: 2}
    with pytest.raises(MessagesLost, match="a transaction is still open"):
        next(reader(topic).read(ranges(topic, {0: (0, 5)})))
    still_open.commit_transaction(20)
    settle(kafka_broker.bootstrap, topic)
    assert values(reader(topic).read(ranges(topic, {0: (0, 5)}))) == [*numbered(2), *numbered(3)]


def test_a_range_that_ends_in_a_gap_left_by_compaction_ends(new_broker):
    broker = new_broker(properties={"log.cleaner.backoff.ms": "100"})
    compacted = {"cleanup_policy": "compact", "min_cleanable_dirty_ratio": 0.01, "segment_ms": 100}
    topic = create_topic(broker.bootstrap, "customers", **compacted)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for n in range(10):
        producer.produce(topic, b"%d" % n, key=b"one customer", timestamp=1_000 + n)
    producer.flush(10)
    # Each of these begins a segment, and only a segment that is not the last is compacted.
    for n in (1, 2):
        producer.produce(topic, b"last", key=b"another", timestamp=1_000_000 * n)
        producer.flush(10)
    asked = ranges(topic, {0: (0, 9)})
    deadline = time.monotonic() + 20
    while (found := values(reader_of(broker).read(asked))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found == []
    assert values(reader_of(broker).read(ranges(topic, {0: (3, 10)}))) == [b"9"]


def test_messages_of_10_megabytes_are_read(kafka_broker, make_topic, reader):
    topic = make_topic(max_message_bytes=11_000_000)
    large = [bytes([n]) * 10_000_000 for n in range(5)]
    produce(kafka_broker.bootstrap, topic, large)
    assert values(reader(topic).read(ranges(topic, {0: (0, 5)}))) == large


def test_a_partition_that_was_added_a_moment_ago_is_seen(kafka_broker, make_topic, reader):
    topic = make_topic()
    same = reader(topic)
    wait_for(kafka_broker.bootstrap, topic)
    before = same.watermarks()
    admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result()
    wait_for(kafka_broker.bootstrap, topic, 2)
    after = same.watermarks()
    assert (before.end, after.end) == ({0: 0}, {0: 0, 1: 0})
    assert after.topic_id == before.topic_id


def test_a_topic_that_was_made_again_has_another_id_and_lost_its_messages(kafka_broker, make_topic, reader):
    topic = make_topic()
    produce(kafka_broker.bootstrap, topic, numbered(3))
    before = reader(topic).watermarks()
    admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
    admin.delete_topics([topic])[topic].result()
    with pytest.raises(TopicMissing, match=f"has no topic '{topic}'"):
        reader(topic).watermarks()
    wait_for(kafka_broker.bootstrap, create_topic(kafka_broker.bootstrap, topic))
    assert reader(topic).watermarks().topic_id not in (before.topic_id, None)
    with pytest.raises(MessagesLost, match="made again"):
        next(reader(topic).read(ranges(topic, {0: (0, 3)})))


def test_a_topic_that_is_missing_is_an_error_that_names_the_nearest(kafka_broker, make_topic, reader):
    topic = wait_for(kafka_broker.bootstrap, make_topic())
    for ask in (KafkaTopic.watermarks, lambda topic: next(topic.read(ranges(topic.name, {0: (0, 1)})))):
        with pytest.raises(TopicMissing, match=rf"nearest: '{topic}'"):
            ask(reader(f"{topic}x"))


def test_a_name_that_no_topic_can_have_is_an_error_of_the_name_and_not_of_the_broker(kafka_broker, reader):
    with pytest.raises(TopicMissing, match=r"'//customers'.*Invalid topic\. Create the topic, or correct its name"):
        reader("//customers").watermarks()


def test_a_broker_that_is_frozen_or_down_is_an_error_within_five_seconds(new_broker):
    broker = new_broker()
    wait_for(broker.bootstrap, create_topic(broker.bootstrap, "customers"))
    topic = reader_of(broker)
    topic.watermarks()
    for lose in (broker.freeze, broker.kill):
        lose()
        began = time.monotonic()
        with pytest.raises(BrokerUnreachable, match=rf"{broker.bootstrap} gave no answer in time"):
            topic.watermarks()
        assert time.monotonic() - began < 5


def test_reading_goes_on_when_the_broker_was_killed_and_started_again(new_broker):
    broker = new_broker()
    assert read_over(broker, broker.kill, broker.start) == list(range(MESSAGES))


def test_reading_goes_on_when_the_broker_was_frozen_for_a_while(new_broker):
    broker = new_broker()

    def thaw():
        time.sleep(2)
        broker.thaw()

    assert read_over(broker, broker.freeze, thaw) == list(range(MESSAGES))


def test_reading_from_a_broker_that_stays_frozen_ends_with_an_error(new_broker):
    broker = new_broker()
    create_topic(broker.bootstrap, "customers")
    produce(broker.bootstrap, "customers", [MESSAGE] * MESSAGES)
    reading = reader_of(broker, patience_seconds=2).read(ranges("customers", {0: (0, MESSAGES)}), chunk=20)
    next(reading)
    broker.freeze()
    with pytest.raises(BrokerUnreachable, match=r"nothing came of customers/0/0-250 after offset \d+ for 2 s"):
        offsets(reading)


def test_reading_goes_on_when_the_leader_of_three_was_killed(new_cluster):
    cluster = new_cluster()
    assert read_over(cluster, lambda: cluster.leader("customers").kill()) == list(range(MESSAGES))
