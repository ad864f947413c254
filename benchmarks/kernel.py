"""The kernel alone, against `predict_proba` of the same pipeline on its data frame.

Belongs here: that comparison, in turns, and the proof that both say the same. Does not: files and tables (`tables.py`),
other ways to call the same pipeline (`other_ways.py`).
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from benchmarks import other_ways, samples
from benchmarks.report import Line
from benchmarks.threads import best_threads, limited_to
from churn_pipeline.contract.definition import Contract
from churn_pipeline.kernel.compilation import available
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan, make_plan
from churn_pipeline.kernel.score import score
from churn_pipeline.reference_sample import extremes, reference_sample
from churn_pipeline.training.estimators import ESTIMATORS

_BATCH = 65_536
_ROWS = 4 * _BATCH
_ROUNDS = 3
_LEAST_SECONDS = 0.2  # a side's share of a round; the kernel is through in milliseconds and goes again

#: Model → targets with numba and without; where nothing is promised without, it is not measured.
_TARGETS = {
    "logistic_regression": ("≥ 50", "≥ 50"),
    "gradient_boosting": ("≥ 25", "≥ 10"),
    "hist_gradient_boosting": ("≥ 25", "≥ 10"),
    "random_forest": ("≥ 5", None),
    "default random forest": ("≥ 2", None),
}


@dataclass(frozen=True)
class _Case:
    """A model and the same customers in both shapes.

    Attributes:
        batches: as the sources hand them on, text as dictionaries.
        rows: as the estimator takes them.
    """

    version: ModelVersion
    pipeline: Any
    batches: list[pa.RecordBatch]
    rows: pd.DataFrame

    def plan(self, *, compiled: bool) -> Plan:
        contract = Contract.load("telco")
        sample, ends = reference_sample(contract, whole_range=True), extremes(contract)
        return make_plan(self.version, self.pipeline, sample, ends, compiled=compiled)

    def by_estimator(self) -> npt.NDArray[np.float64]:
        found: npt.NDArray[np.float64] = self.pipeline.predict_proba(self.rows)[:, self.version.positive]
        return found

    def by_kernel(self, plan: Plan) -> pa.Table:
        return pa.Table.from_batches([score(batch, plan) for batch in self.batches])


def measure(rows: int | None) -> Iterator[Line]:
    """Every model with numba, if it is installed, and without; plans are made before the clock starts."""
    whole = reference_sample(Contract.load("telco"), rows or _ROWS)
    batches = [whole.slice(start, _BATCH) for start in range(0, whole.num_rows, _BATCH)]
    for name, targets in _TARGETS.items():
        version, pipeline = _model(name)
        case = _Case(version, pipeline, batches, frame(whole, version.inputs))
        kinds = {kind: target for kind, target in zip((True, False), targets, strict=True) if target}
        plans = {kind: case.plan(compiled=kind) for kind in kinds if available() or not kind}
        yield from _compare(name, case, plans, kinds)
        if name in ESTIMATORS:
            plan = next(iter(plans.values()), None) or case.plan(compiled=False)
            yield from other_ways.measure(name, version, pipeline, whole, plan)


def _model(name: str) -> tuple[ModelVersion, Any]:
    if name not in ESTIMATORS:
        return samples.default_forest()
    with tempfile.TemporaryDirectory(prefix="churn-bench-") as folder:
        return samples.registered(samples.deployment(Path(folder), name))


def _compare(name: str, case: _Case, plans: dict[bool, Plan], targets: dict[bool, str]) -> list[Line]:
    """A line for each plan, keyed by whether it is compiled."""
    wanted = case.by_estimator()
    differences = {
        kind: _difference(case.by_kernel(plan), wanted, case.version.threshold) for kind, plan in plans.items()
    }
    baseline, kernels = list[float](), {kind: list[float]() for kind in plans}
    number = best_threads(case.by_estimator)
    for _ in range(_ROUNDS):
        with limited_to(number):
            baseline.append(_seconds(case.by_estimator))
        for kind, plan in plans.items():
            kernels[kind].append(_seconds(partial(case.by_kernel, plan)))
    lines = []
    for kind, plan in plans.items():
        ratio = statistics.median(theirs / own for theirs, own in zip(baseline, kernels[kind], strict=True))
        ours, theirs = (len(wanted) / statistics.median(taken) for taken in (kernels[kind], baseline))
        said = f"{ours:,.0f} rows/s against {theirs:,.0f}; {plan.tier}; differs by up to {differences[kind]:.1g}"
        title = f"kernel ÷ predict_proba, {name}{'' if kind else ', without numba'}"
        lines.append(Line(title, said, ratio, targets[kind]))
    return lines


def _seconds(work: Callable[[], Any]) -> float:
    started, taken, done = time.perf_counter(), 0.0, 0
    while taken < _LEAST_SECONDS:
        work()
        taken, done = time.perf_counter() - started, done + 1
    return taken / done


def _difference(scored: pa.Table, wanted: npt.NDArray[np.float64], threshold: float) -> float:
    found = scored["churn_probability"].to_numpy()
    difference = float(np.abs(found - wanted).max())
    assert difference <= 1e-12, f"kernel and estimator differ by up to {difference}"
    assert ((wanted >= threshold) == scored["prediction"].to_numpy()).all(), "kernel and estimator label differently"
    return difference
