"""What `doctor` looks at in Dagster's daemon, which makes the sensors tick: nothing inside Dagster tells that it died.

Belongs here: heartbeats and newest ticks. Does not: what the sensors do about each other (`sensors/sensor_alerts.py`).

Only who has messages scored as they come needs a daemon; a command scores files, and a topic, without one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorTick
from dagster._daemon.types import DaemonHeartbeat
from dagster._time import get_current_timestamp
from sqlalchemy.exc import SQLAlchemyError

from churn_pipeline.cli.findings import Finding, span
from churn_pipeline.deployments import Deployment
from churn_pipeline.resources.run_history import local_instance
from churn_pipeline.sensors.batch_alerts import batch_alerts
from churn_pipeline.sensors.causes import cause_in_words
from churn_pipeline.sensors.customer_batches import WAITS, customer_batches
from churn_pipeline.sensors.sensor_alerts import FAILURES, SHORTEST_SILENCE, longest_pause, sensor_alerts

#: Without one of these nothing is scored or told as messages come.
_SENSORS = (customer_batches, batch_alerts, sensor_alerts)

_START = "Start it: dagster-daemon run, or make dev."


def daemon_findings(deployment: Deployment) -> list[Finding]:
    """Look at the daemon and the sensors it ticks, if a topic is to be scored as messages come."""
    settings = deployment.settings
    if not settings.kafka_topic:
        return []
    folder = Path(os.environ.get("DAGSTER_HOME") or settings.folder / "dagster")
    # Opening an instance would make one where there is none.
    if not (folder / "dagster.yaml").is_file():
        return [_never_ran()]
    try:
        with local_instance(settings.folder) as instance:
            return _look(instance)
    except (dg.DagsterError, SQLAlchemyError) as error:
        fix = f"Dagster's instance in {folder} cannot be opened: {type(error).__name__}. Correct its dagster.yaml."
        return [Finding("daemon", "fault", "", fix)]


def _look(instance: dg.DagsterInstance) -> list[Finding]:
    heartbeats = [s.last_heartbeat for s in instance.get_daemon_statuses().values() if s.required and s.last_heartbeat]
    if not heartbeats:
        return [_never_ran()]
    daemon = of_heartbeats(heartbeats, get_current_timestamp())
    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    return [daemon, *(_sensor(instance, sensor, states) for sensor in _SENSORS)]


def _never_ran() -> Finding:
    found = "No daemon ever ran here, so nobody scores the topic as messages come."
    return Finding("daemon", "look", found, _START)


def of_heartbeats(heartbeats: Sequence[DaemonHeartbeat], now: float) -> Finding:
    """Whether each of the daemon's parts is alive.

    Args:
        heartbeats: the last one of each part, one at least.
        now: seconds since 1970, UTC.
    """
    oldest = min(heartbeats, key=lambda beat: beat.timestamp)
    ago = span(now - oldest.timestamp)
    # Dagster itself would call it healthy for half an hour.
    if now - oldest.timestamp > SHORTEST_SILENCE.total_seconds():
        return Finding("daemon", "fault", f"{oldest.daemon_type}: last heartbeat {ago} ago.", _START)
    if failed := next((beat for beat in heartbeats if beat.errors), None):
        cause = cause_in_words(failed.errors[0] if failed.errors else None, "the daemon's log")
        return Finding("daemon", "look", f"{failed.daemon_type} is alive and had an error.", cause)
    return Finding("daemon", "ok", f"Alive; last heartbeat {ago} ago.")


def _sensor(instance: dg.DagsterInstance, sensor: dg.SensorDefinition, states: Sequence[InstigatorState]) -> Finding:
    # A sensor's state stays for ever, one for each code location that ever had it: the newest counts.
    known = [
        (instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=FAILURES + 1), state)
        for state in states
        if state.name == sensor.name
    ]
    ticks, state = max(known, key=lambda pair: pair[0][0].timestamp if pair[0] else 0.0, default=((), None))
    is_on = state is None or state.status != InstigatorStatus.STOPPED
    interval = timedelta(seconds=sensor.minimum_interval_seconds or 0)
    return of_sensor(sensor.name, is_on, ticks, interval, get_current_timestamp())


def of_sensor(name: str, is_on: bool, ticks: Sequence[InstigatorTick], interval: timedelta, now: float) -> Finding:
    """Whether a sensor does its work, by the rules of `sensor_alerts`.

    Args:
        ticks: the newest first; `FAILURES` of them that are over, and the one under way if any.
        interval: how often it should tick.
        now: seconds since 1970, UTC.
    """
    last = f"Last tick {span(now - ticks[0].timestamp)} ago" if ticks else "Never ticked"
    if not is_on:
        return Finding(name, "look", f"Turned off. {last}.", "Turn it on in Dagster's UI.")
    if not ticks or now - ticks[0].timestamp > longest_pause(interval).total_seconds():
        return Finding(name, "fault", f"{last}.", "See that the daemon runs and that the code location loads.")
    over = [tick for tick in ticks if tick.is_completed][:FAILURES]
    if over and over[0].is_failure:
        fails = len(over) == FAILURES and all(tick.is_failure for tick in over)
        cause = cause_in_words(over[0].error, f"the ticks of sensor {name}")
        return Finding(name, "fault" if fails else "look", f"{last}; the newest that is over failed.", cause)
    said = (over[0].skip_reason or "") if over else ""
    if WAITS in said:
        return Finding(name, "fault", f"{last}. Nothing of the topic is scored meanwhile.", said)
    return Finding(name, "ok", f"{last}. {said}".rstrip())
