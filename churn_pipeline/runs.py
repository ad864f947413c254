"""A job, run in this process: what the command line and `InferenceJob` share.

Belongs here: planning, starting a job on an instance, and telling what came of it. Does not: words for people
(`cli/`), what a job does (`jobs.py`, `assets/`).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import dagster as dg

from churn_pipeline import jobs
from churn_pipeline.assets.customers import read_limit
from churn_pipeline.assets.reasons import told
from churn_pipeline.batches import TOPIC_SCHEME, Batch
from churn_pipeline.contract.definition import nearest
from churn_pipeline.contract.validation import RejectLimit
from churn_pipeline.deployments import Deployment
from churn_pipeline.errors import AlertError, ChurnPipelineError, TableError, UsageError
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.kernel.explanations.reasons import explanation_of
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan as KernelPlan
from churn_pipeline.ledger import ScoredBatch
from churn_pipeline.resources.alerting import Alerts
from churn_pipeline.resources.alerts import Alert
from churn_pipeline.resources.customer_sources.base import without_password
from churn_pipeline.resources.customer_sources.duplicates import policy_of
from churn_pipeline.resources.run_processes import (
    BATCH_TAG,
    HOST,
    frozen_heap,
    lost_runs,
    spare_memory,
    this_process,
)
from churn_pipeline.sensors.batch_alerts import stage_and_cause

#: Metrics of a trained version, as `training/evaluation.py` names them.
METRICS = ("roc_auc", "average_precision", "brier", "log_loss", "lift_top_decile", "base_rate")

_log = logging.getLogger(__name__)


class BatchUnknown(UsageError):
    """A batch was named that the ledger does not have."""


class CheckFailed(TableError):
    """A blocking check found a table of the batch wrong; nothing that follows it was written."""


@dataclass(frozen=True)
class Request:
    """What to score; None stands for the deployment's setting.

    Attributes:
        batch: bounds fixed by `plan_scoring`.
        model: alias or version.
        reasons: how many up, and how many down, stand on each row.
        update_current: whether a batch that is scored again replaces current scores.
    """

    source: str | None = None
    batch: Batch | None = None
    limit: int | None = None
    model: str | None = None
    backend: str | None = None
    reasons: int | None = None
    reject_limit: str | None = None
    duplicates: str | None = None
    update_current: bool = False

    def __post_init__(self) -> None:
        """
        Raises:
            SecretInLocation: the source holds a password.
        """
        without_password(self.source or "")


@dataclass(frozen=True)
class Plan:
    """What a run would do. Planning writes nothing but the snapshot of what a database answered.

    Attributes:
        reasons: what the reasons on the rows would be, as the ledger says it; None if none are asked for.
    """

    batch: Batch
    model: ModelVersion
    backend: str
    backend_reason: str
    kernel: KernelPlan
    reasons: dict[str, Any] | None
    reject_limit: RejectLimit
    duplicates: str
    columns: dict[str, list[str]]
    tables: dict[str, str]
    done: ScoredBatch | None


@dataclass(frozen=True)
class Outcome:
    """What a scoring run did.

    Attributes:
        tables: name → location.
        alert: the completion alert, and whether this run sent it (a batch is announced once).
    """

    row: ScoredBatch
    tables: dict[str, str]
    alert: Alert
    alert_sent: bool


@dataclass(frozen=True)
class Trained:
    """What a training run did; `metrics` are on the holdout."""

    model_name: str
    model_version: str
    promoted: bool
    verdict: str
    metrics: dict[str, float]
    tracking_uri: str


def plan_scoring(deployment: Deployment, request: Request) -> Plan:
    """Fix the bounds, resolve the model version, hold columns and signature against the contract; write no table.

    Raises:
        ChurnPipelineError: what would stop the run before it reads a customer.
    """
    contract, defaults = deployment.contract(), deployment.defaults()
    source = deployment.open_source(request.source or defaults.source)
    batch = request.batch or source.plan(request.limit)
    columns = source.columns(batch)
    for partition, present in columns.items():
        contract.check_columns(present, partition)
    inference, registry = deployment.inference(), deployment.model_registry()
    asked = request.model or defaults.alias
    model = registry.resolve(defaults.model_name, asked, contract, may_fall_back=inference.may_fall_back)
    choice = inference.choose(request.backend or defaults.backend, lambda: source.about(batch), model)
    kernel, most = choice.engine.plan(model), defaults.reasons if request.reasons is None else request.reasons
    store = deployment.table_store()
    return Plan(
        batch=batch,
        model=model,
        backend=choice.backend,
        backend_reason=choice.reason,
        kernel=kernel,
        reasons=told(explanation_of(kernel), most) if most else None,
        reject_limit=read_limit(request.reject_limit, defaults.reject_limit),
        duplicates=policy_of(request.duplicates or defaults.duplicates),
        columns=columns,
        tables={name: store.location(name) for name in jobs.TABLES},
        done=next(iter(Ledger(store).find(batch)), None),
    )


def plan_again(
    deployment: Deployment,
    what: str,
    model: str | None,
    bounds: Mapping[int, tuple[int, int]] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Request:
    """What scores records once more, by the model version that an alias or a version number stands for now.

    Args:
        what: id of a batch that is done; or `kafka:TOPIC`, for messages of it (see `TopicBatches.again`).

    Raises:
        BatchUnknown: the ledger has no such batch.
        NothingToScore, MessagesLost: the topic has no such messages, or has them no longer.
    """
    defaults = deployment.defaults()
    version = deployment.model_registry().resolve(defaults.model_name, model or defaults.alias, deployment.contract())
    again = f"{version.name}/{version.version}"
    if what.startswith(TOPIC_SCHEME):
        topic = deployment.topic_batches(what.removeprefix(TOPIC_SCHEME))
        return Request(batch=topic.again(again, bounds, since, until), model=version.version)
    done = {row.batch.id: row.batch for row in Ledger(deployment.table_store()).all()}
    if what not in done:
        raise BatchUnknown(
            f"The ledger has no batch {what!r}{nearest(what, done)}. churn-pipeline batches lists those that are done."
        )
    return Request(batch=replace(done[what], again=again), model=version.version)  # type: ignore[type-var]


def score(deployment: Deployment, request: Request, instance: dg.DagsterInstance, **overrides: Any) -> Outcome:
    """Run the job `score_customers` in this process, and alert.

    The batch is planned first and travels in the run's configuration, so that a retry from the UI reads the same.

    Args:
        overrides: role → plain object, in place of the deployment's.

    Raises:
        ChurnPipelineError: what stopped the run; people have been told.
    """
    alerts, source = deployment.alerts(), request.source or deployment.defaults().source
    try:
        open_source = overrides.get("customer_source", deployment.open_source)
        batch = request.batch or open_source(source).plan(request.limit)
    except ChurnPipelineError as error:
        _tell(alerts, error, "customers", str(error), None, "", source)
        raise
    config = {
        "read_customers": _given(
            batch=batch.to_json(),
            reject_limit=request.reject_limit,
            duplicates=request.duplicates,
            backend=request.backend,
        ),
        "churn_model": _given(alias_or_version=request.model),
        "score_customers_of_batch": _given(backend=request.backend, reasons=request.reasons),
        "current_churn_scores": _given(update=request.update_current or None),
    }
    run_id = str(uuid4())
    try:
        _run("score_customers", deployment, config, instance, run_id, {BATCH_TAG: batch.id}, overrides)
    except Exception as error:
        # Whatever it was, people hear of it before it goes on its way.
        stage, cause = _why(instance, run_id, error)
        _tell(alerts, error, stage, cause, batch.id, run_id, source)
        if type(error).__name__ == "DagsterAssetCheckFailedError":
            raise CheckFailed(
                f"A check stopped batch {batch.id} at {stage}. {cause} Nothing after it was written, and the batch "
                f"does not count as done. Look at the checks of run {run_id}, then score it again."
            ) from error
        raise
    store = overrides.get("table_store") or deployment.table_store()
    row = next(row for row in Ledger(store).find(batch))
    sent = not batch.again and alerts.completed(row)
    return Outcome(row, {name: store.location(name) for name in jobs.TABLES}, alerts.completion(row), sent)


def train(
    deployment: Deployment,
    source: str | None,
    estimator: str | None,
    instance: dg.DagsterInstance,
    engine: str | None = None,
) -> Trained:
    """Run the job `train_model` in this process.

    Args:
        engine: `sklearn` or `spark`.

    Raises:
        ChurnPipelineError: what stopped the run.
    """
    without_password(source or "")
    config = {"training_customers": _given(source=source), "trained_model": _given(estimator=estimator, engine=engine)}
    result = _run("train_model", deployment, config, instance, str(uuid4()), {}, {})
    said = {name: value.value for name, value in _metadata(result, "trained_model").items()}
    metrics = {name: value for name, value in said.items() if name in METRICS}
    return Trained(
        str(said["model_name"]),
        str(said["model_version"]),
        bool(said["promoted"]),
        str(said["verdict"]),
        metrics,
        str(said["tracking_uri"]),
    )


def _run(
    job: str,
    deployment: Deployment,
    config: dict[str, Any],
    instance: dg.DagsterInstance,
    run_id: str,
    tags: dict[str, str],
    overrides: dict[str, Any],
) -> dg.ExecuteInProcessResult:
    _end_lost_runs(instance)
    definitions = jobs.code_location({**deployment.resources(), **overrides})
    spare_memory()
    with frozen_heap():
        return definitions.resolve_job_def(job).execute_in_process(
            run_config={
                "ops": {name: {"config": given} for name, given in config.items()},
                # Not louder than this module's logger, which the command line turns down.
                "loggers": {"console": {"config": {"log_level": _loudness()}}},
            },
            instance=instance,
            run_id=run_id,
            tags={**tags, **this_process()},
        )


def _end_lost_runs(instance: dg.DagsterInstance) -> None:
    """Close the runs of this machine whose process was killed.

    Cancelled, not failed: the next attempt, which finds them, is under way, and one batch is one alert.
    """
    for run in lost_runs(instance, {HOST: socket.gethostname()}):
        instance.report_run_canceled(run, "The process of this run ended before it was done; the batch was not.")


def _tell(alerts: Alerts, error: Exception, *said: Any) -> None:
    """Alert that a run failed; that nobody could be told must not hide why it failed."""
    try:
        alerts.failed(*said)
    except AlertError as unsent:
        _log.error("%s", unsent)
        unsent.__context__ = None
        first: BaseException = error
        while first.__context__ is not None:
            first = first.__context__
        first.__context__ = unsent  # whoever explains the error finds both


def _loudness() -> str:
    return logging.getLevelName(max(logging.WARNING, logging.getLogger(__name__).getEffectiveLevel()))


def _why(instance: dg.DagsterInstance, run_id: str, error: Exception) -> tuple[str, str]:
    run = instance.get_run_by_id(run_id)
    stage, cause = stage_and_cause(instance, run) if run else ("run start", f"{type(error).__name__}.")
    return stage, str(error) if isinstance(error, ChurnPipelineError) else cause


def _metadata(result: dg.ExecuteInProcessResult, asset: str) -> Mapping[str, Any]:
    found = [
        event.materialization.metadata
        for event in result.get_asset_materialization_events()
        if event.materialization.asset_key.path[-1] == asset
    ]
    return found[-1]


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
