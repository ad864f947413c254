"""What runs around a job: its log, its alerts, its registry.

Belongs here: how each is configured, started and stopped. Does not: the order they start in (`jobs.py`), alerts and
MLflow themselves (`resources/`). No secret stands in a job file: alert URLs and credentials come by environment.
"""

import logging
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from churn_pipeline.deployments import Deployment, Settings
from churn_pipeline.errors import UsageError
from churn_pipeline.resources.alert_channels import AlertChannel, alert_channels
from churn_pipeline.resources.alert_log import AlertLog
from churn_pipeline.resources.alerts import failure_alert
from churn_pipeline.resources.mlflow_connection import check_reachable, configure_mlflow
from churn_pipeline.resources.mlflow_registry import MlflowRegistry

_LOGGER = "churn_pipeline"


class LogNotWritable(UsageError):
    """The file that a job should log to cannot be opened."""


class Configured(BaseModel):
    """A part of a job's configuration: no unknown key, no guessing of types, no change once it is read."""

    # What was given may be a secret, or customers.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class Service(Configured, ABC):
    """Something that is there while a job runs."""

    @abstractmethod
    def start(self) -> None:
        """Make it ready, or raise a `ChurnPipelineError` that says why it cannot be."""

    def stop(self) -> None:
        """Let go of what `start` took; by default of nothing."""


class LoggerService(Service):
    """The log of the package, for as long as a job runs; alerts go to it too where no channel is set."""

    sink: str = Field(default="stderr", description="stderr, or a file to append to.")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(default="INFO", description="Least level to log.")

    _handler: logging.Handler | None = PrivateAttr(None)
    _level_before: int = PrivateAttr(logging.NOTSET)

    def start(self) -> None:
        """Log to the sink.

        Raises:
            LogNotWritable: the file cannot be opened.
        """
        handler = self._opened()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger = logging.getLogger(_LOGGER)
        self._handler, self._level_before = handler, logger.level
        logger.addHandler(handler)
        logger.setLevel(self.level)

    def stop(self) -> None:
        """Leave the package's log as it was found."""
        if self._handler is not None:
            logger = logging.getLogger(_LOGGER)
            logger.removeHandler(self._handler)
            logger.setLevel(self._level_before)
            self._handler.close()
            self._handler = None

    def logger(self) -> logging.Logger:
        """What jobs log to."""
        return logging.getLogger(f"{_LOGGER}.inference_job")

    def _opened(self) -> logging.Handler:
        if self.sink == "stderr":
            return logging.StreamHandler(sys.stderr)
        path = Path(self.sink).expanduser()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return logging.FileHandler(path, encoding="utf-8")
        except OSError as error:
            raise LogNotWritable(
                f"logger_service.sink: {path} cannot be opened: {error.strerror}. Name another file, or 'stderr'."
            ) from None


class AlertsService(Service):
    """Tells people what keeps a job from reaching its run; a run's own end is told by the run."""

    enabled: bool = Field(default=True, description="false: alerts go to the log only, whatever channels are set.")

    _log: AlertLog | None = PrivateAttr(None)
    _channels: list[AlertChannel] = PrivateAttr(default_factory=list)

    def start(self) -> None:
        """Make the channels, sending nothing.

        Raises:
            AlertSettingsWrong: a URL is none that Apprise understands.
        """
        # Settings that have nothing to do with alerts may be wrong: that is what has to be told.
        settings = Settings.from_environment(backend="sklearn", duplicates="keep", export="none", reject_limit="0")
        urls = settings.alert_urls.split() if self.enabled else []
        self._log, self._channels = AlertLog(settings.folder / "alerts"), alert_channels(urls)

    def failed(self, stage: str, cause: str, source: str) -> None:
        """Say that a job stopped outside a run.

        Raises:
            AlertError: a channel did not accept it.
        """
        if self._log is not None:
            # A fault that comes back another day is told again: each attempt is an occasion of its own.
            alert = failure_alert(stage, cause, None, None, source=source, run_id=uuid4().hex)
            self._log.deliver(alert, self._channels)


class MlflowService(Service):
    """Where MLflow is; the deployment's setting where nothing is said."""

    tracking_uri: str | None = Field(default=None, description="MLflow's tracking server or database.")
    registry_uri: str | None = Field(default=None, description="Its registry, where that is another place.")
    timeout_seconds: float = Field(default=10.0, gt=0, description="Longest wait for an answer.")

    @field_validator("tracking_uri", "registry_uri")
    @classmethod
    def _holds_no_secret(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).password:
            raise ValueError("holds a password; set the whole URI in the environment variable MLFLOW_TRACKING_URI")
        return value

    def start(self) -> None:
        """Find out whether anybody is there.

        Raises:
            RegistryUnreachable: nobody is.
            SettingInvalid: the environment holds a value that its setting cannot have.
        """
        registry = self.registry(Settings.from_environment(tracking_uri=self.tracking_uri))
        configure_mlflow(self.timeout_seconds)
        for uri in dict.fromkeys([registry.tracking_uri, registry.registry_uri]):
            check_reachable(uri, self.timeout_seconds)

    def registry(self, settings: Settings) -> MlflowRegistry:
        """The registry of these settings, or the one configured here."""
        tracking_uri = self.tracking_uri or Deployment(lambda: settings).model_registry().tracking_uri
        return MlflowRegistry(tracking_uri, self.registry_uri, self.timeout_seconds)
