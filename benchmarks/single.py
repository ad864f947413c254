"""One record at hand: a dict through `predict()`, held against the contract.

Belongs here: how long an answer takes. Does not: batches.
"""

import tempfile
import time
from pathlib import Path

import joblib
import numpy as np

from benchmarks import samples
from benchmarks.report import Line
from churn_pipeline.contract.definition import Contract
from churn_pipeline.inference import load_model, predict
from churn_pipeline.sample import sample
from churn_pipeline.training.estimators import ESTIMATORS

_RECORDS = 2_000
_WARM_UP = 200
_BY_ESTIMATOR = 50  # records also asked of the estimator itself, which takes a hundred times longer


def measure() -> list[Line]:
    """Every estimator that ships, from a file as `load_model` takes it; all different customers."""
    return [line for estimator in ESTIMATORS for line in _lines(estimator)]


def _lines(estimator: str) -> list[Line]:
    with tempfile.TemporaryDirectory(prefix="churn-bench-") as folder:
        _, pipeline = samples.registered(samples.deployment(Path(folder), estimator))
        joblib.dump(pipeline, f"{folder}/model.joblib")
        backend = load_model("sklearn", f"{folder}/model.joblib")
    records = _records()
    quick = np.array([_microseconds(backend, record) for record in records])[_WARM_UP:]
    # A bare model has no plan: the record becomes a data frame, which is judged and scored.
    slow = np.array([_microseconds(backend.model, record) for record in records[:_BY_ESTIMATOR]])
    p50, p99 = np.percentile(quick, (50, 99))
    said = f"through a data frame {np.median(slow):,.0f} µs"
    return [
        Line(f"one dict through predict(), {estimator}, p50", said, float(p50), "≤ 100", "µs"),
        Line(f"one dict through predict(), {estimator}, p99", "", float(p99), "≤ 500", "µs"),
    ]


def _records() -> list[dict[str, object]]:
    contract = Contract.load("telco")
    # As they come in a request: a missing value is left out by nobody, it is null.
    found: list[dict[str, object]] = sample(contract, _RECORDS, seed=5).to_pylist()
    return found


def _microseconds(model: object, record: dict[str, object]) -> float:
    started = time.perf_counter()
    predict(model, record)
    return 1e6 * (time.perf_counter() - started)
