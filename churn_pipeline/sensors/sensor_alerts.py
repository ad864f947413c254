"""`sensor_alerts`: a sensor that fails or stops ticking becomes one alert, and one more once it works again.

Belongs here: which of a sensor's ticks are news. Does not: words and channels (`resources/alert*.py`).

It looks at Dagster's record of the ticks of the other sensors of its code location. It cannot see what keeps itself
from ticking: a daemon that is dead, a code location that does not load. Nothing inside Dagster can; the daemon's
heartbeats (`DagsterInstance.get_daemon_statuses`) and the age of this sensor's own newest tick show both to whoever
asks from outside. While Dagster runs all sensors in one thread, which it does unless dagster.yaml says
`sensors: {use_threads: true}`, one that hangs holds up this one too, for a minute at most.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.selector import RepositorySelector
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorTick, TickStatus
from dagster._time import get_current_datetime

from churn_pipeline.errors import AlertError
from churn_pipeline.resources.alert_channels import AlertNotDelivered
from churn_pipeline.resources.alerting import Alerts
from churn_pipeline.resources.alerts import SensorTrouble
from churn_pipeline.sensors.causes import cause_in_words

#: So many failed ticks in a row are trouble: one or two may be a restart somewhere.
FAILURES = 3

#: A sensor that does not tick for so many of its intervals, and for at least so long, is silent.
_INTERVALS, SHORTEST_SILENCE = 10, timedelta(minutes=5)

_WENT_WELL = [TickStatus.SKIPPED, TickStatus.SUCCESS]


@dataclass(frozen=True)
class Watched:
    """A sensor as Dagster's record shows it.

    Attributes:
        is_on: False if a person, or the code, has turned it off.
        started: when it was last turned on, UTC; None if that was not recorded.
        ticks: the newest first; `FAILURES` of them that are over, and the one under way if any.
        worked: when a tick last went well, UTC; None if none is on record.
    """

    name: str
    task: str
    interval: timedelta
    is_on: bool
    started: datetime | None
    ticks: Sequence[InstigatorTick]
    worked: datetime | None


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Alert once when another sensor fails or stops ticking, and once when it works again.",
)
def sensor_alerts(context: dg.SensorEvaluationContext, alerts: dg.ResourceParam[Alerts]) -> dg.SensorResult:
    """Tell people about sensors that do not do their work, each trouble once; red while a channel is down."""
    now = get_current_datetime()
    since, remembered = _remembered(context, now)
    sensors = list(_watched(context))
    location = context.code_location_origin.location_name if context.code_location_origin else ""
    troubles: list[SensorTrouble] = []
    sent, refused = 0, []
    for sensor in sensors:
        before = remembered.get(sensor.name)
        trouble = trouble_of(sensor, before, since, now)
        try:
            if trouble and sensor.is_on:
                sent += alerts.sensor_stopped(trouble, _cause(sensor), sensor.task, location)
            elif before and not trouble:
                sent += alerts.sensor_recovered(before, sensor.task, location)
        except AlertError as error:
            refused.append(str(error))
            trouble = trouble or before
        troubles += [trouble] if trouble else []
    cursor = json.dumps({"since": since.isoformat(), "troubles": [asdict(item) for item in troubles]}, default=str)
    said = ", ".join(f"{item.sensor} {item.kind} since {item.since:%Y-%m-%d %H:%M} UTC" for item in troubles)
    undelivered = f"{len(refused)} alerts were not delivered. {refused[0]}" if refused else ""
    # A red tick remembers nothing, so it waits until there is nothing new to remember.
    if undelivered and cursor == context.cursor:
        raise AlertNotDelivered(undelivered)
    reason = f"{len(sensors)} sensors watched: {said or 'no trouble'}; {sent} alerts sent. {undelivered}"
    return dg.SensorResult(skip_reason=reason.strip(), cursor=cursor)


def trouble_of(sensor: Watched, before: SensorTrouble | None, since: datetime, now: datetime) -> SensorTrouble | None:
    """The trouble that a sensor is in.

    Args:
        before: the trouble it was in; the same goes on until a tick goes well, or it becomes one of the other kind.
        since: from when on it is known that sensors were ticked at all; silence before that is not the sensor's.
    """
    found = _new_trouble(sensor, since, now) if sensor.is_on else None
    if found:
        return before if before and before.kind == found.kind else found
    newest = next((tick for tick in sensor.ticks if tick.is_completed), None)
    works_again = before and newest and not newest.is_failure and _at(newest.timestamp) > before.since
    return None if works_again else before


def longest_pause(interval: timedelta) -> timedelta:
    """How long a sensor may not tick that should at this interval; past it, it is silent."""
    return max(_INTERVALS * interval, SHORTEST_SILENCE)


def _new_trouble(sensor: Watched, since: datetime, now: datetime) -> SensorTrouble | None:
    signs = [sensor.started] if sensor.started else []
    signs += [_at(tick.timestamp) for tick in sensor.ticks[:1]]
    last_sign = max(signs, default=since)
    if now - max(last_sign, since) > longest_pause(sensor.interval):
        return SensorTrouble(sensor.name, "silent", last_sign)
    # What failed before somebody turned the sensor off and on again may be repaired.
    over = [t for t in sensor.ticks if t.is_completed and not (sensor.started and _at(t.timestamp) < sensor.started)]
    if len(over) >= FAILURES and all(tick.is_failure for tick in over[:FAILURES]):
        return SensorTrouble(sensor.name, "failing", sensor.worked or sensor.started or _at(over[-1].timestamp))
    return None


def _cause(sensor: Watched) -> str:
    error = next((tick.error for tick in sensor.ticks if tick.is_failure), None)
    return cause_in_words(error, f"the ticks of sensor {sensor.name}")


def _watched(context: dg.SensorEvaluationContext) -> Iterator[Watched]:
    """The other sensors of this code location that Dagster's daemon has come across."""
    instance, repository = context.instance, context.repository_def
    location = context.code_location_origin
    if location is None or repository is None:
        return
    own = RepositorySelector(location_name=location.location_name, repository_name=repository.name).selector_id
    for state in instance.all_instigator_state(repository_selector_id=own, instigator_type=InstigatorType.SENSOR):
        # The state of a sensor that was taken out of the code stays for ever.
        if repository.has_sensor_def(state.name) and state.name != context.sensor_name:
            yield _look(instance, state, repository.get_sensor_def(state.name))


