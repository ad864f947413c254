"""The sensor of the customer topic: which run it asks for, and what the UI shows."""

import json
import socket
import time

import dagster as dg
import pytest

from churn_pipeline.batches import Batch
from churn_pipeline.io_managers.memory_tables import MemoryTables
from churn_pipeline.io_managers.topic_batches import CustomerTopic, PlanningRules, TopicBatches
from churn_pipeline.jobs import score_customers
from churn_pipeline.resources.run_processes import HOST, PROCESS, this_process
from churn_pipeline.resources.topics.base import BrokerUnreachable
from churn_pipeline.resources.topics.connection import KafkaConnection
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline.resources.topics.memory import MemoryTopic
from churn_pipeline.sensors.customer_batches import customer_batches
from churn_pipeline_tests.kafka.apache_kafka import Broker
from churn_pipeline_tests.kafka.fixtures import create_topic


class Shop:
    """A topic, an instance and the sensor between them."""

    def __init__(self, instance, store=None, topic=None, **rules):
        self.instance = instance
        self.topic = topic or MemoryTopic("customers", partitions=2)
        self.batches = TopicBatches(self.topic, store or MemoryTables(), PlanningRules(**rules))
        self.cursor = None

    def fill(self, *counts):
        for partition, count in enumerate(counts):
            for _ in range(count):
                self.topic.append(b"{}", partition=partition)

    def tick(self, attempts=3):
        resources = {"customer_topic": CustomerTopic(self.batches, attempts)}
        context = dg.build_sensor_context(instance=self.instance, resources=resources, cursor=self.cursor)
        result = customer_batches(context)
        self.cursor = result.cursor
        return result

    def launch(self, request, status, tags=None):
        """A run of the request, as the daemon would have made it, and what became of it."""
        job = dg.Definitions(assets=[_asset]).resolve_implicit_global_asset_job_def()
        return self.instance.create_run_for_job(
            job, run_config={}, status=status, tags={**request.tags, **(tags or {})}
        )


@dg.asset
def _asset(): ...


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def shop(instance):
    return Shop(instance)


def batch_of(request):
    return Batch.from_json(request.run_config["ops"]["read_customers"]["config"]["batch"])


def test_a_run_is_asked_for_with_bounds_and_no_message(shop):
    shop.fill(3, 2)
    [request] = shop.tick().run_requests
    assert batch_of(request).offsets == {"0": [0, 3], "1": [0, 2]}
    assert request.run_key == f"{batch_of(request).id}/1"
    assert request.tags["churn/batch"] == batch_of(request).id


def test_three_ticks_before_a_run_begins_ask_for_one_run(shop):
    """The demo that everyone copies asks for three runs of one key, and two of its batches are lost."""
    keys = set()
    for _ in range(3):
        shop.fill(1, 1)
        keys |= {request.run_key for request in shop.tick().run_requests}
    assert len(keys) == 1
    shop.batches.finish(shop.batches.look().unfinished)
    [request] = shop.tick().run_requests
    assert batch_of(request).offsets == {"0": [1, 3], "1": [1, 3]}


def test_partitions_that_end_at_the_same_offset_have_batches_of_their_own(instance):
    """The demo that everyone copies names a run after the largest offset: these two would be one."""
    first, second = Shop(instance), Shop(instance)
    first.fill(5, 0)
    second.fill(0, 5)
    [one], [two] = first.tick().run_requests, second.tick().run_requests
    assert one.run_key != two.run_key


def test_a_failed_run_is_asked_for_again_under_another_key(shop):
    shop.fill(3)
    [first] = shop.tick().run_requests
    shop.launch(first, dg.DagsterRunStatus.FAILURE)
    [second] = shop.tick().run_requests
    assert batch_of(first) == batch_of(second)
    assert second.run_key == f"{batch_of(first).id}/2"


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_no_second_run_is_asked_for_while_one_is_going(shop, status):
    shop.fill(3)
    [request] = shop.tick().run_requests
    shop.launch(request, dg.DagsterRunStatus[status])
    result = shop.tick()
    assert result.run_requests == [] and "is being scored" in result.skip_reason.skip_message


def test_a_run_whose_process_is_gone_has_failed_whatever_became_of_its_batch(shop):
    shop.fill(3)
    [request] = shop.tick().run_requests
    tags = {"dagster/sensor_name": "customer_batches", HOST: socket.gethostname()}
    gone = shop.launch(request, dg.DagsterRunStatus.STARTED, {**tags, PROCESS: "1@0"})
    alive = shop.launch(request, dg.DagsterRunStatus.STARTED, {**tags, **this_process()})
    elsewhere = shop.launch(request, dg.DagsterRunStatus.STARTED, {**tags, HOST: "elsewhere", PROCESS: "1@0"})
    shop.batches.finish(batch_of(request))
    shop.tick()
    states = [shop.instance.get_run_by_id(run.run_id).status.value for run in (gone, alive, elsewhere)]
    assert states == ["FAILURE", "STARTED", "STARTED"]


