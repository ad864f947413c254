"""What the reasons of every row cost, on top of its score.

Belongs here: microseconds a row. Does not: whether they are right, which the tests hold against `shap`.
"""

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import samples
from benchmarks.report import Line
from churn_pipeline.contract.definition import Contract
from churn_pipeline.kernel.explanations.reasons import reasons
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline.reference_sample import extremes, reference_sample

_BATCH = 65_536
_ROWS = 2 * _BATCH
_ROUNDS = 5
_TOP = 3

#: Estimator → target; the deeper trees are not promised.
_TARGETS = {
    "logistic_regression": "≤ 0.5",
    "gradient_boosting": "≤ 1.5",
    "hist_gradient_boosting": "",
    "random_forest": "",
}


def measure(rows: int | None) -> list[Line]:
    """The three columns that raise and the three that lower each customer's score, from record batches."""
    contract = Contract.load("telco")
    whole = reference_sample(contract, rows or _ROWS)
    batches = [whole.slice(start, _BATCH) for start in range(0, whole.num_rows, _BATCH)]
    lines = []
    for estimator, target in _TARGETS.items():
        with tempfile.TemporaryDirectory(prefix="churn-bench-") as folder:
            version, pipeline = samples.registered(samples.deployment(Path(folder), estimator))
        plan = make_plan(version, pipeline, reference_sample(contract), extremes(contract))
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
