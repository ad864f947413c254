"""The topic in memory can do what a broker's log does to a reader."""

import pytest

from churn_pipeline.resources.topics.base import BrokerUnreachable, MessagesLost
from churn_pipeline.resources.topics.memory import MemoryPublisher, MemoryTopic
from churn_pipeline_tests.resources.topics.builders import batch, offsets, outgoing, ranges, values


def test_offsets_that_hold_no_message_are_passed_over_at_the_end_of_a_range_too():
    topic = MemoryTopic("customers")
    topic.append(b"a")
    topic.append_gap(offsets=3)
    topic.append(b"b")
    topic.append_gap()
    assert topic.watermarks().end == {0: 6}
    assert offsets(topic.read(ranges("customers", {0: (0, 6)}))) == [0, 4]
    assert offsets(topic.read(ranges("customers", {0: (1, 4)}))) == []


def test_messages_of_one_key_come_into_one_partition():
    topic = MemoryTopic("customers", partitions=8)
    for n in range(100):
        topic.append(b"x", key=b"customer %d" % (n % 10))
    ends = topic.watermarks().end
    assert sum(ends.values()) == 100
    assert all(end % 10 == 0 for end in ends.values())


def test_a_partition_that_is_added_is_empty():
    topic = MemoryTopic("customers")
    topic.append(b"a")
    assert topic.add_partition() == 1
    assert topic.watermarks().end == {0: 1, 1: 0}


def test_a_topic_that_is_made_again_is_empty_and_has_another_id():
    topic = MemoryTopic("customers", partitions=2)
    topic.append(b"a", partition=0)
    before = topic.watermarks()
    topic.recreate()
    assert topic.watermarks().end == {0: 0, 1: 0}
    assert topic.watermarks().topic_id != before.topic_id
    with pytest.raises(MessagesLost, match="made again"):
        next(topic.read(ranges("customers", {0: (0, 1)})))


def test_a_failure_is_raised_by_everything_until_it_is_taken_away():
    topic = MemoryTopic("customers")
    for value in (b"a", b"b"):
        topic.append(value)
    reading = topic.read(ranges("customers", {0: (0, 2)}), chunk=1)
    assert next(reading).values == [b"a"]
    topic.fail_with = BrokerUnreachable("The broker was stopped for this test. Start it.")
    for ask in (topic.watermarks, lambda: next(reading)):
        with pytest.raises(BrokerUnreachable, match="for this test"):
            ask()
    topic.fail_with = None
    assert values(topic.read(ranges("customers", {0: (0, 2)}))) == [b"a", b"b"]


def test_nothing_is_kept_of_a_batch_whose_publishing_fails():
    publisher = MemoryPublisher()
    publisher.fail_with = BrokerUnreachable("The broker was stopped for this test. Start it.")
    given = batch("customers", {0: (0, 1)})
    with pytest.raises(BrokerUnreachable):
        publisher.publish(given, outgoing("predictions", b"a"))
    assert publisher.messages == []
    publisher.fail_with = None
    assert publisher.publish(given, outgoing("predictions", b"a")) == 1