def test_a_batch_that_failed_too_often_waits_for_a_person(shop):
    shop.fill(3)
    for _ in range(2):
        [request] = shop.tick(attempts=2).run_requests
        shop.launch(request, dg.DagsterRunStatus.FAILURE)
    shop.fill(4)
    result = shop.tick(attempts=2)
    assert result.run_requests == []
    assert "failed 2 times and waits for a person" in result.skip_reason.skip_message
    assert "7 messages wait" in result.skip_reason.skip_message


def test_only_the_last_attempt_is_news_when_it_fails(shop):
    shop.fill(3)
    tags = []
    for _ in range(2):
        [request] = shop.tick(attempts=2).run_requests
        shop.launch(request, dg.DagsterRunStatus.FAILURE)
        tags.append("churn/again" in request.tags)
    assert tags == [True, False]


def test_a_second_sensor_elsewhere_asks_for_the_same_batch(shop):
    shop.fill(3)
    [ours] = shop.tick().run_requests
    with dg.DagsterInstance.ephemeral() as elsewhere:
        other = Shop(elsewhere)
        other.batches = shop.batches
        [theirs] = other.tick().run_requests
    assert batch_of(ours) == batch_of(theirs)


def test_nothing_new_says_how_far_the_topic_was_scored(shop):
    shop.fill(3, 1)
    shop.tick()
    shop.batches.finish(shop.batches.look().unfinished)
    assert "2 partitions are scored up to their end, 4 offsets" in shop.tick().skip_reason.skip_message


def test_no_topic_is_a_reason_to_skip(instance):
    context = dg.build_sensor_context(instance=instance, resources={"customer_topic": CustomerTopic(None)})
    assert "CHURN_KAFKA_TOPIC" in customer_batches(context).skip_message


def test_a_broker_that_does_not_answer_turns_the_tick_red_and_moves_nothing(shop):
    shop.fill(3)
    shop.topic.fail_with = BrokerUnreachable("Kafka at nowhere gave no answer.")
    with pytest.raises(BrokerUnreachable, match="nowhere"):
        shop.tick()
    shop.topic.fail_with = None
    [request] = shop.tick().run_requests
    assert batch_of(request).offsets == {"0": [0, 3]}


@pytest.mark.parametrize("end", [Broker.freeze, Broker.kill])
def test_with_a_broker_that_is_frozen_or_down_a_tick_ends_within_five_seconds_and_says_so(instance, new_broker, end):
    broker = new_broker()
    name = create_topic(broker.bootstrap, "customers")
    shop = Shop(instance, topic=KafkaTopic(KafkaConnection(broker.bootstrap), name))
    shop.tick()
    end(broker)
    began = time.monotonic()
    with pytest.raises(BrokerUnreachable, match=rf"Kafka at {broker.bootstrap} gave no answer in time"):
        shop.tick()
    assert time.monotonic() - began < 5
    broker.thaw()


def events(result, kind):
    return [event for event in result.asset_events if isinstance(event, kind)]


def test_a_topic_that_grew_or_was_scored_shows_its_newest_state(shop):
    shop.fill(3, 2)
    [grown] = events(shop.tick(), dg.AssetMaterialization)
    assert grown.asset_key.to_user_string() == "customer_messages"
    assert {name: grown.metadata[name].value for name in ("topic", "lag", "messages")} == {
        "topic": "customers", "lag": 5, "messages": 5,
    }  # fmt: skip
    shop.batches.finish(shop.batches.look().unfinished)
    [scored] = events(shop.tick(), dg.AssetMaterialization)
    assert scored.metadata["lag"].value == 0


def test_a_topic_that_did_not_change_is_no_news(shop):
    shop.fill(3)
    shop.tick()
    assert shop.tick().asset_events == []


def test_an_empty_topic_is_not_fresh(shop):
    assert not events(shop.tick(), dg.AssetMaterialization)


def test_lag_and_head_room_are_checked_at_every_change(shop):
    shop.fill(3)
    found = {event.check_name: event for event in events(shop.tick(), dg.AssetCheckEvaluation)}
    assert {name: event.passed for name, event in found.items()} == {
        "customer_messages_are_scored_in_time": True, "customer_messages_have_head_room": True,
    }  # fmt: skip
    late = Shop(shop.instance, messages=2)
    late.fill(5)
    found = {event.check_name: event.passed for event in events(late.tick(), dg.AssetCheckEvaluation)}
    assert found["customer_messages_are_scored_in_time"] is False


def test_a_request_is_a_configuration_that_the_job_takes(shop):
    shop.fill(3)
    [request] = shop.tick().run_requests
    assert json.loads(json.dumps(request.run_config)) == request.run_config
    assert request.job_name in (None, score_customers.name)
