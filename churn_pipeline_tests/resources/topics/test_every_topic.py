"""What every topic and every publisher promises, held against each of them."""

from datetime import UTC, datetime

import pytest
from confluent_kafka import Producer

from churn_pipeline.resources.topics import base
from churn_pipeline.resources.topics.base import MessagesLost
from churn_pipeline.resources.topics.embedded import EmbeddedBroker
from churn_pipeline_tests.resources.topics.builders import (
    PARTITIONS,
    BrokerLog,
    MemoryLog,
    batch,
    failing,
    numbered,
    offsets,
    outgoing,
    ranges,
    values,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOON_MS = 1_772_366_400_000


@pytest.fixture(params=["memory", "embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def log(request):
    if request.param == "memory":
        yield MemoryLog()
    elif request.param == "embedded":
        with EmbeddedBroker() as broker:
            maker = Producer({"bootstrap.servers": broker.bootstrap})
            for name in ("customers", "predictions"):
                maker.list_topics(name, timeout=5)
            yield BrokerLog(broker.bootstrap, "customers", "predictions")
    else:
        make_topic = request.getfixturevalue("make_topic")
        bootstrap = request.getfixturevalue("kafka_broker").bootstrap
        yield BrokerLog(bootstrap, make_topic(PARTITIONS), make_topic())


def test_an_empty_topic_begins_and_ends_at_0_in_every_partition(log):
    marks = log.topic.watermarks()
    assert marks.low == marks.end == dict.fromkeys(range(PARTITIONS), 0)


def test_each_partition_has_watermarks_of_its_own(log):
    log.append(b"a", b"b")
    log.append(b"c", partition=2)
    assert log.topic.watermarks().end == {0: 2, 1: 0, 2: 1, 3: 0}


def test_exactly_the_offsets_asked_for_are_read_a_partition_after_the_other(log):
    log.append(*numbered(10))
    log.append(b"a", b"b", b"c", partition=3)
    asked = ranges(log.topic.name, {3: (1, 2), 1: (0, 0), 0: (4, 9)})
    read = list(log.topic.read(asked))
    assert [(m.topic, m.partition, m.offsets, m.values) for m in read] == [
        (log.topic.name, 3, [1], [b"b"]),
        (log.topic.name, 0, [4, 5, 6, 7, 8], [b"4", b"5", b"6", b"7", b"8"]),
    ]


def test_ranges_without_offsets_give_nothing(log):
    assert list(log.topic.read([])) == list(log.topic.read(ranges(log.topic.name, {0: (0, 0)}))) == []


def test_values_and_timestamps_are_as_they_were_written(log):
    log.append(None, b"", b"\xff\x00", timestamp=NOON_MS)
    (read,) = log.topic.read(ranges(log.topic.name, {0: (0, 3)}))
    assert read.values == [None, b"", b"\xff\x00"]
    assert read.timestamps == [NOON_MS] * 3


def test_two_readings_cut_a_range_at_the_same_offsets(log):
    log.append(*numbered(10))
    for _ in range(2):
        log.append(*numbered(5), partition=1)
        read = log.topic.read(ranges(log.topic.name, {0: (1, 10), 1: (0, 5)}), chunk=4)
        assert [list(m.offsets) for m in read] == [[1, 2, 3, 4], [5, 6, 7, 8], [9], [0, 1, 2, 3], [4]]


def test_a_chunk_ends_with_the_message_that_makes_it_large(log, monkeypatch):
    monkeypatch.setattr(base, "BYTES_PER_CHUNK", 100)
    log.append(b"x" * 60, b"x" * 60, b"x" * 10, b"x" * 500, b"x")
    read = log.topic.read(ranges(log.topic.name, {0: (0, 5)}))
    assert [list(m.offsets) for m in read] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("asked", [{0: (0, 3)}, {0: (2, 3)}, {0: (0, 2), 1: (0, 1)}, {PARTITIONS: (0, 1)}])
def test_a_range_past_the_end_of_the_log_is_an_error_before_the_first_message(log, asked):
    log.append(b"a", b"b")
    with pytest.raises(MessagesLost, match=rf"{log.topic.name}/[014]/[02]-[13] was asked for"):
        next(log.topic.read(ranges(log.topic.name, asked)))


def test_messages_that_retention_took_are_an_error_that_names_them(log):
    log.lose_oldest()
    low = log.topic.watermarks().low[0]
    assert low > 1
    with pytest.raises(MessagesLost, match=f"{log.topic.name}/0: offsets 1-{low} were deleted"):
        next(log.topic.read(ranges(log.topic.name, {0: (1, low + 2)})))
    assert offsets(log.topic.read(ranges(log.topic.name, {0: (low, low + 2)}))) == [low, low + 1]


def test_the_first_offset_of_a_time_is_found_or_else_the_end(log, request):
    if "embedded" in request.node.callspec.params.values():
        pytest.skip("the embedded broker finds no offsets by time")
    log.append(b"earlier", timestamp=NOON_MS - 1)
    log.append(b"then", timestamp=NOON_MS)
    log.append(b"later", timestamp=NOON_MS + 1)
    log.append(b"earlier", timestamp=NOON_MS - 1, partition=1)
    assert log.topic.offsets_at(NOON) == {0: 1, 1: 1, 2: 0, 3: 0}


def test_a_topic_is_read_again_and_again(log):
    log.append(*numbered(3))
    asked = ranges(log.topic.name, {0: (0, 3)})
    assert values(log.topic.read(asked)) == values(log.topic.read(asked)) == numbered(3)


def test_a_batch_is_published_once(log):
    log.append(*numbered(5))
    given = batch(log.topic.name, {0: (0, 5)})
    assert log.publisher.publish(given, outgoing(log.output, b"a", b"b")) == 2
    assert log.publisher.publish(given, failing(AssertionError("not asked for"))) is None
    assert log.published() == [b"a", b"b"]


def test_a_batch_that_gave_nothing_counts_as_published(log):
    log.append(b"a")
    given = batch(log.topic.name, {0: (0, 1)})
    assert [log.publisher.publish(given, []) for _ in range(2)] == [0, None]


def test_an_earlier_batch_is_covered_by_a_later_one(log):
    log.append(*numbered(9))
    first, second = batch(log.topic.name, {0: (0, 5)}), batch(log.topic.name, {0: (5, 9)})
    log.publisher.publish(first, outgoing(log.output, b"first"))
    log.publisher.publish(second, outgoing(log.output, b"second"))
    assert log.publisher.publish(first, outgoing(log.output, b"again")) is None
    assert log.published() == [b"first", b"second"]


def test_batches_of_other_partitions_are_published_each(log):
    log.append(b"a")
    log.append(b"b", partition=1)
    for partition in (0, 1):
        given = batch(log.topic.name, {partition: (0, 1)})
        assert log.publisher.publish(given, outgoing(log.output, b"%d" % partition)) == 1
    assert log.published() == [b"0", b"1"]


def test_the_same_offsets_of_a_topic_made_again_are_published(log):
    log.append(b"a")
    for topic_id in ("first", "second"):
        given = batch(log.topic.name, {0: (0, 1)}, topic_id)
        assert log.publisher.publish(given, outgoing(log.output, topic_id.encode())) == 1


def test_an_offset_that_somebody_else_committed_proves_nothing(log):
    log.append(*numbered(5))
    log.commit_as_another(0, 5)
    assert log.publisher.publish(batch(log.topic.name, {0: (0, 5)}), outgoing(log.output, b"a")) == 1


def test_a_batch_whose_messages_fail_is_not_published_and_published_by_the_next_attempt(log):
    log.append(b"a")
    given = batch(log.topic.name, {0: (0, 1)})
    with pytest.raises(ValueError, match="no predictions"):
        log.publisher.publish(given, failing(ValueError("no predictions")))
    assert log.publisher.publish(given, outgoing(log.output, b"a")) == 1
    assert log.published() == [b"a"]
