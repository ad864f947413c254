"""What a model version costs before its first customer: making a plan and proving it.

Belongs here: timing that in fresh processes, and once more in the same process. Does not: loading the estimator, which
is MLflow's time.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import samples
from benchmarks.report import Line
from churn_pipeline.resources.inference.plans import Plans
from churn_pipeline.training.estimators import ESTIMATORS

_TRIES = 2


def measure() -> list[Line]:
    """The better of two for each estimator: a busy moment is not the plan's."""
    lines = []
    for estimator in ESTIMATORS:
        tries = [_in_a_process(estimator) for _ in range(_TRIES)]
        first, again = (min(found[key] for found in tries) for key in ("first", "again"))
        lines += [
            Line(
                f"plan made and proven, {estimator}", f"the estimator was loaded; {tries[0]['tier']}", first, "≤ 3", "s"
            ),
            Line(f"  again in the same process, {estimator}", "", again, "≤ 0.3", "s"),
        ]
    return lines


def _in_a_process(estimator: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.loads", estimator]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _child(estimator: str) -> None:
    with tempfile.TemporaryDirectory(prefix="churn-bench-") as folder:
        deployment = samples.deployment(Path(folder), estimator)
        version, _ = samples.registered(deployment)
        marks = [time.perf_counter()]
        for _ in range(2):
            plan = Plans(deployment.model_registry(), deployment.contract()).of(version)
            marks.append(time.perf_counter())
    print(json.dumps({"first": marks[1] - marks[0], "again": marks[2] - marks[1], "tier": plan.tier}))


if __name__ == "__main__":
    _child(sys.argv[1])
