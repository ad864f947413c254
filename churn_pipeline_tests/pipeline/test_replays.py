"""Messages that failed are replayed, and the ordinary sensor and run score what was mended meanwhile."""

import json
from dataclasses import dataclass

import pytest
from confluent_kafka import Producer

from churn_pipeline.assets.published import Publication
from churn_pipeline.batches import OffsetRange
from churn_pipeline.io_managers.failed_messages import Wanted
from churn_pipeline.io_managers.topic_batches import CustomerTopic, PlanningRules, TopicBatches
from churn_pipeline.replays import Replays
from churn_pipeline.resources.customer_sources.json_messages import JsonMessages
from churn_pipeline.resources.customer_sources.topic_messages import TopicSource
from churn_pipeline.resources.run_history import local_instance
from churn_pipeline.resources.topics.connection import KafkaConnection
from churn_pipeline.resources.topics.kafka_publishing import KafkaPublisher
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline.sample import sample
from churn_pipeline_tests.pipeline.shops import Shop
from churn_pipeline_tests.resources.topics.delivering import DeliveringPublisher


@dataclass(frozen=True)
class Letter:
    """A dead letter as consumers find it."""

    rules: list[str]
    place: str
    retry_count: int
    first_failure: str | None

    @classmethod
    def of(cls, value, headers):
        said, named = json.loads(value), dict(headers)
        place = f"{said['source_topic']}/{said['source_partition']}/{said['source_offset']}"
        assert named["source"].decode() == place
        first = named.get("first_failure")
        return cls([e["rule"] for e in said["validation_errors"]], place, said["retry_count"], first and first.decode())


class ReplayingShop(Shop):
    """A shop whose dead letters can be replayed, and whose contract was too strict."""

    def be_strict(self, is_strict=True):
        contract = self.deployment.contract()
        if is_strict:
            tenure = contract.features["tenure"].model_copy(update={"max": 100})
            contract = contract.model_copy(update={"features": {**contract.features, "tenure": tenure}})
        self.resources["contract"] = contract

    def fill(self, count, too_old=0):
        for tenure in (*[12] * count, *[200] * too_old):
            record = {**next(self.customers), "tenure": tenure}
            self.append(record["customerID"].encode(), json.dumps(record).encode())

    def append(self, key, value):
        self.topic.append(value, key)

    def replays(self):
        return Replays(
            self.topic,
            self.deployment.table_store(),
            lambda replay_id: DeliveringPublisher(self.topic),  # noqa: ARG005
            id_column="customerID",
            message_bytes=1_000_000,
        )

    def replay(self, **wanted):
        """How many messages a command sends."""
        replays = self.replays()
        return sum(replay.messages for replay in replays.replay(replays.find(Wanted(**wanted))))

    def letters(self):
        return [Letter.of(m.value, m.headers) for m in self.publisher.messages if m.topic == "dead_letters"]

    def predicted(self):
        return [m.key.decode() for m in self.publisher.messages if m.topic == "predictions"]


class KafkaShop(ReplayingShop):
    """The same on a broker."""

    def __init__(self, deployment, instance, bootstrap, make_topic):
        self.deployment, self.instance, self.cursor = deployment, instance, None
        self._connection = connection = KafkaConnection(bootstrap)
        self._maker = Producer({"bootstrap.servers": bootstrap})
        self.topic, self._predictions, self._letters = [KafkaTopic(connection, make_topic(n)) for n in (2, 1, 1)]
        self._group = f"shop-{self.topic.name}"
        self.batches = TopicBatches(self.topic, deployment.table_store(), PlanningRules())
        self.customers = iter(sample(deployment.contract(), 500, seed=7).to_pylist())
        publisher = KafkaPublisher(connection, self._group)
        names = (self._predictions.name, self._letters.name)
        self.resources = {
            "customer_topic": CustomerTopic(self.batches, attempts=3),
            "customer_source": lambda _: TopicSource(
                self.topic, self.batches, lambda contract, label: JsonMessages(contract, with_label=label).rows
            ),
            "publication": Publication(publisher, *names, self._group, lambda _: self.topic),
        }

    def append(self, key, value):
        self._maker.produce(self.topic.name, value, key)
        assert self._maker.flush(10) == 0

    def replays(self):
        return Replays(
            self.topic,
            self.deployment.table_store(),
            lambda replay_id: KafkaPublisher(self._connection, f"{self._group}.{replay_id}"),
            id_column="customerID",
            message_bytes=1_000_000,
        )

    def letters(self):
        return [Letter.of(value, headers) for value, headers in _all_of(self._letters)]

    def predicted(self):
        return [json.loads(value)["customerID"] for value, _ in _all_of(self._predictions)]


def _all_of(topic):
    marks = topic.watermarks()
    ranges = [OffsetRange(topic.name, p, low, marks.end[p]) for p, low in marks.low.items()]
    return [pair for m in topic.read(ranges, headers=True) for pair in zip(m.values, m.headers, strict=True)]


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.kafka)])
def shop(request, deployment):
    with local_instance(deployment.settings.folder) as instance:
        if request.param == "memory":
            yield ReplayingShop(deployment, instance)
        else:
            bootstrap = request.getfixturevalue("kafka_broker").bootstrap
            yield KafkaShop(deployment, instance, bootstrap, request.getfixturevalue("make_topic"))


def test_what_a_contract_refused_that_was_too_strict_is_replayed_and_scored_once(shop):
    shop.be_strict()
    shop.fill(20, too_old=2)
    assert shop.score() == 1
    first = {letter.place for letter in shop.letters()}
    assert {(*letter.rules, letter.retry_count, letter.first_failure) for letter in shop.letters()} == {
        ("above_maximum", 0, None)
    }

    # Nothing was mended yet: they fail again, and say since when.
    assert shop.replay(rules=frozenset({"above_maximum"})) == 2
    shop.fill(10)
    assert shop.score() == 1
    again = shop.letters()[2:]
    assert {letter.first_failure for letter in again} == first
    assert {letter.retry_count for letter in again} == {1} and {letter.place for letter in again}.isdisjoint(first)

    # And again, from the second failure; what a replay left is not looked at once it is past.
    assert shop.replay() == 2
    shop.fill(10)
    assert shop.score() == 1
    assert {(letter.retry_count, letter.first_failure) for letter in shop.letters()[4:]} == {(2, f) for f in first}
    shop.fill(10, too_old=1)
    assert shop.score() == 1
    assert [(letter.retry_count, letter.first_failure) for letter in shop.letters()[6:]] == [(0, None)]

    shop.be_strict(False)
    assert shop.replay() == 3 and shop.replay() == 0
    assert shop.score() == 1
    assert len(shop.letters()) == 7
    predicted = shop.predicted()
    assert len(predicted) == len(set(predicted)) == 53
    assert len(shop.rows("current_churn_scores")) == 53
    assert set(shop.places().values()) == {1}
