"""`doctor` on Dagster's daemon: what cannot be told from inside Dagster, a daemon or a sensor that does nothing."""

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import InstigatorTick, TickData, TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from churn_pipeline import deployments, jobs
from churn_pipeline.cli.examination_daemon import daemon_findings, of_heartbeats, of_sensor
from churn_pipeline.resources.run_history import local_instance
from churn_pipeline.resources.topics.embedded import EmbeddedBroker
from churn_pipeline.sensors.batch_alerts import batch_alerts
from churn_pipeline.sensors.customer_batches import customer_batches
from churn_pipeline.sensors.sensor_alerts import sensor_alerts
from churn_pipeline_tests.cli.conftest import Shop
from churn_pipeline_tests.resources.topics.builders import numbered, produce

NOW = 1_800_000_000.0
ERROR = SerializableErrorInfo("customer 7590-VHVEG is bad", [], "ValueError")
SENSORS = ["customer_batches", "batch_alerts", "sensor_alerts"]


def beat(ago, errors=None, kind="SENSOR"):
    return DaemonHeartbeat(NOW - ago, kind, None, errors)


def ticks(*statuses, ago=30.0, said=None):
    """Ticks, the newest first, ten seconds apart."""
    return [
        InstigatorTick(
            n,
            TickData(
                "origin",
                "customer_batches",
                InstigatorType.SENSOR,
                status,
                NOW - ago - 10 * n,
                run_ids=[],
                error=ERROR if status == TickStatus.FAILURE else None,
                skip_reason=said if status == TickStatus.SKIPPED else None,
            ),
        )
        for n, status in enumerate(statuses)
    ]


def sensor(found, is_on=True):
    return of_sensor("customer_batches", is_on, found, timedelta(seconds=10), NOW)


def test_a_daemon_that_beats_is_alive():
    assert of_heartbeats([beat(20), beat(40)], NOW).found == "Alive; last heartbeat 40 seconds ago."


def test_a_part_of_the_daemon_that_is_silent_for_minutes_is_a_fault():
    found = of_heartbeats([beat(20), beat(600, kind="SCHEDULER")], NOW)
    assert (found.status, found.found) == ("fault", "SCHEDULER: last heartbeat 10 minutes ago.")


def test_a_daemon_that_had_an_error_is_worth_a_look_and_the_error_is_not_quoted():
    found = of_heartbeats([beat(20, [ERROR])], NOW)
    assert found.status == "look" and "ValueError" in found.fix and "7590" not in found.fix


def test_a_sensor_that_ticks_says_what_it_said():
    found = sensor(ticks(TickStatus.STARTED, TickStatus.SKIPPED, said="Nothing new."))
    assert (found.status, found.found) == ("ok", "Last tick 30 seconds ago. Nothing new.")


def test_a_batch_that_waits_for_a_person_is_a_fault_though_its_sensor_ticks():
    waits = "Batch b failed 3 times and waits for a person: look at run 1a, repair the cause and re-execute it."
    found = sensor(ticks(TickStatus.SKIPPED, said=waits))
    assert (found.status, found.fix) == ("fault", waits)


def test_a_sensor_that_stopped_ticking_or_never_did_is_a_fault():
    assert [sensor(found).status for found in (ticks(TickStatus.SUCCESS, ago=400), [])] == ["fault", "fault"]


def test_a_red_tick_is_worth_a_look_and_three_are_a_fault():
    red, green = TickStatus.FAILURE, TickStatus.SKIPPED
    assert [sensor(ticks(red, *more)).status for more in ((green, green), (red, green), (red, red))] == [
        "look",
        "look",
        "fault",
    ]
    assert "7590" not in sensor(ticks(red)).fix


def test_a_sensor_that_a_person_turned_off_is_worth_a_look():
    assert sensor(ticks(TickStatus.SUCCESS, ago=9_000), is_on=False).status == "look"


def test_who_has_no_topic_scored_needs_no_daemon(tmp_path):
    assert daemon_findings(deployments.test(tmp_path)) == []


def test_where_no_daemon_ever_ran_that_is_worth_a_look_and_no_instance_is_made(tmp_path, monkeypatch):
    deployment = deployments.test(tmp_path / "home", kafka_topic="customers")
    [found] = daemon_findings(deployment)
    assert found.status == "look" and not (tmp_path / "home").exists()
    with local_instance(tmp_path / "other"):
        pass
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "other" / "dagster"))
    assert daemon_findings(deployment) == [found]


def test_an_instance_that_cannot_be_opened_is_a_fault(tmp_path):
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("storage: {nonsense: {}}")
    [found] = daemon_findings(deployments.test(tmp_path, kafka_topic="customers"))
    assert found.status == "fault" and "Correct its dagster.yaml" in found.fix


@dg.definitions
def location():
    """The real jobs and sensors; its schedules need no topic."""
    return jobs.code_location(deployments.local().resources(), sensors=[batch_alerts, customer_batches, sensor_alerts])


@pytest.fixture
def ticked(tmp_path, monkeypatch):
    """A home whose sensors have ticked, by Dagster's own daemon code, on a topic of the embedded broker."""
    with EmbeddedBroker() as broker:
        produce(broker.bootstrap, "customers", numbered(1))
        for name, value in {"CHURN_HOME": tmp_path, "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("CHURN_KAFKA_TOPIC", "customers")
        target = LoadableTargetOrigin(module_name=__name__, attribute="location")
        load = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(target, location_name="churn"))
        with (
            local_instance(tmp_path) as instance,
            ThreadPoolExecutor(3) as pool,
            create_test_daemon_workspace_context(load, instance) as workspace,
        ):
            ticking: dict = {}
            list(execute_sensor_iteration(workspace, logging.getLogger(__name__), pool, None, ticking))
            wait(ticking.values(), 30)
        yield deployments.local()


def heartbeat(deployment, ago):
    with local_instance(deployment.settings.folder) as instance:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - ago, kind, None, []))


def test_a_daemon_that_does_its_work_is_in_order_with_each_of_its_sensors(ticked):
    heartbeat(ticked, ago=5)
    found = {finding.subject: finding for finding in daemon_findings(ticked)}
    assert list(found) == ["daemon", *SENSORS]
    assert found["daemon"].status == found["sensor_alerts"].status == "ok"
    assert "sensors watched" in found["sensor_alerts"].found


def test_a_dead_daemon_makes_the_doctor_end_with_its_exit_code(ticked, tmp_path):
    heartbeat(ticked, ago=3_600)
    shop = Shop(tmp_path, tmp_path / "none.csv")
    result = shop.call("doctor", "--json", CHURN_HOME=str(tmp_path))
    found = {finding["subject"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 9
    assert (found["daemon"]["status"], found["kafka"]["status"]) == ("fault", "look")
    assert "last heartbeat 60 minutes ago" in found["daemon"]["found"]
