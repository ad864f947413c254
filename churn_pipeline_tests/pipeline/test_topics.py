"""Messages of a topic become predictions, rejects, a ledger that tiles the log, and messages of their own."""

import json

import dagster as dg
import pytest

from churn_pipeline import jobs
from churn_pipeline.assets.published import Publication
from churn_pipeline.resources.customer_sources.json_messages import JsonMessages
from churn_pipeline.resources.customer_sources.topic_messages import TopicSource
from churn_pipeline.resources.run_history import local_instance
from churn_pipeline.resources.topics.base import PublishingFailed
from churn_pipeline.sensors.batch_alerts import AGAIN_TAG
from churn_pipeline_tests.pipeline.shops import Shop


@pytest.fixture
def shop(deployment):
    with local_instance(deployment.settings.folder) as instance:
        yield Shop(deployment, instance)


def every_offset(shop):
    return {f"customers/{p}/{offset}" for p, end in shop.topic.watermarks().end.items() for offset in range(end)}


def test_every_message_is_scored_or_accounted_for_and_published_once(shop):
    shop.fill(30, 0, broken=2)
    shop.fill(10, 1)
    assert shop.score() == 1
    shop.fill(5, 1, broken=1)
    assert shop.score() == 1
    places = shop.places()
    assert {f"{partition}/{offset}" for partition, offset in places} == every_offset(shop)
    assert set(places.values()) == {1}
    assert shop.ranges() == [("0", 0, 32), ("1", 0, 10), ("1", 10, 16)]
    predictions, dead = shop.published("predictions"), shop.published("dead_letters")
    assert sorted(predictions + dead) == sorted(every_offset(shop))
    assert len(dead) == 3


def test_a_published_prediction_is_the_row_of_the_table(shop):
    shop.fill(3)
    shop.score()
    rows = {row["customerID"]: row for row in shop.rows("churn_predictions")}
    for message in shop.publisher.messages:
        said = json.loads(message.value)
        row = rows[message.key.decode()]
        assert said["customerID"] == row["customerID"]
        assert said["churn_probability"] == row["churn_probability"]
        assert dict(message.headers)["batch_id"].decode() == row["batch_id"]


def test_a_rejected_message_is_kept_as_its_bytes_with_offset_and_time(shop):
    shop.topic.append(b'{"customerID": "\xff"}', partition=1, timestamp=1_767_225_600_000)
    shop.fill(5)
    shop.score()
    [row] = shop.rows("rejected_customers")
    assert row["raw"] == b'{"customerID": "\xff"}' and row["rules"] == ["not_utf8"]
    assert (row["source_partition"], row["source_position"]) == ("customers/1", 0)
    assert row["source_time"].isoformat() == "2026-01-01T00:00:00+00:00"


def test_a_failed_publication_is_tried_again_and_nothing_comes_twice(shop):
    shop.fill(8)
    shop.publisher.fail_with = PublishingFailed("The broker went away.")
    [request] = shop.tick()
    assert not shop.run(request).success
    assert shop.publisher.messages == []
    shop.publisher.fail_with = None
    [again] = shop.tick()
    assert again.run_config == request.run_config and again.run_key != request.run_key
    assert shop.run(again).success
    assert len(shop.published("predictions")) == 8
    assert len(shop.rows("churn_predictions")) == 8 and len(shop.rows("scored_batches")) == 1
    assert shop.tick() == []


def test_a_run_that_died_after_the_ledger_is_finished_by_the_next(shop):
    """The ledger row alone does not let the sensor go on: current scores and publishing come after it."""
    shop.fill(4)
    [request] = shop.tick()
    assert not shop.run(request, current_scores=Dies()).success
    assert len(shop.rows("scored_batches")) == 1 and shop.publisher.messages == []
    shop.fill(2)
    [again] = shop.tick()
    assert again.run_config == request.run_config
    assert shop.run(again).success
    assert len(shop.rows("current_churn_scores")) == 4 and len(shop.published("predictions")) == 4
    assert shop.score() == 1


class Dies(dg.IOManager):
    def handle_output(self, context, obj):
        raise OSError("the disk is gone")

    def load_input(self, context): ...


def test_two_runs_of_one_batch_leave_one_copy_of_everything(shop):
    shop.fill(6)
    [request] = shop.tick()
    assert shop.run(request).success and shop.run(request).success
    assert set(shop.places().values()) == {1}
    assert len(shop.published("predictions")) == 6 and len(shop.rows("scored_batches")) == 1


def test_a_late_run_of_an_earlier_batch_changes_nothing_that_counts(shop):
    shop.fill(6)
    [late] = shop.tick()
    assert shop.run(late).success
    shop.fill(3)
    shop.score()
    assert shop.run(late).success
    assert len(shop.published("predictions")) == 9 and set(shop.places().values()) == {1}
    assert shop.ranges() == [("0", 0, 6), ("0", 6, 9)]
    assert shop.tick() == []


