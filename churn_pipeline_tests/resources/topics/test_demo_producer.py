"""Nothing that was sent is lost in silence: what is not acknowledged is an error, and what is said to be, is there."""

import time
from itertools import pairwise

import pytest

from churn_pipeline.resources.topics.base import BrokerUnreachable, TopicMissing
from churn_pipeline.resources.topics.connection import KafkaConnection
from churn_pipeline.resources.topics.demo_messages import DemoMessage
from churn_pipeline.resources.topics.demo_producer import MessagesNotDelivered, ensure_topic, send
from churn_pipeline.resources.topics.embedded import PARTITIONS, EmbeddedBroker
from churn_pipeline_tests.resources.topics.messages_sent import messages_in


@pytest.fixture
def broker():
    with EmbeddedBroker() as running:
        yield running


def messages(start: int, end: int, large: int | None = None, pause: float = 0.0):
    """Messages `[start, end)`; number `large` is larger than clients send by default."""
    for number in range(start, end):
        if pause:
            time.sleep(pause)
        yield DemoMessage(number, b"%d" % number, b"x" * (2_000_000 if number == large else 10))


def test_every_message_is_counted_in_the_partition_where_it_is(broker):
    delivered = send(KafkaConnection(broker.bootstrap), "t", messages(0, 500))
    found = messages_in(broker.bootstrap, "t")
    assert sorted(message.number for message in found) == list(range(500))
    assert delivered.messages == {p: sum(m.partition == p for m in found) for p in range(PARTITIONS)}


def test_messages_of_one_key_meet_in_the_partition_where_java_clients_put_them(broker):
    same = [DemoMessage(number, b"customer-1", b"x") for number in range(20)]
    assert send(KafkaConnection(broker.bootstrap), "t", same).messages == {_java_partition(b"customer-1"): 20}


def _java_partition(key: bytes) -> int:
    """`Utils.toPositive(Utils.murmur2(key)) % PARTITIONS`."""
    m, h = 0x5BD1E995, 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & 0xFFFFFFFF
        h = (h * m ^ (k ^ k >> 24) * m) & 0xFFFFFFFF
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & 0xFFFFFFFF
    h = (h ^ h >> 13) * m & 0xFFFFFFFF
    return ((h ^ h >> 15) & 0x7FFFFFFF) % PARTITIONS


@pytest.mark.slow
def test_a_message_that_is_refused_is_an_error_and_going_on_from_the_last_acknowledged_leaves_no_gap(broker):
    reached = []
    tell = {"acknowledged": lambda first, end: reached.append((first, end))}
    with pytest.raises(MessagesNotDelivered, match=r"^1 of messages .* topic 't': .*too large.* All before them were"):
        send(KafkaConnection(broker.bootstrap), "t", messages(0, 1_500, large=1_200, pause=0.001), **tell)
    assert reached and reached[-1][1] <= 1_200
    larger = KafkaConnection(broker.bootstrap, settings={"message.max.bytes": "3000000"})
    send(larger, "t", messages(reached[-1][1], 1_500, large=1_200), **tell)
    assert reached[-1][1] == 1_500
    numbers = [message.number for message in messages_in(broker.bootstrap, "t")]
    assert set(numbers) == set(range(1_500)) and len(numbers) < 1_500 + 1_200


def test_acknowledged_stretches_follow_each_other_without_gap_or_overlap(broker):
    reached = []
    send(
        KafkaConnection(broker.bootstrap),
        "t",
        messages(7, 25_007),
        acknowledged=lambda first, end: reached.append((first, end)),
    )
    assert reached[0][0] == 7 and reached[-1][1] == 25_007 and len(reached) > 1
    assert all(before[1] == after[0] for before, after in pairwise(reached))


@pytest.mark.slow
def test_a_broker_that_is_gone_fails_what_was_sent_and_not_what_it_had_acknowledged():
    reached, before = [], []
    with EmbeddedBroker() as broker:

        def until_it_is_gone():
            for message in messages(0, 10_000, pause=0.001):
                if reached and not before:
                    before.extend(reached)
                    broker.close()
                yield message

        with pytest.raises(MessagesNotDelivered, match=r"of messages [\d,]+ to [\d,]+ were not taken by topic 't'"):
            send(
                KafkaConnection(broker.bootstrap),
                "t",
                until_it_is_gone(),
                acknowledged=lambda first, end: reached.append((first, end)),
                patience_seconds=1.0,
            )
    assert reached == before


def test_once_asked_to_stop_nothing_more_is_sent_and_what_was_is_acknowledged(broker):
    sent = []

    def noted():
        for message in messages(0, 10_000):
            sent.append(message.number)
            yield message

    delivered = send(KafkaConnection(broker.bootstrap), "t", noted(), rate=1_000, stop=lambda: len(sent) > 100)
    assert delivered.messages.total() == 100


def test_the_rate_is_not_passed(broker):
    began = time.monotonic()
    send(KafkaConnection(broker.bootstrap), "t", messages(0, 61), rate=200)
    assert time.monotonic() - began >= 60 / 200


def test_a_slow_rate_still_has_messages_acknowledged_soon(broker):
    reached = []
    send(
        KafkaConnection(broker.bootstrap),
        "t",
        messages(0, 3),
        rate=1.5,
        acknowledged=lambda first, end: reached.append((first, end)),
    )
    assert len(reached) > 1 and reached[-1][1] == 3


def test_the_embedded_broker_needs_no_topic_made_and_a_broker_that_is_down_is_named(broker):
    ensure_topic(KafkaConnection(broker.bootstrap), "new")
    with pytest.raises(BrokerUnreachable, match=r"127\.0\.0\.1:1 gave no answer"):
        ensure_topic(KafkaConnection("127.0.0.1:1", timeout_seconds=1), "new")


def test_on_apache_kafka_a_missing_topic_is_an_error_unless_it_is_to_be_made(kafka_broker, make_topic):
    connection = KafkaConnection(kafka_broker.bootstrap, timeout_seconds=10)
    name = make_topic()
    missing = f"{name}-2"
    with pytest.raises(TopicMissing, match=rf"no topic '{missing}' \(nearest: '{name}'\).*--create PARTITIONS"):
        ensure_topic(connection, missing)
    ensure_topic(connection, missing, create=3)
    try:
        ensure_topic(connection, missing)
        send(connection, missing, messages(0, 300))
        assert {message.partition for message in messages_in(kafka_broker.bootstrap, missing)} == {0, 1, 2}
    finally:
        with connection.admin("deletion") as admin:
            admin.delete_topics([missing])[missing].result()
