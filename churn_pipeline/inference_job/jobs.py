"""Jobs: a strict, frozen configuration that can be run.

Belongs here: the base class with its services, and `InferenceJob`. Does not: reading job files (`job_files.py`),
scoring, which is the asset graph's (`runs.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, field_validator
from pydantic.json_schema import SkipJsonSchema

from churn_pipeline import runs
from churn_pipeline.assets.prediction_rows import predictions_schema, stream_predictions
from churn_pipeline.contract.validation import RejectLimit
from churn_pipeline.deployments import Deployment, Settings
from churn_pipeline.errors import ChurnPipelineError, explanations
from churn_pipeline.inference_job.readers import (
    DeltaReader,
    FilesReader,
    MemoryReader,
    RegistryLoader,
    SqlReader,
    TablesWriter,
)
from churn_pipeline.inference_job.services import AlertsService, Configured, LoggerService, MlflowService, Service
from churn_pipeline.io_managers.base import TableHandle
from churn_pipeline.io_managers.exports import export_file
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.resources.customer_sources.base import CustomerSource
from churn_pipeline.resources.mlflow_registry import MlflowRegistry
from churn_pipeline.resources.run_history import local_instance

#: A job's results by name.
Locals = dict[str, Any]


class Job(Configured, ABC):
    """Work with services around it.

    `run()` starts and stops the services itself; as a context manager a job keeps them for longer. All are started
    before anything is read, and stopped in reverse order, also after a failure, which is logged and alerts.
    """

    KIND: str

    logger_service: LoggerService = Field(default_factory=LoggerService)
    alerts_service: AlertsService = Field(default_factory=AlertsService)
    mlflow_service: MlflowService = Field(default_factory=MlflowService)

    _running: ExitStack | None = PrivateAttr(None)
    _stage: str = PrivateAttr("services")
    _told: bool = PrivateAttr(False)

    @abstractmethod
    def run(self) -> Locals:
        """Do the work; returns its results by name."""

    @property
    @abstractmethod
    def subject(self) -> str:
        """What the job works on, for alerts."""

    def __enter__(self) -> Self:
        self._running, self._stage = ExitStack(), "services"
        services: tuple[Service, ...] = (self.logger_service, self.alerts_service, self.mlflow_service)
        try:
            for service in services:
                # Registered first: what a start that fails has taken is let go of too.
                self._running.callback(service.stop)
                service.start()
        except Exception as error:
            self._tell(error)
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Work within the services, started unless they run already; a failure is logged and alerts, once."""
        with nullcontext() if self._running else self:
            self._stage, self._told = "settings", False
            try:
                yield
            except Exception as error:
                (self._log if self._told else self._tell)(error)
                raise

    def _tell(self, error: Exception) -> None:
        """Log and alert."""
        cause = self._log(error)
        try:
            self.alerts_service.failed(self._stage, cause, self.subject)
        except ChurnPipelineError as refused:
            self._log(refused)

    def _log(self, error: Exception) -> str:
        """One sentence; the words of an error that is not ours may quote a customer."""
        ours = explanations(error)
        cause = str(ours[0]) if ours else f"{type(error).__name__}. Look at the run's log."
        # Not `exception`: a traceback says nothing more to whoever runs a job.
        self.logger_service.logger().error("Stopped at %s: %s", self._stage, cause)
        return cause


