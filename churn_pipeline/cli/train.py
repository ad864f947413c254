"""`churn-pipeline train`: labelled customers in, a registered version out.

Belongs here: the command. Does not: training (`training/`), the gate (`training/promotion.py`).
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from churn_pipeline.cli.command import Answer, Command, OneOf
from churn_pipeline.cli.scoring import contract_option, deployment_of, require_home

if TYPE_CHECKING:
    from rich.console import RenderableType

    from churn_pipeline.runs import Trained

# As in training/estimators.py, whose import would slow down `--help`; a test holds them equal.
ESTIMATORS = ("logistic_regression", "gradient_boosting", "hist_gradient_boosting", "random_forest")

#: Metric → how people call it.
_METRICS = {
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "lift_top_decile": "Lift in the top decile",
    "base_rate": "Share that churned",
}


@click.command(cls=Command, json=True)
@click.argument("source")
@contract_option
@click.option("--estimator", type=OneOf(ESTIMATORS), help="What to fit.")
@click.option("--engine", type=OneOf(("sklearn", "spark")), help="What fits and later scores it.")
def train(source: str, contract: str | None, estimator: str | None, engine: str | None) -> Answer:
    """Train on SOURCE and register a version.

    SOURCE is a file, folder or glob of customers with their label.

    The alias moves to it only if it is not worse than the present champion on customers neither has seen.
    """
    from churn_pipeline.cli.progress_bar import progress_bar

    with progress_bar("Training"):
        from churn_pipeline import runs
        from churn_pipeline.resources.run_history import local_instance

        deployment = deployment_of(contract=contract)
        require_home(deployment)
        with local_instance(deployment.settings.folder) as instance:
            trained = runs.train(deployment, source, estimator, instance, engine)
    return Answer(_for_people(trained, deployment.settings.alias), asdict(trained))


def _for_people(trained: Trained, alias: str) -> list[RenderableType]:
    from churn_pipeline.cli import report

    moved = f"it is {alias} now" if trained.promoted else f"{alias} stays where it was"
    metrics = {said: f"{trained.metrics[name]:.4f}" for name, said in _METRICS.items() if name in trained.metrics}
    return [
        report.heading(f"{trained.model_name} version {trained.model_version} is registered; {moved}."),
        trained.verdict,
        "",
        report.facts({**metrics, "Registry": trained.tracking_uri}),
        "",
        "Next: churn-pipeline score FILE"
        if trained.promoted
        else f"Next: churn-pipeline score FILE --model {trained.model_version}",
    ]
