"""The sensor that watches sensors, against ticks that Dagster's own daemon makes by a clock that the test moves."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from threading import Event

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.scheduler.instigation import InstigatorStatus, TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration

from churn_pipeline.errors import SourceError
from churn_pipeline_tests.sensors import watched

pytestmark = pytest.mark.slow

MODULE = LoadableTargetOrigin(module_name=watched.__name__, attribute="location")
MINUTE = timedelta(minutes=1)
NO_BROKER = SourceError("Broker 127.0.0.1:9 does not answer. Start it, or correct KAFKA_BOOTSTRAP_SERVERS.")


class Daemon:
    """Dagster's sensor daemon with threads, as `sensors: {use_threads: true}` starts it, one turn at a time."""

    def __init__(self, instance, location, pool):
        self.instance, self.location, self._pool = instance, location, pool
        self.now = datetime(2026, 7, 1, 9, tzinfo=UTC)
        self.starts()

    def starts(self, away=timedelta(0)):
        """Start, or start again: what was in the process's memory is gone."""
        self.now += away
        self._target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(MODULE, location_name=self.location))
        self._ticking: dict[str, Future] = {}

    def turns(self, times, every=MINUTE):
        """Tick each sensor that is on so many times; one that hangs is not waited for."""
        with create_test_daemon_workspace_context(self._target, self.instance) as workspace:
            for _ in range(times):
                self.now += every
                with freeze_time(self.now):
                    log = logging.getLogger(__name__)
                    list(execute_sensor_iteration(workspace, log, self._pool, None, self._ticking))
                    hanging = {self.state(name).selector_id for name in watched.HANGS}
                    wait([tick for sensor, tick in self._ticking.items() if sensor not in hanging], 30)

    def leaves_out(self, name):
        """Never get round to a sensor, as if its last tick went on for ever."""
        watched.HANGS[name] = Event()
        self._ticking[self.state(name).selector_id] = Future()

    def state(self, name):
        states = self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        return next(s for s in states if s.name == name and s.selector.location_name == self.location)

    def ticks(self, name):
        """The newest first."""
        state = self.state(name)
        return self.instance.get_ticks(state.instigator_origin_id, state.selector_id)