class InferenceJob(Job):
    """Score one batch of customers with a registered model."""

    KIND: Literal["InferenceJob"] = "InferenceJob"

    inputs: Annotated[FilesReader | DeltaReader | SqlReader | SkipJsonSchema[MemoryReader], Field(discriminator="KIND")]
    outputs: TablesWriter = Field(default_factory=TablesWriter)
    alias_or_version: str | int = Field(default="champion", description="Alias or version of the model.")
    loader: RegistryLoader = Field(default_factory=RegistryLoader)
    contract: str | None = Field(default=None, description="Contract: a shipped name or a YAML file.")
    backend: Literal["sklearn", "spark", "auto"] | None = Field(default=None, description="What scores.")
    reasons: int | None = Field(default=None, ge=0, description="Reasons on each row: this many up, and down.")
    reject_limit: str | int | float | None = Field(default=None, description="Most rejected rows: a count or a share.")
    duplicates: Literal["keep", "last", "reject"] | None = Field(
        default=None, description="Rows with an id seen before."
    )

    @field_validator("reject_limit")
    @classmethod
    def _is_a_limit(cls, value: str | int | float | None) -> str | int | float | None:
        if value is not None:
            try:
                RejectLimit.parse(str(value))
            except ValueError:
                raise ValueError("is no limit; write a count such as 100, or a share such as 0.05") from None
        return value

    @property
    def subject(self) -> str:
        """What is read."""
        return self.inputs.name

    def run(self) -> Locals:
        """Run the asset graph on the inputs, in this process.

        Returns:
            `inputs` and `outputs` (handles that open the customers and their predictions), `model` (the version),
            `shape` (rows, columns), `batch`, `ledger_row`, `alert` (the completion alert), `tables` (name →
            location), `file` (path, or None).

        Raises:
            ChurnPipelineError: what stopped it; it was logged and people have been told.
        """
        with self.attended():
            logger = self.logger_service.logger()
            deployment = _JobDeployment(self)
            # What is wrong with a setting comes out here: from there on the run tells of its own failures.
            contract, home = deployment.contract(), deployment.settings.folder
            deployment.alerts()
            logger.info("Score %s by model version %s.", self.subject, self.alias_or_version)
            with local_instance(home) as instance:
                self._stage, self._told = "scoring", True
                outcome = runs.score(deployment, self._request(), instance)
            self._stage, self._told = "outputs", False
            results = _results(deployment, outcome)
            if self.outputs.file:
                rows = stream_predictions(results["outputs"], contract)
                export_file(Path(self.outputs.file), rows, predictions_schema(contract))
            row = outcome.row
            logger.info("Scored %d of %d rows as batch %s.", row.rows_scored, row.rows_read, row.batch.id)
            return {**results, "file": self.outputs.file}

    def _request(self) -> runs.Request:
        return runs.Request(
            source=self.subject,
            limit=self.inputs.limit,
            model=str(self.alias_or_version),
            backend=self.backend,
            reasons=self.reasons,
            reject_limit=None if self.reject_limit is None else str(self.reject_limit),
            duplicates=self.duplicates,
        )


class _JobDeployment(Deployment):
    """The deployment of the environment, with what a job says otherwise."""

    def __init__(self, job: InferenceJob) -> None:
        settings = Settings.from_environment(
            contract=job.contract,
            model=job.loader.model,
            tables=job.outputs.tables,
            tracking_uri=job.mlflow_service.tracking_uri,
            alert_urls=None if job.alerts_service.enabled else "",
        )
        super().__init__(lambda: settings)
        self._job = job
        self._source = job.inputs.open(Deployment(lambda: settings))

    def open_source(self, location: str) -> CustomerSource:  # noqa: ARG002  a job reads its own inputs only
        return self._source

    def model_registry(self) -> MlflowRegistry:
        return self._job.mlflow_service.registry(self.settings)


def _results(deployment: Deployment, outcome: runs.Outcome) -> Locals:
    row, ledger = outcome.row, Ledger(deployment.table_store())
    return {
        "inputs": _opened(ledger.open("customers", row)),
        "model": ModelVersion.from_json(deployment.run_values().of_run(row.run_id, "churn_model") or {}),
        "outputs": _opened(ledger.open("churn_predictions", row)),
        "shape": row.output_shape,
        "batch": row.batch,
        "ledger_row": row,
        "alert": outcome.alert,
        "tables": outcome.tables,
    }


def _opened(handle: TableHandle | None) -> TableHandle:
    assert handle is not None, "the ledger has a row for tables that are not there"
    return handle
