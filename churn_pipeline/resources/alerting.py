"""Telling people, once: a batch that is done or failed, or a sensor in trouble, is one alert on every channel.

Belongs here: what a sensor and the command line both call. Does not: words (`alerts.py`), channels
(`alert_channels.py`), the record of what was sent (`alert_log.py`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from churn_pipeline.ledger import ScoredBatch
from churn_pipeline.resources.alert_channels import AlertChannel
from churn_pipeline.resources.alert_log import AlertLog
from churn_pipeline.resources.alerts import (
    Alert,
    SensorTrouble,
    completion_alert,
    failure_alert,
    sensor_alert,
    sensor_recovery_alert,
)


class Alerts:
    """Where alerts of a deployment go.

    Args:
        unit: of the revenue at risk.
        dagster_url: where people see runs; empty if there is no such place.
    """

    def __init__(self, log: AlertLog, channels: Sequence[AlertChannel], unit: str = "", dagster_url: str = "") -> None:
        self.log = log
        self._channels = channels
        self._unit = unit
        self._dagster_url = dagster_url.rstrip("/")

    def completion(self, row: ScoredBatch) -> Alert:
        """The alert of a finished batch, whether sent or not."""
        return completion_alert(row, self.link(row.run_id), self._unit)

    def completed(self, row: ScoredBatch) -> bool:
        """Say that a batch is done; returns False if that was said before."""
        return self.log.deliver(self.completion(row), self._channels)

    def failed(self, stage: str, cause: str, batch_id: str | None, run_id: str, source: str | None = None) -> bool:
        """Say that a batch failed; returns False if that was said before.

        What failed before it was a batch or a run, such as a missing file, is said once a day.
        """
        occasion = run_id or datetime.now(UTC).date().isoformat()
        alert = failure_alert(stage, cause, batch_id, self.link(run_id), source=source, run_id=occasion)
        return self.log.deliver(alert, self._channels)

    def sensor_stopped(self, trouble: SensorTrouble, cause: str, task: str, location: str) -> bool:
        """Say that a sensor fails or does not tick; returns False if that was said before.

        Args:
            location: the code location that the sensor is in; empty if it is not known.
        """
        alert = sensor_alert(trouble, cause, task, self._sensor_link(trouble.sensor, location))
        return self.log.deliver(alert, self._channels)

    def sensor_recovered(self, trouble: SensorTrouble, task: str, location: str) -> bool:
        """Say that the sensor does its work again; returns False if that was said before."""
        alert = sensor_recovery_alert(trouble, task, self._sensor_link(trouble.sensor, location))
        return self.log.deliver(alert, self._channels)

    def _sensor_link(self, sensor: str, location: str) -> str | None:
        if not self._dagster_url or not location:
            return None
        return f"{self._dagster_url}/locations/{quote(location, safe='')}/sensors/{sensor}"

    def link(self, run_id: str) -> str | None:
        """Page of a run."""
        return f"{self._dagster_url}/runs/{run_id}" if self._dagster_url and run_id else None
