"""What the reasons of every row cost, on top of its score.

Belongs here: microseconds a row in the kernel, and what they add to a run and its tables. Does not: whether they are
right, which the tests hold against `shap`.
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import samples, scoring
from benchmarks.report import Line
from churn_pipeline.contract.definition import Contract
from churn_pipeline.kernel.explanations.reasons import reasons
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline.reference_sample import extremes, reference_sample

_BATCH = 65_536
_ROWS = 2 * _BATCH
_ROUNDS = 5
_TOP = 3
_RUN_ROWS = 500_000
_RUN_ROUNDS = 3

#: Estimator → target; the deeper trees are not promised.
_TARGETS = {
    "logistic_regression": "≤ 0.5",
    "gradient_boosting": "≤ 1.5",
    "hist_gradient_boosting": "",
    "random_forest": "",
}


def measure(rows: int | None) -> Iterator[Line]:
    """The three columns that raise and the three that lower each customer's score: in the kernel, and in whole runs."""
    yield from _kernel(rows or _ROWS)
    for estimator, target in _TARGETS.items():
        if target:
            yield from _runs(estimator, rows or _RUN_ROWS)


def _kernel(rows: int) -> list[Line]:
    """From record batches."""
    contract = Contract.load("telco")
    whole = reference_sample(contract, rows)
    batches = [whole.slice(start, _BATCH) for start in range(0, whole.num_rows, _BATCH)]
    lines = []
    for estimator, target in _TARGETS.items():
        with tempfile.TemporaryDirectory(prefix="churn-bench-") as folder:
            version, pipeline = samples.registered(samples.deployment(Path(folder), estimator))
        plan = make_plan(version, pipeline, reference_sample(contract, whole_range=True), extremes(contract))
        found = [reasons(batch, plan, _TOP) for batch in batches]  # warms up
        assert all(part.known.all() for part in found), "some customers have no reasons"
        taken = []
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            for batch in batches:
                reasons(batch, plan, _TOP)
            taken.append(time.perf_counter() - started)
        microseconds = 1e6 * statistics.median(taken) / whole.num_rows
        said = f"{'Shapley values' if found[0].exact else 'Saabas'} in {found[0].unit}, one thread"
        lines.append(Line(f"reasons of a row, {estimator}", said, microseconds, target, "µs"))
    return lines


def _runs(estimator: str, rows: int) -> list[Line]:
    """The whole job on a Parquet file, in turns with reasons and without; checks and current scores too."""
    seconds: dict[int, list[float]] = {0: [], _TOP: []}
    bytes_of: dict[int, float] = {}
    folder = Path(tempfile.mkdtemp(prefix="churn-bench-"))
    try:
        homes = {most: samples.deployment(folder / f"{most}", estimator, reasons=f"{most}") for most in seconds}
        for home in homes.values():
            scoring.whole_job(home, samples.customers(1_000, ".parquet"))  # warms up
        for _ in range(_RUN_ROUNDS):
            for most, home in homes.items():
                started = time.perf_counter()
                scoring.whole_job(home, samples.customers(rows, ".parquet"))
                seconds[most].append(time.perf_counter() - started)
                table = Path(home.table_store().location("churn_predictions"))
                bytes_of[most] = sum(file.stat().st_size for file in table.rglob("*.parquet")) / rows
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratio = statistics.median(more / less for less, more in zip(seconds[0], seconds[_TOP], strict=True))
    least, most = (statistics.median(taken) for taken in seconds.values())
    said = f"{most:.1f} s against {least:.1f}; {bytes_of[_TOP]:.0f} bytes a prediction against {bytes_of[0]:.0f}"
    return [Line(f"whole job with reasons ÷ without, {rows:,} rows, {estimator}", said, ratio)]
