"""The embedded broker serves clients, is recognised, and is as limited as it says."""

import subprocess
import sys

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from churn_pipeline.resources.topics import embedded
from churn_pipeline.resources.topics.embedded import EmbeddedBroker, is_embedded

QUIET = {"log_level": 0}


@pytest.fixture
def broker():
    with EmbeddedBroker() as running:
        yield running


@pytest.fixture
def producer(broker):
    return Producer({"bootstrap.servers": broker.bootstrap, **QUIET})


@pytest.fixture
def consumer(broker):
    reader = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": "reader",
            "auto.offset.reset": "error",
            "isolation.level": "read_committed",
            **QUIET,
        }
    )
    yield reader
    reader.close()


def test_another_process_reads_what_this_one_produced(broker, producer):
    producer.produce("customers", b"a customer", partition=0)
    assert producer.flush(10) == 0
    read = (
        "import sys; from confluent_kafka import Consumer, TopicPartition\n"
        "c = Consumer({'bootstrap.servers': sys.argv[1], 'group.id': 'other', 'log_level': 0})\n"
        "c.assign([TopicPartition('customers', 0, 0)]); print(c.poll(10).value()); c.close()"
    )
    got = subprocess.run([sys.executable, "-c", read, broker.bootstrap], capture_output=True, text=True, timeout=30)
    assert got.stdout == "b'a customer'\n", got.stderr


def test_it_is_known_by_the_id_of_its_cluster(producer):
    assert is_embedded(producer.list_topics(timeout=5).cluster_id)


@pytest.mark.parametrize("cluster_id", ["MkU3OEVBNTcwNTJENDM2Qg", "", None])
def test_another_cluster_is_not_taken_for_an_embedded_one(cluster_id):
    assert not is_embedded(cluster_id)


def test_it_ends_with_its_context():
    with EmbeddedBroker() as broker:
        pass
    with pytest.raises(KafkaException):
        Producer({"bootstrap.servers": broker.bootstrap, **QUIET}).list_topics(timeout=0.5)


def test_two_of_them_know_nothing_of_each_other(broker, producer):
    producer.produce("customers", b"a customer")
    producer.flush(10)
    with EmbeddedBroker() as other:
        assert other.bootstrap != broker.bootstrap
        assert not Producer({"bootstrap.servers": other.bootstrap, **QUIET}).list_topics(timeout=5).topics


def test_a_topic_is_made_when_it_is_named_and_has_the_partitions_of_all(producer):
    assert len(producer.list_topics("customres", timeout=5).topics["customres"].partitions) == embedded.PARTITIONS


def test_it_keeps_the_newest_bytes_of_a_partition(producer, consumer):
    size = 50_000
    kept = embedded.KEPT_BYTES // size
    for _ in range(2 * kept):
        producer.produce("customers", b"x" * size, partition=0)
    assert producer.flush(20) == 0
    low, end = consumer.get_watermark_offsets(TopicPartition("customers", 0), timeout=5)
    assert end == 2 * kept
    assert end - low == pytest.approx(kept, rel=0.25)


def test_what_is_aborted_is_read_all_the_same_and_its_offsets_are_not_kept(broker, consumer):
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "publisher", **QUIET})
    producer.list_topics("customers", timeout=5)
    producer.init_transactions(10)
    for end in (producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        producer.produce("predictions", b"a score", partition=0)
        producer.flush(10)
        position = TopicPartition("customers", 0, 7)
        producer.send_offsets_to_transaction([position], consumer.consumer_group_metadata(), 10)
        end(10)
    consumer.assign([TopicPartition("predictions", 0, 0)])
    assert len(consumer.consume(2, timeout=5)) == 2
    assert consumer.committed([TopicPartition("customers", 0)], timeout=5)[0].offset < 0


def test_an_administrator_is_not_answered(broker):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, **QUIET})
    asked = admin.create_topics([NewTopic("six", num_partitions=6, replication_factor=1)], request_timeout=0.5)
    with pytest.raises(KafkaException):
        asked["six"].result()