def test_offsets_that_hold_no_message_are_passed(shop):
    shop.fill(3)
    shop.topic.append_gap(0, 4)
    assert shop.score() == 1
    assert shop.ranges() == [("0", 0, 7)]
    assert len(shop.rows("churn_predictions")) == 3


def test_too_many_malformed_messages_stop_a_batch_before_anything_is_written_or_published(shop):
    shop.fill(2, broken=8)
    [request] = shop.tick()
    assert not shop.run(request).success
    assert shop.rows("scored_batches") == [] and shop.publisher.messages == []
    assert "customers" not in shop.deployment.table_store().tables()


def test_one_alert_a_batch_whatever_was_tried_again(shop):
    shop.fill(4)
    shop.publisher.fail_with = PublishingFailed("The broker went away.")
    [request] = shop.tick()
    shop.run(request)
    shop.publisher.fail_with = None
    shop.score()
    shop.alert()
    shop.alert()
    assert [alert.level for alert in shop.channel.alerts] == ["done"]


def test_a_run_that_died_at_its_very_end_is_not_tried_again_and_is_announced_as_done(shop):
    class DiesAtTheEnd(TopicSource):
        def finish(self, batch):
            super().finish(batch)
            raise OSError("the machine is gone")

    shop.fill(4)
    [request] = shop.tick()
    read_as = lambda contract, label: JsonMessages(contract, with_label=label).rows  # noqa: E731
    dying = DiesAtTheEnd(shop.topic, shop.batches, read_as)
    assert not shop.run(request, customer_source=lambda _: dying).success
    assert shop.tick() == []
    shop.alert()
    assert [alert.level for alert in shop.channel.alerts] == ["done"]


def test_a_batch_is_not_announced_before_it_is_published_though_its_run_is_of_another_daemon(shop):
    shop.fill(4)
    [request] = shop.tick()
    elsewhere = shop.run(request, current_scores=Dies())
    shop.instance.delete_run(elsewhere.run_id)
    shop.alert()
    assert shop.channel.alerts == []
    shop.score()
    shop.alert()
    assert [alert.level for alert in shop.channel.alerts] == ["done"]


def test_a_last_run_that_died_while_another_daemon_finished_its_batch_is_no_failure(shop):
    shop.fill(4)
    [request] = shop.tick()
    last = request._replace(tags={name: value for name, value in request.tags.items() if name != AGAIN_TAG})
    assert not shop.run(last, current_scores=Dies()).success
    shop.score()
    shop.alert()
    assert [alert.level for alert in shop.channel.alerts] == ["done"]


def test_a_batch_that_was_given_up_is_alerted_once_as_failed(shop):
    shop.fill(4)
    shop.publisher.fail_with = PublishingFailed("The broker went away.")
    for _ in range(3):
        [request] = shop.tick()
        shop.run(request)
        shop.alert()
    assert shop.tick() == []
    [alert] = shop.channel.alerts
    assert alert.level == "failed" and "publish_batch" in alert.text and "broker went away" in alert.text


def test_messages_are_scored_again_beside_their_first_scores_and_nothing_else_moves(shop):
    shop.fill(6)
    shop.fill(2, 1)
    shop.score()
    current = shop.rows("current_churn_scores")
    again = shop.batches.again("churn_model/1", {0: (2, 5)}, None, None)
    config = {"ops": {"read_customers": {"config": {"batch": again.to_json()}}}}
    assert shop.run(dg.RunRequest(run_config=config)).success
    rows = [row for row in shop.rows("churn_predictions") if row["batch_id"] == again.id]
    assert [row["source_position"] for row in rows] == [2, 3, 4]
    assert len(shop.rows("churn_predictions")) == 11
    assert shop.rows("current_churn_scores") == current
    assert len(shop.published("predictions")) == 8
    assert shop.tick() == []
    shop.alert()
    assert len(shop.channel.alerts) == 1


def test_scores_of_messages_scored_again_become_current_if_asked_for(shop):
    shop.fill(4)
    shop.score()
    again = shop.batches.again("churn_model/1", None, None, None)
    ops = {
        "read_customers": {"config": {"batch": again.to_json()}},
        "current_churn_scores": {"config": {"update": True}},
    }
    assert shop.run(dg.RunRequest(run_config={"ops": ops})).success
    assert {row["batch_id"] for row in shop.rows("current_churn_scores")} == {again.id}
    assert len(shop.published("predictions")) == 4


def test_tables_alone_work(shop):
    shop.resources["publication"] = Publication()
    shop.fill(4)
    assert shop.score() == 1
    assert shop.publisher.messages == [] and shop.tick() == []


def test_the_range_of_a_batch_and_its_bytes_are_metadata_of_the_run(shop):
    shop.fill(4)
    [request] = shop.tick()
    result = shop.run(request)
    metadata = {
        event.materialization.asset_key.to_user_string(): event.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert metadata["customers"]["batch_bounds"].value["offsets"] == {"customers": {"0": [0, 4]}}
    assert metadata["customers"]["bytes_read"].value > 0
    assert metadata["prediction_messages"]["messages"].value == 4
    assert set(metadata) >= {*jobs.TABLES, "prediction_messages", "dead_letters"}
