"""`churn-pipeline demo`: from nothing to scores, with made-up customers.

Belongs here: the order of the steps, and the summary. Does not: the steps.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.scoring import deployment_of, require_home

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from rich.console import RenderableType

    from churn_pipeline.deployments import Deployment
    from churn_pipeline.runs import Outcome

_TOP = 10


@click.command(cls=Command)
def demo() -> Answer:
    """From nothing to scores, with made-up customers.

    Makes sample files and trains a model if there are none yet, then scores. Run again, it only scores.
    """
    from churn_pipeline import runs
    from churn_pipeline.cli.progress_bar import progress_bar
    from churn_pipeline.resources.run_history import local_instance

    deployment = deployment_of()
    require_home(deployment)
    make_samples(deployment)
    with local_instance(deployment.settings.folder) as instance:
        train_if_needed(deployment, instance)
        _say("Scoring …")
        with progress_bar("Starting") as progress:
            outcome = runs.score(deployment, runs.Request(), instance, progress=progress)
    return Answer(_summary(deployment, outcome))


def make_samples(deployment: Deployment) -> None:
    """Make the sample files that settings name and that are not there; only those of the default settings."""
    from churn_pipeline.deployments import Settings
    from churn_pipeline.io_managers.exports import export_file
    from churn_pipeline.sample import sample

    settings, usual, contract = deployment.settings, Settings(), deployment.contract()
    for given, default, rows, seed, label, broken in (
        (settings.training_source, usual.training_source, 2000, 1, True, 0),
        (settings.source, usual.source, 1000, 2, False, 7),
    ):
        path = Path(given)
        if given == default and not path.exists():
            _say(f"Making {path}: {rows:,} made-up customers …")
            table = sample(contract, rows, seed=seed, label=label, broken=broken)
            export_file(path, table.to_batches(), table.schema)


def train_if_needed(deployment: Deployment, instance: DagsterInstance) -> None:
    """Train and register a model on the training source, unless there is one."""
    from churn_pipeline import runs
    from churn_pipeline.cli.progress_bar import progress_bar

    if _has_model(deployment):
        return
    _say("Training a model: there is none yet …")
    with progress_bar("Training"):
        trained = runs.train(deployment, None, None, instance)
    _say(f"{trained.model_name} version {trained.model_version}: {trained.verdict}")


def _has_model(deployment: Deployment) -> bool:
    from churn_pipeline.resources.model_registry import RegisteredModelNotFound, UnknownAlias

    settings = deployment.settings
    try:
        deployment.model_registry().find(settings.model, settings.alias)
    except (RegisteredModelNotFound, UnknownAlias):
        return False
    return True


def _summary(deployment: Deployment, outcome: Outcome) -> list[RenderableType]:
    from churn_pipeline.cli import report
    from churn_pipeline.cli.show import as_table, most_at_risk
    from churn_pipeline.io_managers.scored_batches import Ledger

    contract = deployment.contract()
    handle = Ledger(deployment.table_store()).open("churn_predictions", outcome.row)
    rows = most_at_risk(handle, contract, _TOP) if handle else []
    told = "sent" if outcome.alert_sent else "sent when this batch was scored first, not again"
    return [
        "",
        report.heading(outcome.alert.title),
        "",
        report.scored(outcome.row, report.unit_of(contract), {"Tables": report.stored(outcome.tables)}),
        "",
        report.heading(f"The {len(rows)} customers with most revenue at risk"),
        as_table(rows, contract),
        report.heading(f"The alert ({told})"),
        *[f"  {line}" for line in outcome.alert.text.splitlines()],
        "",
        report.heading("Next"),
        "  churn-pipeline score YOUR_FILE.csv    score customers of your own",
        "  churn-pipeline show --top 20          whom to call first",
        "  make dev                              the same in Dagster's UI, with lineage and checks",
    ]


def _say(step: str) -> None:
    click.echo(step, err=True)