def _look(instance: dg.DagsterInstance, state: InstigatorState, sensor: dg.SensorDefinition) -> Watched:
    ids = state.instigator_origin_id, state.selector_id
    started = state.sensor_instigator_data.last_sensor_start_timestamp if state.sensor_instigator_data else None
    good = instance.get_ticks(*ids, limit=1, statuses=_WENT_WELL)
    by_default = state.status == InstigatorStatus.DECLARED_IN_CODE
    return Watched(
        name=state.name,
        task=sensor.description or sensor.name,
        interval=timedelta(seconds=sensor.minimum_interval_seconds or 0),
        is_on=sensor.default_status == dg.DefaultSensorStatus.RUNNING if by_default else state.is_running,
        started=_at(started) if started else None,
        ticks=instance.get_ticks(*ids, limit=FAILURES + 1),
        worked=_at(good[0].timestamp) if good else None,
    )


def _remembered(context: dg.SensorEvaluationContext, now: datetime) -> tuple[datetime, dict[str, SensorTrouble]]:
    """From when on sensors were ticked without a break, and the troubles known at the last tick, by sensor."""
    cursor = json.loads(context.cursor) if context.cursor else {"troubles": []}
    troubles = [
        SensorTrouble(**{**item, "since": datetime.fromisoformat(item["since"])}) for item in cursor["troubles"]
    ]
    # Where this sensor did not tick either, the daemon was away, and nobody is to blame for their silence.
    ticked = _at(context.last_tick_completion_time or 0.0)
    unbroken = "since" in cursor and now - ticked < SHORTEST_SILENCE
    since = datetime.fromisoformat(cursor["since"]) if unbroken else now
    return since, {trouble.sensor: trouble for trouble in troubles}


def _at(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
