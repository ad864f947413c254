"""What is measured: sample customers in files, and a home with a trained champion, made once and kept.

Belongs here: making them. Does not: measuring.
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from churn_pipeline import deployments, runs
from churn_pipeline.contract.definition import Contract
from churn_pipeline.deployments import Deployment, Settings
from churn_pipeline.sample import sample

_CHUNK = 250_000
_TRAINING_ROWS = 4_000


def bench_folder() -> Path:
    """Where samples and the champion are kept; removed by hand, or with CHURN_HOME."""
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


def champion() -> str:
    """Tracking URI of a registry whose champion is a logistic regression on sample customers."""
    home = bench_folder() / "home"
    if not (home / "trained").exists():
        training = home / "training.csv"
        training.parent.mkdir(parents=True, exist_ok=True)
        pa_csv.write_csv(sample(Contract.load("telco"), _TRAINING_ROWS, seed=1, label=True), str(training))
        deployment = deployments.test(home, training_source=str(training))
        with runs.local_instance(home) as instance:
            runs.train(deployment, None, None, instance)
        (home / "trained").touch()
    return f"sqlite:///{home}/mlflow/mlflow.db"


def deployment(home: Path) -> Deployment:
    """A deployment with empty tables of its own, and the champion."""
    return deployments.test(home, tracking_uri=champion())


def registered_pipeline(deployment: Deployment) -> tuple[object, list[str]]:
    """The champion as scikit-learn has it, and its features in order."""
    registry = deployment.model_registry()
    model = registry.resolve("churn_model", "champion", deployment.contract())
    return registry.load(model), [item.name for item in model.inputs]
