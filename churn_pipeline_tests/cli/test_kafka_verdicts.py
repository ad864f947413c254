"""What answers of a Kafka cluster mean: fine, worth a look, or a fault, and what to do about it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.cli import kafka_verdicts
from churn_pipeline.cli.findings import span
from churn_pipeline.io_managers.topic_batches import TopicState
from churn_pipeline.io_managers.topic_plans import TopicPlan
from churn_pipeline.resources.topics.base import Watermarks
from churn_pipeline.resources.topics.bookmarks import Bookmark
from churn_pipeline.resources.topics.embedded import LIMITS
from churn_pipeline.resources.topics.kafka_examination import Cluster, GroupAnswers, Partition, TopicAnswers

LED = Partition(has_leader=True, replicas=3, in_sync=3)
CLUSTER = Cluster("abc", ("k1:9092", "k2:9092"), "k1:9092", {"customers": {0: LED}})
WEEK = {"cleanup.policy": "delete", "retention.ms": "604800000", "max.message.bytes": "1048588"}
CUSTOMERS = kafka_verdicts.customers("customers", "CHURN_KAFKA_TOPIC")
PREDICTIONS = kafka_verdicts.predictions("predictions")
DEAD_LETTERS = kafka_verdicts.dead_letters("dead")

BATCH = OffsetBatch("customers", "id", (OffsetRange("customers", 0, 0, 60),), datetime(2026, 7, 1, tzinfo=UTC))
SCORED = TopicPlan("id", {0: 60}, BATCH, is_finished=True)


def topic(role=CUSTOMERS, partition=LED, **settings):
    answers = TopicAnswers({0: 10}, {0: 40}, {**WEEK, **{k.replace("_", "."): v for k, v in settings.items()}})
    return kafka_verdicts.of_topic(role, {0: partition}, answers)


def state(plan=SCORED, low=0, end=100, limit=1000):
    return TopicState(Watermarks("id", {0: low}, {0: end}), plan, limit)


def test_a_cluster_is_told_with_its_brokers_and_its_controller():
    found = kafka_verdicts.of_cluster(CLUSTER)
    assert (found.status, found.found) == ("ok", "Cluster abc: 2 brokers, k1:9092, k2:9092; controller k1:9092.")


def test_of_the_embedded_broker_every_limit_is_told():
    found = kafka_verdicts.of_cluster(replace(CLUSTER, cluster_id="mockCluster1"))
    assert found.status == "look" and all(limit in found.found for limit in LIMITS)


def test_a_sound_topic_needs_nothing():
    found = topic()
    assert found.found == "customers: 1 partition (0/10-40), 3 replicas each; 30 messages kept for 7 days."
    assert (found.status, found.fix) == ("ok", "")


def test_many_partitions_are_not_all_listed():
    many = dict.fromkeys(range(50), LED)
    found = kafka_verdicts.of_topic(CUSTOMERS, many, TopicAnswers(dict.fromkeys(many, 0), dict.fromkeys(many, 2)))
    assert "50 partitions (0/0-2, 1/0-2, 2/0-2, 3/0-2, 4/0-2, 5/0-2, …)" in found.found


def test_a_missing_topic_is_a_fault_with_the_nearest_name_and_the_setting():
    found = kafka_verdicts.of_missing_topic(replace(CUSTOMERS, name="custmers"), CLUSTER)
    assert found.status == "fault" and "no topic 'custmers' (nearest: 'customers')" in found.found
    assert "CHURN_KAFKA_TOPIC" in found.fix


@pytest.mark.parametrize(
    ("partition", "status", "said"),
    [
        (replace(LED, has_leader=False), "fault", "Partition 0 is without a leader"),
        (replace(LED, in_sync=2), "look", "Partition 0 is lacking copies"),
    ],
)
def test_a_partition_that_its_brokers_neglect_is_named(partition, status, said):
    found = topic(partition=partition)
    assert found.status == status and said in found.fix


@pytest.mark.parametrize(
    ("role", "settings", "said"),
    [
        (CUSTOMERS, {"cleanup_policy": "compact"}, "set cleanup.policy=delete"),
        (CUSTOMERS, {"retention_ms": "7200000"}, "deleted after 2 hours, scored or not: raise retention.ms"),
        (DEAD_LETTERS, {"cleanup_policy": "compact,delete"}, "refuses letters without a key"),
        (DEAD_LETTERS, {"max_message_bytes": "500000"}, "raise max.message.bytes to 1000000"),
    ],
)
def test_settings_that_threaten_messages_are_worth_a_look(role, settings, said):
    found = topic(role, **settings)
    assert found.status == "look" and said in found.fix


def test_predictions_may_be_compacted_and_customers_kept_for_ever():
    assert topic(PREDICTIONS, cleanup_policy="compact").status == "ok"
    kept = topic(retention_ms="-1", retention_bytes="1000000000")
    assert kept.status == "ok" and "kept for ever, up to 1 GB a partition" in kept.found


def test_lag_within_a_batch_is_fine():
    found = kafka_verdicts.of_lag(state())
    assert found.status == "ok" and "40 messages wait; one batch takes 1,000" in found.found


def test_lag_over_a_batch_and_little_head_room_are_worth_a_look():
    assert "CHURN_KAFKA_BATCH_MESSAGES" in kafka_verdicts.of_lag(state(limit=10)).fix
    late = kafka_verdicts.of_lag(state(low=59))
    assert late.status == "look" and "raise its retention" in late.fix


def test_a_batch_under_way_is_named():
    assert f"Batch {BATCH.id} was planned" in kafka_verdicts.of_lag(state(replace(SCORED, is_finished=False))).found


def test_what_is_scored_and_published_needs_nothing():
    found = kafka_verdicts.of_publishing("g", GroupAnswers({0: Bookmark(60, BATCH.id, "id")}), state())
    assert (found.status, found.found) == ("ok", "Group g: published up to 0/60.")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (GroupAnswers({}), f"Batch {BATCH.id} is scored and was not published"),
        (GroupAnswers({0: Bookmark(60)}), "set CHURN_KAFKA_GROUP to one of the pipeline's own"),
        (GroupAnswers({0: Bookmark(60, BATCH.id, "id")}, members=2), "set CHURN_KAFKA_GROUP"),
    ],
)
def test_a_group_that_others_use_or_that_lacks_a_batch_is_worth_a_look(answers, said):
    found = kafka_verdicts.of_publishing("g", answers, state())
    assert found.status == "look" and said in found.fix


def test_every_missing_permission_is_named():
    found = kafka_verdicts.of_permissions(
        {CUSTOMERS: {"DESCRIBE"}, PREDICTIONS: {"DESCRIBE", "WRITE"}}, {"g": frozenset()}, ["g:customers"]
    )
    assert found.status == "fault"
    assert found.found == "This client has no Read on topic customers, no Read on group g."


def test_what_kafka_does_not_tell_is_said_to_be_unknown():
    found = kafka_verdicts.of_permissions({CUSTOMERS: {"READ"}, PREDICTIONS: None}, {"g": {"READ"}}, ["g:customers"])
    assert found.status == "ok" and "Write on transactional id g:customers too; Kafka does not tell" in found.found


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7200, "2 hours"), (1e6, "12 days")],
)
def test_a_span_is_told_in_the_largest_unit_that_fits_twice(seconds, words):
    assert span(seconds) == words
