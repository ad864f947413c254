"""The alert sensor against a real ledger, a real run history and channels that refuse."""

from datetime import datetime, timedelta

import dagster as dg
import pytest

from churn_pipeline import deployments
from churn_pipeline.definitions import build_defs
from churn_pipeline.errors import AlertError
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.resources.alert_channels import RecordedChannel
from churn_pipeline.resources.alert_log import AlertLog
from churn_pipeline.resources.alerting import Alerts
from churn_pipeline.resources.run_history import local_instance
from churn_pipeline.sensors.batch_alerts import batch_alerts
from churn_pipeline_tests.builders import customer_file


@pytest.fixture
def launched(deployment):
    """Run the job as the UI does, which alerts nobody by itself, on one instance."""
    with local_instance(deployment.settings.folder) as instance:

        def launch(**config):
            job = build_defs(deployment).resolve_job_def("score_customers")
            ops = {"ops": {"read_customers": {"config": config}}} if config else {}
            return job.execute_in_process(run_config=ops, instance=instance, raise_on_error=False)

        yield instance, launch


def context_of(deployment, instance, channel, cursor=None):
    alerts = Alerts(AlertLog(deployment.settings.folder / "alerts"), [channel], "dollars", "http://dagster.test")
    resources = {"table_store": deployment.table_store(), "alerts": alerts}
    return dg.build_sensor_context(instance=instance, resources=resources, cursor=cursor)


def tick(deployment, instance, channel):
    return batch_alerts(context_of(deployment, instance, channel))


def test_a_finished_batch_is_alerted_once_over_many_ticks(deployment, launched):
    instance, launch = launched
    run = launch()
    channel = RecordedChannel()
    assert "1 alerts sent" in tick(deployment, instance, channel).skip_message
    assert "0 alerts sent" in tick(deployment, instance, channel).skip_message
    [alert] = channel.alerts
    assert "Call list ready" in alert.title and alert.link == f"http://dagster.test/runs/{run.run_id}"


def test_a_refused_alert_turns_the_tick_red_and_is_sent_by_a_later_one(deployment, launched):
    instance, launch = launched
    launch()
    channel = RecordedChannel(refusals=1)
    with pytest.raises(AlertError, match="not delivered"):
        tick(deployment, instance, channel)
    tick(deployment, instance, channel)
    assert len(channel.alerts) == 1


def test_a_failed_run_is_alerted_once_with_stage_cause_and_batch_and_no_value(deployment, launched, tmp_path):
    instance, launch = launched
    source = customer_file(tmp_path / "broken.csv", 30, broken=20)
    first, _ = launch(source=str(source)), launch(source=str(source))
    assert not first.success
    channel = RecordedChannel()
    tick(deployment, instance, channel)
    [alert] = channel.alerts
    assert "20 of 30 rows" in alert.text and "Stage: read_customers" in alert.text
    assert "Batch: broken-" in alert.text


def test_a_run_that_is_still_going_is_not_announced(deployment, launched):
    instance, launch = launched
    run = launch()
    instance.delete_run(run.run_id)
    instance.create_run_for_job(
        build_defs(deployment).resolve_job_def("score_customers"), run_id=run.run_id, status=dg.DagsterRunStatus.STARTED
    )
    channel = RecordedChannel()
    tick(deployment, instance, channel)
    assert channel.alerts == []


def test_what_was_told_is_not_looked_at_again_and_what_is_not_over_is(deployment, launched):
    instance, launch = launched
    run = launch()
    channel = RecordedChannel()
    instance.delete_run(run.run_id)
    instance.create_run_for_job(
        build_defs(deployment).resolve_job_def("score_customers"), run_id=run.run_id, status=dg.DagsterRunStatus.STARTED
    )
    [row] = Ledger(deployment.table_store()).all()
    context = context_of(deployment, instance, channel)
    batch_alerts(context)
    assert datetime.fromisoformat(context.cursor) <= row.scored_at
    instance.delete_run(run.run_id)
    later = context_of(deployment, instance, channel, cursor=context.cursor)
    batch_alerts(later)
    assert len(channel.alerts) == 1
    long_after = (row.scored_at + timedelta(seconds=1)).isoformat()
    batch_alerts(context_of(deployment, instance, another := RecordedChannel(), cursor=long_after))
    assert another.alerts == []


def test_an_empty_home_is_no_news(tmp_path):
    empty = deployments.test(tmp_path)
    with local_instance(tmp_path) as instance:
        assert "0 alerts sent" in tick(empty, instance, RecordedChannel()).skip_message
