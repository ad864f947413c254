"""Single messages are found again by their places, as far as they are still there; headers only where asked for."""

import pytest
from confluent_kafka import Producer

from churn_pipeline.batches import OffsetRange
from churn_pipeline.resources.topics.connection import KafkaConnection
from churn_pipeline.resources.topics.embedded import EmbeddedBroker
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline.resources.topics.memory import MemoryTopic
from churn_pipeline.resources.topics.reading_again import read_again

HEADERS = [("a", b"1"), ("a", b"2"), ("b", None)]


@pytest.fixture
def topic():
    return filled(MemoryTopic("customers", partitions=2))


def filled(topic):
    """20 messages in each of two partitions, `PARTITION/OFFSET` each."""
    for n in range(40):
        topic.append(f"{n % 2}/{n // 2}".encode(), partition=n % 2)
    return topic


def again(topic, *places, topic_id=None):
    return [m.value.decode() for m in read_again(topic, topic_id or topic.watermarks().topic_id, places)]


def test_messages_come_in_the_order_of_the_log_whatever_they_were_asked_in(topic):
    assert again(topic, (1, 7), (0, 19), (0, 3), (1, 7)) == ["0/3", "0/19", "1/7"]


def test_places_that_are_not_in_the_log_are_left_out_and_the_others_found(topic):
    topic.delete_before(0, 10)
    assert again(topic, (0, 3), (0, 12), (0, 20), (1, 3), (9, 0)) == ["0/12", "1/3"]


def test_a_log_that_was_made_again_has_none_of_them(topic):
    topic_id = topic.watermarks().topic_id
    topic.recreate()
    topic.append(b"another", partition=0)
    assert again(topic, (0, 0), topic_id=topic_id) == []


class FastRetention(MemoryTopic):
    """Loses its oldest messages once it has said where it begins."""

    def watermarks(self):
        marks = super().watermarks()
        self.delete_before(0, 10)
        return marks


def test_retention_that_is_faster_leaves_out_what_it_took():
    topic = filled(FastRetention("customers", partitions=2))
    assert again(topic, (0, 3), (0, 4), topic_id=MemoryTopic.watermarks(topic).topic_id) == []


def test_nobody_is_asked_for_nothing(topic):
    topic.fail_with = AssertionError("asked")
    assert list(read_again(topic, "id", [])) == []


def test_headers_are_read_where_they_are_asked_for():
    memory = MemoryTopic("customers")
    memory.append(b"{}", headers=HEADERS)
    memory.append(b"{}")
    with EmbeddedBroker() as broker:
        maker = Producer({"bootstrap.servers": broker.bootstrap})
        for headers in (HEADERS, None):
            maker.produce("customers", b"{}", partition=0, headers=headers)
        assert maker.flush(10) == 0
        for topic in (memory, KafkaTopic(KafkaConnection(broker.bootstrap), "customers")):
            ranges = [OffsetRange("customers", 0, 0, 2)]
            [plain], [read] = list(topic.read(ranges)), list(topic.read(ranges, headers=True))
            assert plain.headers is None
            assert [list(headers) for headers in read.headers] == [HEADERS, []]
            assert plain.values == read.values == [b"{}", b"{}"]
