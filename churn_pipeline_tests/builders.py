"""Things tests are built from: sources, deployments, trained homes.

Belongs here: builders that more than one package of tests uses. Does not: assertions.
"""

from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pyarrow.csv as pa_csv

from churn_pipeline import deployments, runs
from churn_pipeline.contract.definition import Contract
from churn_pipeline.deployments import Deployment
from churn_pipeline.resources.run_history import local_instance
from churn_pipeline.sample import sample

TELCO = Path(__file__).parents[1].parent / "shared" / "data" / "telco_customers.csv"


def customer_file(path: Path, rows: int = 200, **options: object) -> Path:
    """A CSV file of sample customers of the Telco contract."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pa_csv.write_csv(sample(Contract.load("telco"), rows, **options), path)  # type: ignore[arg-type]
    return path


def trained_home(folder: Path, **settings: str) -> Deployment:
    """A deployment with a registered champion, trained on sample customers."""
    training = customer_file(folder / "training.csv", 600, seed=1, label=True)
    customers = customer_file(folder / "customers.csv", 200, seed=2)
    deployment = deployments.test(
        folder / "home", **{"source": str(customers), "training_source": str(training), **settings}
    )
    with instance_of(deployment) as instance:
        runs.train(deployment, None, None, instance)
    return deployment


@contextmanager
def instance_of(deployment: Deployment):
    """The deployment's Dagster instance."""
    with local_instance(deployment.settings.folder) as instance:
        yield instance


def score(deployment: Deployment, **request: object) -> runs.Outcome:
    """Score in this process."""
    with instance_of(deployment) as instance:
        return runs.score(deployment, runs.Request(**request), instance)  # type: ignore[arg-type]


def rows_of(deployment: Deployment, table: str) -> list[dict]:
    """Every row of a table."""
    handle = deployment.table_store().open(table)
    return handle.to_arrow().to_pylist() if handle else []


def ephemeral_instance() -> dg.DagsterInstance:
    """An instance that is gone afterwards."""
    return dg.DagsterInstance.ephemeral()