@pytest.fixture
def daemon(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance, ThreadPoolExecutor(4) as pool:
        yield Daemon(instance, "churn", pool)


@pytest.fixture
def told(daemon):
    """The alerts that people got."""
    watched.CHANNEL.alerts.clear()
    yield watched.CHANNEL.alerts
    for hang in watched.HANGS.values():
        hang.set()
    watched.HANGS.clear()
    watched.FAULTS.clear()
    watched.CHANNEL.refusals = 0


def test_sensors_that_do_their_work_are_no_news(daemon, told):
    daemon.turns(2)
    assert told == []
    assert daemon.ticks("sensor_alerts")[0].skip_reason == "2 sensors watched: no trouble; 0 alerts sent."


def test_a_sensor_that_fails_three_times_in_a_row_is_told_once_with_its_cause_task_and_page(daemon, told):
    daemon.turns(1)
    watched.FAULTS["letters"] = NO_BROKER
    daemon.turns(6)
    [alert] = told
    assert alert.text.splitlines() == [
        "Repair what sensor letters needs (each of its last ticks failed): Broker 127.0.0.1:9 does not answer.",
        "",
        "Status: failed",
        "Sensor: letters",
        "Not done meanwhile: Carry letters.",
        f"Cause: {NO_BROKER}",
        "Failing since: 2026-07-01 09:01 UTC",
        "It is tried again by itself; you are told once it works again.",
        "Sensor: http://ui.test/locations/churn/sensors/letters",
    ]
    assert "letters failing since 2026-07-01 09:01 UTC" in daemon.ticks("sensor_alerts")[0].skip_reason


def test_two_failed_ticks_are_no_news(daemon, told):
    daemon.turns(1)
    watched.FAULTS["letters"] = NO_BROKER
    daemon.turns(2)
    watched.FAULTS.clear()
    daemon.turns(2)
    assert [tick.is_failure for tick in daemon.ticks("letters")] == [False, False, True, True, False]
    assert told == []


def test_the_text_of_a_foreign_error_may_hold_a_customers_values_and_is_not_told(daemon, told):
    watched.FAULTS["letters"] = ValueError("could not convert 'Smith, 4 High Street'")
    daemon.turns(4)
    [alert] = told
    assert "ValueError. Look at the ticks of sensor letters." in alert.text
    assert "Smith" not in alert.text


def test_each_time_that_a_sensor_fails_and_works_again_is_told_once(daemon, told):
    for _ in range(2):
        daemon.turns(1)
        watched.FAULTS["letters"] = NO_BROKER
        daemon.turns(4)
        watched.FAULTS.clear()
        daemon.turns(2)
    assert [alert.level for alert in told] == ["failed", "done", "failed", "done"]
    assert len({alert.key for alert in told}) == 4
    assert told[1].title == "Nothing to do: sensor letters works again, after failing since 2026-07-01 09:01 UTC."


def test_a_daemon_that_starts_again_does_not_tell_again(daemon, told):
    watched.FAULTS["letters"] = NO_BROKER
    daemon.turns(4)
    daemon.starts(away=60 * MINUTE)
    daemon.turns(4)
    assert len(told) == 1


def test_a_cursor_that_is_lost_does_not_make_old_news_new(daemon, told):
    daemon.turns(1)
    watched.FAULTS["letters"] = NO_BROKER
    daemon.turns(4)
    state = daemon.state("sensor_alerts")
    daemon.instance.update_instigator_state(state.with_data(state.instigator_data._replace(cursor=None)))
    daemon.turns(2)
    assert len(told) == 1


def test_a_trouble_outlasts_the_ticks_before_it_which_dagster_deletes_after_a_week(daemon, told):
    daemon.turns(2)
    watched.FAULTS["letters"] = NO_BROKER
    daemon.turns(4)
    state = daemon.state("letters")
    daemon.instance.purge_ticks(
        state.instigator_origin_id, state.selector_id, daemon.now.timestamp(), [TickStatus.SKIPPED]
    )
    daemon.turns(2)
    assert len(told) == 1


def test_a_sensor_that_is_on_and_hangs_is_told_once_and_once_more_when_it_ticks_again(daemon, told):
    daemon.turns(1)
    watched.HANGS["letters"] = Event()
    daemon.turns(6)
    assert told == []
    daemon.turns(2)
    watched.HANGS.pop("letters").set()
    daemon.turns(3)
    silent, recovered = told
    assert silent.text.splitlines() == [
        "Look at Dagster's daemon: sensor letters is on and has not ticked since 2026-07-01 09:02 UTC.",
        "",
        "Status: failed",
        "Sensor: letters",
        "Not done meanwhile: Carry letters.",
        "Silent since: 2026-07-01 09:02 UTC",
        "Restart the daemon if nothing else ticks either; you are told once it ticks again.",
        "Sensor: http://ui.test/locations/churn/sensors/letters",
    ]
    assert recovered.title.endswith("works again, after not ticking since 2026-07-01 09:02 UTC.")


def test_the_time_that_the_daemon_was_away_is_no_silence_of_a_sensor(daemon, told):
    daemon.turns(1)
    daemon.starts(away=600 * MINUTE)
    daemon.leaves_out("letters")
    daemon.turns(3, every=2 * MINUTE)
    assert told == []
    daemon.turns(2, every=2 * MINUTE)
    assert "not ticked since 2026-07-01 09:01 UTC" in told[0].title


def test_a_sensor_that_a_person_turned_off_is_no_news_however_long_it_is_off(daemon, told):
    daemon.turns(1)
    watched.FAULTS["letters"] = NO_BROKER
    daemon.turns(2)
    state = daemon.state("letters")
    daemon.instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
    daemon.turns(5, every=2 * MINUTE)
    assert told == []


def test_a_sensor_that_is_taken_out_of_the_code_is_no_news(daemon, told, monkeypatch):
    daemon.turns(1)
    rest = dg.Definitions(sensors=[watched.sensor_alerts], resources=watched.location().resources)
    monkeypatch.setattr(watched, "location", rest)
    daemon.starts()
    daemon.turns(4, every=2 * MINUTE)
    assert daemon.state("letters").is_running
    assert told == []


def test_another_code_location_on_the_same_instance_is_left_to_its_own_watch(daemon, told):
    with ThreadPoolExecutor(4) as pool:
        Daemon(daemon.instance, "other", pool).turns(1)
    daemon.turns(4, every=2 * MINUTE)
    assert told == []


def test_a_channel_that_is_down_turns_the_tick_red_and_gets_the_alert_once_it_is_up(daemon, told):
    daemon.turns(1)
    watched.CHANNEL.refusals = 3
    watched.FAULTS["letters"] = NO_BROKER
    daemon.turns(7)
    assert len(told) == 1
    failed = [tick for tick in daemon.ticks("sensor_alerts") if tick.is_failure]
    assert len(failed) == 2
    assert "1 alerts were not delivered. recorded refused" in failed[0].error.cause.message


def test_that_a_sensor_works_again_is_told_though_nobody_could_be_told_that_it_failed(daemon, told):
    watched.FAULTS["letters"] = NO_BROKER
    watched.CHANNEL.refusals = 1_000
    daemon.turns(4)
    watched.FAULTS.clear()
    daemon.turns(2)
    watched.CHANNEL.refusals = 0
    daemon.turns(2)
    [recovered] = told
    assert recovered.level == "done"
