"""Readers of committed messages see what a batch gave once, whole, and with its offsets, whatever dies or freezes."""

import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from churn_pipeline.batches import OffsetBatch
from churn_pipeline.resources.topics.base import BrokerUnreachable, Outgoing, PublishingFailed, TopicMissing
from churn_pipeline.resources.topics.bookmarks import Bookmark
from churn_pipeline.resources.topics.connection import KafkaConnection
from churn_pipeline.resources.topics.kafka_publishing import KafkaPublisher
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline_tests.kafka.fixtures import create_topic
from churn_pipeline_tests.resources.topics.builders import (
    batch,
    committed,
    everything,
    failing,
    numbered,
    outgoing,
    ranges,
    settle,
    values,
    wait_for,
)

PATIENCE_SECONDS = 3.0


class Shop:
    """A topic of customers, an output topic, and publishers from one to the other. No offset need hold a customer."""

    def __init__(self, bootstrap, customers, predictions):
        self.bootstrap = bootstrap
        self.customers, self.predictions = wait_for(bootstrap, customers), wait_for(bootstrap, predictions)
        self.connection = KafkaConnection(bootstrap)
        self.group = f"group-{customers}"

    def batch(self, start=0, end=10) -> OffsetBatch:
        return batch(self.customers, {0: (start, end)})

    def publisher(self, connection=None, patience_seconds=20.0) -> KafkaPublisher:
        return KafkaPublisher(connection or self.connection, self.group, patience_seconds)

    def messages(self, count=1_000):
        return outgoing(self.predictions, *numbered(count))

    def published(self):
        """Values that readers of committed messages see, once no transaction holds them up."""
        settle(self.bootstrap, self.predictions)
        return self.seen_now()

    def seen_now(self):
        """Values that readers of committed messages see, though a transaction may be open."""
        return everything(KafkaTopic(self.connection, self.predictions))

    def written(self):
        """How many offsets of the output are taken, by messages of open transactions too."""
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "x", "isolation.level": "read_uncommitted"}
        )
        _, end = consumer.get_watermark_offsets(TopicPartition(self.predictions, 0), timeout=10)
        consumer.close()
        return end

    def committed(self):
        return committed(self.bootstrap, self.customers, self.group)


@pytest.fixture
def shop(kafka_broker, make_topic):
    """A shop on the broker of all tests."""
    return Shop(kafka_broker.bootstrap, make_topic(), make_topic())


@pytest.fixture
def own_broker(new_broker):
    return new_broker()


@pytest.fixture
def own_shop(own_broker):
    """A shop on a broker that may be frozen and killed."""
    made = [create_topic(own_broker.bootstrap, name) for name in ("customers", "predictions")]
    return Shop(own_broker.bootstrap, *made)


def then(messages, do):
    """The messages, and something done when the publisher asks for more."""
    yield from messages
    do()


def test_a_key_lies_in_the_partition_in_which_a_java_producer_puts_it(kafka_broker, make_topic):
    shop = Shop(kafka_broker.bootstrap, make_topic(), wait_for(kafka_broker.bootstrap, make_topic(partitions=7), 7))
    # What Kafka's own test says that murmur2 makes of these keys.
    hashes = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    shop.publisher().publish(shop.batch(), [Outgoing(shop.predictions, key, key) for key in hashes])
    assert sorted(shop.published()) == sorted(hashes)
    reader = KafkaTopic(shop.connection, shop.predictions)
    ends = reader.watermarks().end.items()
    found = {p: values(reader.read(ranges(shop.predictions, {p: (0, end)}))) for p, end in ends}
    for key, hashed in hashes.items():
        assert key in found[(hashed & 0x7FFFFFFF) % 7]


def test_offsets_are_committed_with_the_batch_that_they_belong_to(shop):
    first, second = shop.batch(0, 4), shop.batch(4, 10)
    for given in (first, second):
        assert shop.publisher().publish(given, shop.messages(3)) == 3
        end = given.ranges[0].end
        assert shop.committed() == Bookmark(end, given.id, "first")


def test_keys_headers_and_the_order_of_a_key_arrive(kafka_broker, make_topic):
    shop = Shop(kafka_broker.bootstrap, make_topic(), make_topic(3))
    messages = [
        Outgoing(shop.predictions, b"customer %d" % (n % 7), b"%d" % n, [("batch_id", b"b"), ("source", b"c/0/%d" % n)])
        for n in range(700)
    ]
    shop.publisher().publish(shop.batch(), messages)
    consumer = Consumer({"bootstrap.servers": shop.bootstrap, "group.id": "x"})
    consumer.assign([TopicPartition(shop.predictions, p, 0) for p in range(3)])
    found = consumer.consume(700, timeout=20)
    consumer.close()
    assert sorted(int(m.value()) for m in found) == list(range(700))
    for n in range(7):
        of_key = [m for m in found if m.key() == b"customer %d" % n]
        assert len({m.partition() for m in of_key}) == 1
        assert [int(m.value()) for m in of_key] == list(range(n, 700, 7))
    assert all(m.headers() == [("batch_id", b"b"), ("source", b"c/0/" + m.value())] for m in found)


def test_nothing_can_be_seen_of_a_batch_whose_messages_failed(shop):
    with pytest.raises(ZeroDivisionError):
        shop.publisher().publish(shop.batch(), failing(ZeroDivisionError(), *shop.messages()))
    assert (shop.published(), shop.committed()) == ([], None)
    assert shop.publisher().publish(shop.batch(), shop.messages(5)) == 5
    assert shop.published() == numbered(5)


