"""Other ways to let the same registered pipeline score the same customers: MLflow's pyfunc, and Polars.

Belongs here: those two and their lines, for comparison; nothing is promised about them. Does not: the kernel.
"""

import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.report import Line
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.score import score

_ROWS = 32_768
_ROUNDS = 3


def measure(name: str, version: ModelVersion, pipeline: Any, customers: pa.RecordBatch, plan: Plan) -> list[Line]:
    """The kernel against each, in turns, on one record batch."""
    batch = customers.slice(0, _ROWS)
    with tempfile.TemporaryDirectory(prefix="churn-bench-") as folder:
        ways = {
            "MLflow pyfunc": _pyfunc(version, pipeline, batch, Path(folder)),
            "Polars and the estimator": _polars(version, pipeline, batch),
        }
        lines = []
        for way, call in ways.items():
            kernel, other = list[float](), list[float]()
            for _ in range(_ROUNDS + 1):
                started = time.perf_counter()
                scored = score(batch, plan)
                between = time.perf_counter()
                answer = call()
                other.append(time.perf_counter() - between)
                kernel.append(between - started)
            mine = scored.column("churn_probability").to_numpy()
            difference = float(np.abs(mine - answer).max())
            assert difference <= 1e-12, f"kernel and {way} differ by up to {difference}"
            # The first of each warmed up.
            ratio = statistics.median(theirs / own for theirs, own in zip(other[1:], kernel[1:], strict=True))
            said = f"{batch.num_rows / statistics.median(other[1:]):,.0f} rows/s there"
            lines.append(Line(f"kernel ÷ {way}, {name}", said, ratio))
        return lines


def _pyfunc(version: ModelVersion, pipeline: Any, batch: pa.RecordBatch, folder: Path) -> Callable[[], Any]:
    """As an MLflow server or job calls it: a data frame held against the signature, then the pipeline."""
    import mlflow

    rows = frame(batch, version.inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        mlflow.sklearn.save_model(
            pipeline,
            folder / "model",
            signature=mlflow.models.infer_signature(rows.head(200)),
            pyfunc_predict_fn="predict_proba",
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
        loaded = mlflow.pyfunc.load_model(str(folder / "model"))
    return lambda: np.asarray(loaded.predict(rows))[:, version.positive]


def _polars(version: ModelVersion, pipeline: Any, batch: pa.RecordBatch) -> Callable[[], Any]:
    """As one writes it with Polars: its frame becomes the one that the pipeline was fitted on."""
    import polars as pl

    # Text as Polars reads it from a file.
    table = pl.from_arrow(pa.Table.from_batches([batch.select([item.name for item in version.inputs])]))
    assert isinstance(table, pl.DataFrame)
    table = table.with_columns(pl.col(pl.Categorical).cast(pl.String))
    return lambda: pipeline.predict_proba(table.to_pandas())[:, version.positive]
