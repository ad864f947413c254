"""Pipelines as other people register them, each against its own `predict_proba`.

Belongs here: timing the models of the tests one by one, and how many of them gain. Does not: the estimators that ship
(`kernel.py`).
"""

import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.report import Line
from benchmarks.threads import limited_to
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.plan import Plan, make_plan
from churn_pipeline.kernel.score import score

_ROWS = 65_536
_ROUNDS = 5
_LEAST_SECONDS = 0.05  # a side's share of a round

#: What counts as a gain, the share of pipelines that should have it, and what none should fall below.
_GAIN, _SHARE, _LOSS = 5, "≥ 60 %", "≥ 0.95"


@dataclass(frozen=True)
class _Ratios:
    """The kernel against `predict_proba`: on a frame that is there, and with building it from the same record batch."""

    on_frame: float
    from_batch: float


def measure(rows: int | None) -> Iterator[Line]:
    """Every model of the tests, by the plan that it gets where this runs; plans are made before the clock starts."""
    from churn_pipeline_tests.kernel import foreign_models

    batch, found = foreign_models.members(rows or _ROWS, seed=5), dict[str, _Ratios]()
    for name in foreign_models.MODELS:
        # They warn of what their authors left as it is: unseen words, networks that were stopped early.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator = foreign_models.fitted(name)
            sample = foreign_models.members(1_000, seed=9)
            plan = make_plan(foreign_models.version(), estimator, sample, foreign_models.EXTREMES)
            found[name] = _compare(batch, plan, estimator)
        said = f"{plan.tier}; {found[name].from_batch:.3g} × with building the frame"
        yield Line(f"kernel ÷ predict_proba, {name}", said, found[name].on_frame)
    gained = [name for name, item in found.items() if item.on_frame >= _GAIN]
    slowest = min(found, key=lambda name: found[name].from_batch)
    said = f"{len(gained)} of {len(found)}, median {statistics.median(item.on_frame for item in found.values()):.3g} ×"
    yield Line(f"pipelines at {_GAIN} times predict_proba or more", said, 100 * len(gained) / len(found), _SHARE, "%")
    said = f"{slowest}; both sides from the same record batch"
    yield Line("slowest of them ÷ frame and predict_proba", said, found[slowest].from_batch, _LOSS)


def _compare(batch: pa.RecordBatch, plan: Plan, estimator: Any) -> _Ratios:
    """In turns, the estimator with one OpenMP thread: batches of this size gain nothing from more."""
    inputs = plan.model.inputs
    rows = frame(batch, inputs)
    _check_equal(score(batch, plan), estimator.predict_proba(rows)[:, plan.model.positive], plan.model.threshold)
    works: tuple[Callable[[], Any], ...] = (
        partial(score, batch, plan),
        partial(estimator.predict_proba, rows),
        lambda: estimator.predict_proba(frame(batch, inputs)),
    )
    with limited_to(1):
        taken = np.array([[_seconds(work) for work in works] for _ in range(_ROUNDS)])
    return _Ratios(*np.median(taken[:, 1:] / taken[:, :1], axis=0).tolist())


def _seconds(work: Callable[[], Any]) -> float:
    started, taken, done = time.perf_counter(), 0.0, 0
    while taken < _LEAST_SECONDS:
        work()
        taken, done = time.perf_counter() - started, done + 1
    return taken / done


def _check_equal(scored: pa.RecordBatch, wanted: Any, threshold: float) -> None:
    difference = float(np.abs(scored.column("churn_probability").to_numpy() - wanted).max())
    assert difference <= 1e-12, f"kernel and estimator differ by up to {difference}"
    assert ((wanted >= threshold) == scored.column("prediction").to_numpy()).all(), "they label differently"
