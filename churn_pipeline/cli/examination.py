"""What `doctor` looks at, one function a thing: reachable, permitted, of which version, fitting the contract.

Belongs here: looking without writing, and the fix in words. Does not: Kafka (`examination_kafka.py`), the daemon
(`examination_daemon.py`), Spark (`examination_spark.py`), the table it is shown in (`doctor.py`).
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from churn_pipeline.cli.findings import Finding, Status, found_by
from churn_pipeline.cli.output import require_writable
from churn_pipeline.errors import ChurnPipelineError

if TYPE_CHECKING:
    from churn_pipeline.deployments import Deployment

#: Free disk below which a run is likely to fail, and below which someone should look.
_TOO_LITTLE, _LITTLE = 200_000_000, 2_000_000_000


def examine(contract: str | None) -> list[Finding]:
    """Look at everything; what cannot be looked at because of an earlier fault says so."""
    from churn_pipeline.cli.examination_daemon import daemon_findings
    from churn_pipeline.cli.examination_kafka import kafka_findings
    from churn_pipeline.cli.examination_spark import spark_findings
    from churn_pipeline.cli.scoring import deployment_of

    findings = [_python()]
    try:
        deployment = deployment_of(contract=contract)
    except ChurnPipelineError as error:
        return [*findings, Finding("settings", "fault", "", str(error))]
    # Labelled customers are needed to train, and a run that scores does without; whoever scores a topic needs no file.
    dispensable = {"training source", "source"} if deployment.settings.kafka_topic else {"training source"}
    for subject, look in _LOOKS.items():
        found = found_by(subject, partial(look, deployment), findings)
        bearable = subject in dispensable and found.status == "fault"
        findings.append(replace(found, status="look") if bearable else found)
    findings += spark_findings(deployment, findings)
    return [*findings, *kafka_findings(deployment), *daemon_findings(deployment)]


def _python() -> Finding:
    return Finding("python", "ok", f"Python {platform.python_version()}, churn-pipeline {version('churn-pipeline')}.")


def _contract(deployment: Deployment) -> Finding:
    found = deployment.contract()
    return Finding("contract", "ok", f"{found.name}: {len(found.features)} features of {found.id.column}.")


def _home(deployment: Deployment) -> Finding:
    from churn_pipeline.cli.report import size

    home = deployment.settings.folder
    require_writable(home, folder=True)
    there = next(folder for folder in (home, *home.parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    found = f"{home} {'can be written' if home.is_dir() else 'can be made'}; {size(free)} free."
    if free > _LITTLE:
        return Finding("home", "ok", found)
    status: Status = "fault" if free < _TOO_LITTLE else "look"
    return Finding("home", status, found, "Free space, or set CHURN_HOME to another disk.")


def _tables(deployment: Deployment) -> Finding:
    from churn_pipeline.cli.report import count, moment
    from churn_pipeline.io_managers.scored_batches import Ledger

    store = deployment.table_store()
    folder = store.location("scored_batches").rpartition("/")[0]
    if "://" not in folder:
        require_writable(Path(folder), folder=True)
    tables, rows = store.tables(), Ledger(store).all()
    last = f", the last at {moment(rows[0].scored_at)} UTC" if rows else ""
    return Finding("tables", "ok", f"{folder}: {count(len(tables), 'table')}, {count(len(rows), 'batch')}{last}.")


def _registry(deployment: Deployment) -> Finding:
    from churn_pipeline.cli.report import count

    registry = deployment.model_registry()
    names = registry.names()
    return Finding("registry", "ok", f"{registry.location}: {count(len(names), 'model')}; MLflow {version('mlflow')}.")


def _model(deployment: Deployment) -> Finding:
    from churn_pipeline.kernel.explanations.reasons import explanation_of

    settings = deployment.settings
    model = deployment.model_registry().resolve(settings.model, settings.alias, deployment.contract())
    plan = deployment.inference().choose("sklearn").engine.plan(model)
    if settings.reasons_on_a_row():
        explanation_of(plan)
    found = (
        f"{settings.alias} is {model}: it fits the contract and scores its example; threshold {model.threshold:.3g}. "
        f"Scored by {plan}."
    )
    return Finding("model", "ok", found)


def _source(deployment: Deployment) -> Finding:
    return _customers("source", deployment, deployment.settings.source, with_label=False)


def _training_source(deployment: Deployment) -> Finding:
    return _customers("training source", deployment, deployment.settings.training_source, with_label=True)


def _customers(subject: str, deployment: Deployment, location: str, *, with_label: bool) -> Finding:
    from churn_pipeline.batches import TOPIC_SCHEME
    from churn_pipeline.cli.report import source_of
    from churn_pipeline.resources.customer_sources.sql_queries import SqlSource

    if location.startswith(TOPIC_SCHEME):
        return Finding(subject, "ok", f"{location}: a topic, whose messages name their own columns.")
    source = deployment.open_source(location)
    if isinstance(source, SqlSource):
        deployment.contract().check_columns(source.look(), location, with_label=with_label)
        return Finding(subject, "ok", f"{location}: the database answers, with every column of the contract.")
    batch = source.plan()
    for partition, names in source.columns(batch).items():
        deployment.contract().check_columns(names, partition, with_label=with_label)
    return Finding(subject, "ok", f"{source_of(batch)}: every column of the contract.")


def _alerts(deployment: Deployment) -> Finding:
    from churn_pipeline.resources.alert_channels import alert_channels

    channels = alert_channels(deployment.settings.alert_urls.split())
    names = [str(getattr(channel, "where", channel.id)) for channel in channels]
    if names == ["log"]:
        return Finding("alerts", "look", "Only the log is told.", "Set CHURN_ALERT_URLS to reach people.")
    return Finding("alerts", "ok", f"{', '.join(names)}. Nothing was sent.")


def _dagster(deployment: Deployment) -> Finding:
    folder = Path(os.environ.get("DAGSTER_HOME") or deployment.settings.folder / "dagster")
    require_writable(folder, folder=True)
    there = "runs are kept in" if folder.is_dir() else "runs will be kept in"
    return Finding("dagster", "ok", f"Dagster {version('dagster')}; {there} {folder}.")


_LOOKS: dict[str, Callable[[Deployment], Finding]] = {
    "contract": _contract,
    "home": _home,
    "tables": _tables,
    "registry": _registry,
    "model": _model,
    "source": _source,
    "training source": _training_source,
    "alerts": _alerts,
    "dagster": _dagster,
}