def test_more_messages_than_the_client_can_hold_are_published_all(shop):
    count = 30_000
    values = (b"%d" % n * 1_000 for n in range(count))
    published = shop.publisher().publish(shop.batch(), (Outgoing(shop.predictions, None, value) for value in values))
    assert published == count
    assert len(shop.published()) == count


KILLED = """
import sys
from churn_pipeline_tests.resources.topics.test_publishing import Shop, then
shop = Shop(*sys.argv[1:])
shop.publisher().publish(shop.batch(), then(shop.messages(), sys.stdin.read))
"""


def test_a_publisher_killed_before_its_commit_leaves_nothing_to_see_and_holds_up_nobody(shop):
    names = (shop.bootstrap, shop.customers, shop.predictions)
    process = subprocess.Popen([sys.executable, "-c", KILLED, *names], stdin=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 30
        while shop.written() < 1_000:
            assert time.monotonic() < deadline and process.poll() is None
    finally:
        process.kill()
        process.communicate()
    assert (shop.seen_now(), shop.committed()) == ([], None)
    assert shop.publisher().publish(shop.batch(), shop.messages()) == 1_000
    assert shop.published() == numbered(1_000)


class AnswerLost(KafkaConnection):
    """The broker commits, and this client does not hear of it."""

    @contextmanager
    def producer(self, what, own, usual):
        with super().producer(what, own, usual) as producer:
            yield Deaf(producer)


class Deaf:
    def __init__(self, producer):
        self._producer = producer

    def __getattr__(self, name):
        return getattr(self._producer, name)

    def commit_transaction(self, timeout):
        self._producer.commit_transaction(timeout)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))


def test_a_commit_that_was_not_heard_of_is_found_by_the_next_attempt(shop):
    deaf = shop.publisher(AnswerLost(shop.bootstrap))
    with pytest.raises(PublishingFailed, match=r"did not say in time whether batch .* is published"):
        deaf.publish(shop.batch(), shop.messages())
    assert shop.publisher().publish(shop.batch(), failing(AssertionError("not asked for"))) is None
    assert shop.published() == numbered(1_000)


def test_of_two_publishers_of_a_batch_at_once_the_older_one_fails(shop):
    newer = []
    older = then(shop.messages(), lambda: newer.append(shop.publisher().publish(shop.batch(), shop.messages())))
    with pytest.raises(PublishingFailed, match="another publisher of the same group and topic took over"):
        shop.publisher().publish(shop.batch(), older)
    assert newer == [1_000]
    assert shop.published() == numbered(1_000)
    assert shop.publisher().publish(shop.batch(), shop.messages()) is None


def test_publishers_of_other_groups_do_not_disturb_each_other(shop):
    def publish_for_another_group():
        other = KafkaPublisher(shop.connection, f"other-{shop.group}")
        assert other.publish(shop.batch(), shop.messages(1)) == 1

    assert shop.publisher().publish(shop.batch(), then(shop.messages(), publish_for_another_group)) == 1_000
    assert len(shop.published()) == 1_001


@pytest.mark.parametrize("missing", ["customers", "predictions"])
def test_a_missing_topic_is_an_error_that_names_it(shop, missing):
    setattr(shop, missing, f"no-{missing}")
    impatient = KafkaConnection(shop.bootstrap, settings={"topic.metadata.propagation.max.ms": "500"})
    with pytest.raises(TopicMissing, match=rf"no-{missing}.*Create the topic"):
        shop.publisher(impatient).publish(shop.batch(), outgoing(shop.predictions, b"a secret"))


def test_a_message_too_large_for_its_topic_fails_the_batch_and_is_not_shown(kafka_broker, make_topic):
    shop = Shop(kafka_broker.bootstrap, make_topic(), make_topic(max_message_bytes=100))
    with pytest.raises(PublishingFailed, match=rf"was not published .*{shop.predictions}: .*too large") as error:
        shop.publisher().publish(shop.batch(), [*shop.messages(1), *outgoing(shop.predictions, bytes(range(256)))])
    assert "\\x" not in str(error.value)
    assert shop.published() == []


def test_a_broker_that_is_frozen_before_or_in_a_transaction_is_an_error_in_time(own_broker, own_shop):
    impatient = own_shop.publisher(patience_seconds=PATIENCE_SECONDS)
    own_broker.freeze()
    began = time.monotonic()
    with pytest.raises(BrokerUnreachable, match="gave no answer in time"):
        impatient.publish(own_shop.batch(), own_shop.messages())
    assert time.monotonic() - began < PATIENCE_SECONDS + 2
    own_broker.thaw()
    own_broker.wait_until_it_answers()
    began = time.monotonic()
    with pytest.raises(PublishingFailed):
        impatient.publish(own_shop.batch(), then(own_shop.messages(), own_broker.freeze))
    assert time.monotonic() - began < 4 * PATIENCE_SECONDS
    own_broker.thaw()
    own_broker.wait_until_it_answers()
    assert own_shop.seen_now() == []
    # What waited in the frozen broker may be done only now, and shut out who comes next; but nobody after that.
    with suppress(PublishingFailed):
        assert own_shop.publisher().publish(own_shop.batch(), own_shop.messages()) == 1_000
    assert own_shop.publisher().publish(own_shop.batch(), own_shop.messages()) in (1_000, None)
    assert own_shop.published() == numbered(1_000)


def test_a_broker_killed_and_started_again_in_a_transaction_has_each_message_once(own_broker, own_shop):
    def kill_and_start():
        own_broker.kill()
        own_broker.start()

    given = then(own_shop.messages(500), kill_and_start)
    assert own_shop.publisher(patience_seconds=30).publish(own_shop.batch(), given) == 500
    assert own_shop.published() == numbered(500)
    assert own_shop.publisher().publish(own_shop.batch(), own_shop.messages()) is None
