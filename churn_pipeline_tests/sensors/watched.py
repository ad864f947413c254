"""A code location of small sensors and the one that watches them, for a real daemon to tick.

Belongs here: the definitions, and the switches by which a test makes a sensor fail or hang. Does not: the tests.
"""

from pathlib import Path
from threading import Event

import dagster as dg

from churn_pipeline.resources.alert_channels import RecordedChannel
from churn_pipeline.resources.alert_log import AlertLog
from churn_pipeline.resources.alerting import Alerts
from churn_pipeline.sensors.sensor_alerts import sensor_alerts

#: Sensor → what its ticks raise.
FAULTS: dict[str, Exception] = {}

#: Sensor → what its ticks wait for.
HANGS: dict[str, Event] = {}

#: Where people are told.
CHANNEL = RecordedChannel()


def _sensor(name: str, on: bool = True) -> dg.SensorDefinition:
    status = dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(name=name, minimum_interval_seconds=10, default_status=status, description=f"Carry {name}.")
    def tick():
        if name in HANGS:
            HANGS[name].wait(60)
        if name in FAULTS:
            raise FAULTS[name]
        return dg.SkipReason(f"No {name}.")

    return tick


@dg.resource
def _alerts(context):
    return Alerts(AlertLog(Path(context.instance.root_directory) / "alerts"), [CHANNEL], dagster_url="http://ui.test")


@dg.definitions
def location() -> dg.Definitions:
    """Two sensors that are on, one that is off, and the watching one."""
    sensors = [_sensor("letters"), _sensor("parcels"), _sensor("stamps", on=False), sensor_alerts]
    return dg.Definitions(sensors=sensors, resources={"alerts": _alerts})
