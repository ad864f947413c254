"""Where training writes down what it did: MLflow runs by `dagster_mlflow`, always closed.

Belongs here: opening and closing a run. Does not: what is written into it (`training/registration.py`), registered
models (`mlflow_registry.py`).
"""

from __future__ import annotations

import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from churn_pipeline.errors import ModelError, UsageError
from churn_pipeline.resources.mlflow_connection import (
    check_reachable,
    configure_mlflow,
    database_file,
    ensure_database,
    error_code,
    explained,
    redacted,
)

_log = logging.getLogger(__name__)


class RunAlreadyOpen(UsageError):
    """An MLflow run is already open in this thread, and a new one would write into it."""


class ExperimentDeleted(ModelError):
    """The MLflow experiment was deleted; MLflow keeps its name."""


class ExperimentTracking(ABC):
    """Where runs are written down.

    Attributes:
        location: for people: the tracking URI without credentials.
    """

    location: str

    @abstractmethod
    def run(self, run_id: str, job_name: str, log: Any = None) -> AbstractContextManager[Any]:
        """Open the MLflow run of a Dagster run; the same one again when that Dagster run is retried from failure.

        It ends FINISHED, FAILED on an error, KILLED on an interrupt: no other way leaves the block.

        Args:
            run_id: Dagster's.
            job_name: becomes the name of the MLflow run.
            log: Dagster's logger, or any other.

        Yields:
            `dagster_mlflow.MlFlow`: every function of `mlflow`, and the run's id as `mlflow_run_id`.

        Raises:
            RegistryUnreachable, RegistryRefused, RunAlreadyOpen, ExperimentDeleted
        """


class MlflowTracking(ExperimentTracking):
    """Runs of an MLflow server or database.

    Args:
        artifact_location: URI or folder for the experiment's files, used when the experiment is made; None leaves it
            to the server. MLflow's own default beside a database is the working directory, so it is not for SQLite.
        timeout_seconds: longest wait to find out that nobody is there.
    """

    def __init__(
        self,
        tracking_uri: str,
        experiment: str = "churn",
        artifact_location: str | None = None,
        timeout_seconds: float = 10,
    ) -> None:
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.artifact_location = artifact_location or _beside(tracking_uri)
        self.timeout_seconds = timeout_seconds
        self.location = redacted(tracking_uri)

    @contextmanager
    def run(self, run_id: str, job_name: str, log: Any = None) -> Iterator[Any]:
        self._make_experiment()
        opened = self._open(run_id, job_name, log)
        try:
            yield opened
        except BaseException as error:
            # dagster_mlflow tells an interrupt by its type alone, and Dagster's own interrupt is another one.
            self._close(opened, "FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        self._close(opened, "FINISHED")

    def _open(self, run_id: str, job_name: str, log: Any) -> Any:
        import mlflow

        if left := mlflow.active_run():
            raise RunAlreadyOpen(
                f"MLflow run {left.info.run_id} is still open in this thread. Call mlflow.end_run() before training."
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*beta")
            from dagster_mlflow.resources import MlFlow

            context = SimpleNamespace(
                log=log or _log,
                run_id=run_id,
                dagster_run=SimpleNamespace(job_name=job_name),
                resource_config={"mlflow_tracking_uri": self.tracking_uri, "experiment_name": self.experiment},
            )
            with explained(self.tracking_uri, "open a run"):
                opened = MlFlow(context)
        opened.mlflow_run_id = mlflow.active_run().info.run_id
        return opened

    def _close(self, opened: Any, status: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            opened.end_run(status=status)
        except MlflowException as error:
            # Not raised: it would hide what went wrong before, or fail what went right.
            _log.warning(
                "MLflow run %s could not be closed as %s (%s).", opened.mlflow_run_id, status, error_code(error)
            )

    def _make_experiment(self) -> None:
        configure_mlflow(self.timeout_seconds)
        check_reachable(self.tracking_uri, self.timeout_seconds)
        ensure_database(self.tracking_uri)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(self.tracking_uri, self.tracking_uri)
        with explained(self.tracking_uri, f"make the experiment {self.experiment}"):
            found = client.get_experiment_by_name(self.experiment)
            if found is None:
                try:
                    client.create_experiment(self.experiment, artifact_location=self.artifact_location)
                except MlflowException as error:
                    if error_code(error) != "RESOURCE_ALREADY_EXISTS":
                        raise
            elif found.lifecycle_stage == "deleted":
                raise ExperimentDeleted(
                    f"The experiment {self.experiment!r} at {self.location} was deleted. Restore it with "
                    f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or choose another name."
                )


class RecordedRun:
    """What was written into one run of `InMemoryTracking`."""

    def __init__(self, run_id: str) -> None:
        self.mlflow_run_id = uuid4().hex
        self.status = "RUNNING"
        self.params: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, Any] = {"dagster_run_id": run_id}
        self.files: dict[str, Any] = {}

    def log_params(self, params: Mapping[str, Any]) -> None:
        self.params.update(params)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        self.metrics.update(metrics)

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        self.tags.update(tags)

    def log_dict(self, dictionary: Any, artifact_file: str) -> None:
        self.files[artifact_file] = dictionary

    def log_artifact(self, local_path: str) -> None:
        self.files[Path(local_path).name] = Path(local_path).read_bytes()


class InMemoryTracking(ExperimentTracking):
    """Runs of this process, kept in `runs`: for tests and trials."""

    location = "memory"

    def __init__(self) -> None:
        self.runs: list[RecordedRun] = []

    @contextmanager
    def run(self, run_id: str, job_name: str, log: Any = None) -> Iterator[RecordedRun]:
        recorded = RecordedRun(run_id)
        recorded.tags["mlflow.runName"] = job_name
        self.runs.append(recorded)
        try:
            yield recorded
        except BaseException as error:
            recorded.status = "FAILED" if isinstance(error, Exception) else "KILLED"
            raise
        recorded.status = "FINISHED"
        (log or _log).debug("Run %s is finished.", recorded.mlflow_run_id)


def _beside(uri: str) -> str | None:
    """Folder for files beside a SQLite database; None for a server, which knows its own."""
    file = database_file(uri)
    return file.resolve().with_name("mlflow-artifacts").as_uri() if file else None
