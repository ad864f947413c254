"""Topics whose messages have failed, written into tables without scoring anything.

Belongs here: the ledger's rows and tables of such batches, on a topic in memory or on a broker. Does not: the real job
(`pipeline/`).
"""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from confluent_kafka import Producer

from churn_pipeline.assets.prediction_rows import unscored_schema
from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.validation import rejected_schema
from churn_pipeline.io_managers.base import Rows
from churn_pipeline.io_managers.failed_messages import Wanted
from churn_pipeline.io_managers.memory_tables import MemoryTables
from churn_pipeline.ledger import LEDGER_SCHEMA, ScoredBatch
from churn_pipeline.replays import Replays
from churn_pipeline.resources.topics.connection import KafkaConnection
from churn_pipeline.resources.topics.kafka_publishing import KafkaPublisher
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline.resources.topics.memory import MemoryTopic
from churn_pipeline_tests.resources.topics.delivering import DeliveringPublisher

CONTRACT = Contract.load("telco")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
ALL = Wanted()


class Failures:
    """A topic in memory, tables in which batches of it have failed, an hour apart, and replays of them.

    Attributes:
        fail_with: raised by publishers in place of committing, while it is set.
        die_afterwards: publishers raise once they have committed.
    """

    def __init__(self, store=None):
        self.topic = MemoryTopic("customers", partitions=2)
        self.store = store or MemoryTables()
        self.publishers = {}
        self.fail_with = None
        self.die_afterwards = False
        self._hours = 0

    def replays(self, message_bytes=1_000, store=None):
        return Replays(
            self.topic, store or self.store, self.publisher, id_column="customerID", message_bytes=message_bytes
        )

    def publisher(self, replay_id):
        """The one of a replay's group: it remembers, as a broker does, across commands."""
        found = self.publishers.setdefault(replay_id, DeliveringPublisher(self.topic))
        found.fail_with, found.die_afterwards = self.fail_with, self.die_afterwards
        return found

    def put(self, value, partition):
        """A new message; its offset."""
        return self.topic.append(value, partition=partition)

    def fail(self, *rules, partition=0, value=b'{"customerID": "c1"}', key="c1"):
        """A batch of new messages, each of which breaks its rule; its id."""
        offsets = [self.put(value, partition) for _ in rules]
        return self.fail_at(partition, offsets, rules, value, key)

    def fail_at(self, partition, offsets, rules, value=b"{}", key="c1"):
        """A batch of messages that are in the topic; those that are `unscored` kept the contract. Its id."""
        batch = self.batch(partition, offsets[0], offsets[-1] + 1)
        rows = [
            {"source_partition": f"{self.topic.name}/{partition}", "source_position": offset, "customerID": key,
             "raw": value, "rules": [rule], "error_type": "ValueError"}
            for offset, rule in zip(offsets, rules, strict=True)
        ]  # fmt: skip
        self.reject(batch, [row for row in rows if row["rules"] != ["unscored"]])
        unscored = [row for row in rows if row["rules"] == ["unscored"]]
        self._write("unscored_customers", batch, unscored_schema(CONTRACT), unscored)
        return self.finish(batch)

    def batch(self, partition, start, end):
        ranges = (OffsetRange(self.topic.name, partition, start, end),)
        return OffsetBatch(self.topic.name, self.topic.watermarks().topic_id, ranges, NOON)

    def reject(self, batch, rows):
        """Write what a batch rejected, in place of what it had."""
        self._write("rejected_customers", batch, rejected_schema(CONTRACT), rows)

    def finish(self, batch):
        """Write the batch's row of the ledger; its id."""
        row = ScoredBatch(batch, "telco", 0, 1, 0, 1, 0, 0, 0, 0, {}, None, None, "churn_model", "1", 0.5, "sklearn",
                          "reference", {}, {}, 0.0, "run", NOON + timedelta(hours=self._hours))  # fmt: skip
        self._hours += 1
        self._write("scored_batches", batch, LEDGER_SCHEMA, [row.to_record()])
        return batch.id

    def run(self, wanted=ALL, **more):
        """What the command does; how many messages it sent or finished."""
        replays = self.replays(**more)
        selection = replays.find(wanted)
        return sum(replay.messages for replay in [*replays.finish(), *replays.replay(selection)])

    def sent(self):
        """Messages of the topic that a replay sent: place of the first failure, and how often it was replayed."""
        marks = self.topic.watermarks()
        ranges = [OffsetRange(self.topic.name, p, low, marks.end[p]) for p, low in marks.low.items()]
        headers = [dict(h) for m in self.topic.read(ranges, headers=True) for h in m.headers]
        return sorted((h["first_failure"].decode(), int(h["retry_count"])) for h in headers if h)

    def _write(self, table, batch, schema, records):
        self.store.write(table, Rows(batch, schema, [pa.RecordBatch.from_pylist(records, schema)]), "replace_batch")


class KafkaFailures(Failures):
    """The same on a broker."""

    def __init__(self, bootstrap, topic, store=None):
        super().__init__(store)
        self.connection = KafkaConnection(bootstrap)
        self.topic = KafkaTopic(self.connection, topic)
        self._maker = Producer({"bootstrap.servers": bootstrap})

    def publisher(self, replay_id):
        return _Dying(KafkaPublisher(self.connection, f"test.{replay_id}"), self.fail_with, self.die_afterwards)

    def put(self, value, partition):
        offsets = []
        self._maker.produce(
            self.topic.name, value, partition=partition, on_delivery=lambda _, message: offsets.append(message.offset())
        )
        assert self._maker.flush(10) == 0
        return offsets[0]


class _Dying:
    def __init__(self, publisher, fail_with, die_afterwards):
        self._publisher, self._fail_with, self._die_afterwards = publisher, fail_with, die_afterwards

    def publish(self, batch, messages):
        count = self._publisher.publish(batch, self._passing(messages))
        if self._die_afterwards:
            raise OSError("the machine is gone")
        return count

    def _passing(self, messages):
        """All messages, and then the error: inside of the transaction."""
        yield from messages
        if self._fail_with is not None:
            raise self._fail_with
