"""Messages of a topic → scored, written and published, on Apache Kafka, against a plain consumer loop.

Belongs here: the comparison, and where the seconds go. Does not: the loop (`consumer_loop.py`), the broker (that of the
tests), our side (`scoring.py`).
"""

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks import consumer_loop, samples, scoring
from benchmarks.report import Line, breakdown
from churn_pipeline import runs
from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.deployments import Deployment
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.resources.customer_sources.json_messages import JsonMessages
from churn_pipeline.resources.run_history import local_instance
from churn_pipeline.resources.topics.connection import KafkaConnection
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline_tests.kafka.apache_kafka import Broker
from churn_pipeline_tests.kafka.fixtures import create_topic

#: Messages a second of a run, and how many times those of a loop that scores a message at a time.
FLOW_TARGET, LOOP_TARGET = "≥ 80000", "≥ 300"
_MESSAGES = 1_000_000
_PARTITIONS = 6
_LOOP_MESSAGES = 1_500
_ROUNDS = 3


def measure(rows: int | None) -> list[Line]:
    """Score the same messages again and again, each time into new tables and topics; the first run only warms up."""
    messages = rows or _MESSAGES
    folder = Path(tempfile.mkdtemp(prefix="churn-bench-"))
    try:
        with Broker(heap="512m") as broker:
            source = create_topic(broker.bootstrap, "customers", partitions=_PARTITIONS)
            _produce(broker.bootstrap, source, messages)
            rounds = []
            for number in range(_ROUNDS + 1):
                deployment = _deployment(folder / str(number), broker.bootstrap, source, number)
                rounds.append(_run(deployment))
                _hold(deployment, broker.bootstrap, messages)
            loops = [_loop(folder / "0", broker.bootstrap, source) for _ in range(_ROUNDS)]
            apart = _apart(broker.bootstrap, source, samples.deployment(folder / "apart"))
        return _lines(messages, rounds[1:], loops, apart)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lines(messages: int, rounds: list[dict[str, float]], loops: list[float], apart: dict[str, float]) -> list[Line]:
    ours = statistics.median(messages / taken["whole"] for taken in rounds)
    loop = statistics.median(loops)
    many = f"{messages:,} messages"
    return [
        Line(f"topic → scored, written, published, {many}", f"{ours:,.0f} a second", ours, FLOW_TARGET, "messages/s"),
        Line("  ÷ loop that scores a message at a time", f"{loop:,.0f} a second in the loop", ours / loop, LOOP_TARGET),
        Line("  seconds, in a run", breakdown(rounds)),
        Line("  seconds, apart", breakdown([apart])),
    ]


def _deployment(home: Path, bootstrap: str, source: str, number: int) -> Deployment:
    predictions = create_topic(bootstrap, f"predictions{number}", partitions=_PARTITIONS)
    dead_letters = create_topic(bootstrap, f"dead_letters{number}", partitions=1)
    return samples.deployment(
        home,
        kafka_servers=bootstrap,
        kafka_topic=source,
        kafka_predictions=predictions,
        kafka_dead_letters=dead_letters,
        # What was published of a topic is remembered for a group.
        kafka_group=f"bench{number}",
        kafka_batch_messages="100000000",
        kafka_batch_bytes="100000000000",
    )


def _run(deployment: Deployment) -> dict[str, float]:
    """Seconds a step of one run over all messages, as Dagster records them, and of the whole from first to last."""
    with local_instance(deployment.settings.folder) as instance:
        source = f"kafka:{deployment.settings.kafka_topic}"
        outcome = runs.score(deployment, runs.Request(source=source), instance)
        stats = instance.get_run_stats(outcome.row.run_id)
        steps = scoring.steps(instance, outcome.row.run_id)
    assert stats.start_time and stats.end_time
    whole = stats.end_time - stats.start_time
    return {**steps, "rest": whole - sum(steps.values()), "whole": whole}


def _loop(home: Path, bootstrap: str, source: str) -> float:
    """Messages a second of the loop."""
    _, model = samples.registered(samples.deployment(home))
    target = create_topic(bootstrap, f"loop{time.time_ns()}", partitions=_PARTITIONS)
    return consumer_loop.messages_per_second(bootstrap, source, target, model, _LOOP_MESSAGES)


def _apart(bootstrap: str, source: str, deployment: Deployment) -> dict[str, float]:
    """Seconds that fetching alone takes, and fetching and decoding."""
    topic = KafkaTopic(KafkaConnection(bootstrap), source)
    marks = topic.watermarks()
    ranges = [OffsetRange(source, p, marks.low[p], marks.end[p]) for p in marks.end]
    decode = JsonMessages(deployment.contract()).rows

    def fetch() -> None:
        for _ in topic.read(ranges):
            pass

    def fetch_and_decode() -> None:
        for messages in topic.read(ranges):
            for _ in decode(messages):
                pass

    return {"fetch": _seconds(fetch), "fetch and decode": _seconds(fetch_and_decode)}


def _seconds(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _hold(deployment: Deployment, bootstrap: str, messages: int) -> None:
    """Nothing is fast that is wrong: every message is scored, and published once."""
    row = Ledger(deployment.table_store()).newest()
    assert row is not None and isinstance(row.batch, OffsetBatch) and row.rows_scored == messages
    assert _committed(bootstrap, deployment.settings.kafka_predictions) == messages


def _committed(bootstrap: str, topic: str) -> int:
    """Messages that a reader of committed ones gets; transaction markers take offsets of their own."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "count", "isolation.level": "read_committed",
         "auto.offset.reset": "earliest", "enable.partition.eof": True}
    )  # fmt: skip
    consumer.assign([TopicPartition(topic, p, 0) for p in range(_PARTITIONS)])
    count, ended = 0, set[int]()
    while len(ended) < _PARTITIONS:
        for message in consumer.consume(1_000, 1.0):
            if message.error() is None:
                count += 1
            else:
                partition = message.partition()
                assert partition is not None
                ended.add(partition)
    consumer.close()
    return count


def _produce(bootstrap: str, topic: str, messages: int) -> None:
    """Sample customers in JSON, keyed by id."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 500_000,
                         "compression.type": "lz4"})  # fmt: skip
    for batch in pq.ParquetFile(samples.customers(messages, ".parquet")).iter_batches(50_000):
        for record in batch.to_pylist():
            while True:
                try:
                    producer.produce(topic, json.dumps(record, separators=(",", ":")), record["customerID"])
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
    assert producer.flush(120) == 0
