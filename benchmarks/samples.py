"""What is measured on: sample customers in files, and a registry with the estimators that ship, made once and kept.

Belongs here: making and opening them. Does not: measuring.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from churn_pipeline import deployments, runs
from churn_pipeline.contract.definition import Contract
from churn_pipeline.deployments import Deployment, Settings
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.resources.run_history import local_instance
from churn_pipeline.sample import sample
from churn_pipeline.training.estimators import ESTIMATORS

_CHUNK = 250_000
_TRAINING_ROWS = 20_000
_MODEL = "churn_model"


def bench_folder() -> Path:
    """Where samples and models are kept; removed by hand, or with CHURN_HOME."""
    folder = Settings.from_environment().folder / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def customers(rows: int, suffix: str) -> Path:
    """A file of that many customers with distinct ids, made in flat memory if it is not there."""
    path = bench_folder() / f"customers-{rows}{suffix}"
    if path.exists():
        return path
    half = path.with_name(f".{path.name}")
    first = _chunk(0, 1)
    make = pa_csv.CSVWriter if suffix == ".csv" else pq.ParquetWriter
    with make(str(half), first.schema) as writer:
        for number, start in enumerate(range(0, rows, _CHUNK)):
            writer.write_table(_chunk(number, min(_CHUNK, rows - start)))
    half.replace(path)
    return path


def _chunk(number: int, rows: int) -> pa.Table:
    contract = Contract.load("telco")
    table = sample(contract, rows, seed=number)
    ids = pc.binary_join_element_wise(table[contract.id.column], str(number), "-")
    return table.set_column(table.column_names.index(contract.id.column), contract.id.column, ids)


def registry() -> str:
    """Tracking URI of a registry with one version an estimator, its name as alias, trained on sample customers."""
    home = bench_folder() / "models"
    if not (home / "trained").exists():
        home.mkdir(exist_ok=True)
        pa_csv.write_csv(_labelled(), str(home / "training.csv"))
        deployment = deployments.test(home, training_source=str(home / "training.csv"))
        with local_instance(home) as instance:
            for estimator in ESTIMATORS:
                trained = runs.train(deployment, None, estimator, instance)
                deployment.model_registry().set_alias(_MODEL, estimator, trained.model_version)
        (home / "trained").touch()
    return f"sqlite:///{home}/mlflow/mlflow.db"


def deployment(home: Path, estimator: str = "logistic_regression", **settings: str) -> Deployment:
    """A deployment with empty tables of its own that scores with an estimator of the registry."""
    return deployments.test(home, tracking_uri=registry(), alias=estimator, **settings)


def registered(deployment: Deployment) -> tuple[ModelVersion, Any]:
    """The version a deployment scores with, and the pipeline as scikit-learn has it."""
    registry = deployment.model_registry()
    version = registry.resolve(_MODEL, deployment.settings.alias, deployment.contract())
    return version, registry.load(version)


def default_forest() -> tuple[ModelVersion, Any]:
    """A random forest as scikit-learn makes it, trees of unlimited depth, on the same customers; registered nowhere."""
    from sklearn.base import clone
    from sklearn.ensemble import RandomForestClassifier

    version, shipped = registered(deployment(bench_folder() / "models", "random_forest"))
    table, label = _labelled().combine_chunks(), Contract.load("telco").label
    assert label is not None
    rows = frame(table.to_batches()[0], version.inputs)
    forest = clone(shipped).set_params(classify=RandomForestClassifier(random_state=0))
    return version, forest.fit(rows, table[label.column].to_numpy() == label.positive)


def _labelled() -> pa.Table:
    return sample(Contract.load("telco"), _TRAINING_ROWS, seed=1, label=True)
