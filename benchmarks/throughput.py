"""Rows a second from file to predictions, against the user's script in the same process.

Belongs here: the comparison. Does not: the script (`users_script.py`), the samples (`samples.py`).
"""

import shutil
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd

from benchmarks import samples, users_script
from benchmarks.report import Line
from churn_pipeline import checks, runs
from churn_pipeline.deployments import Deployment

TARGET = 3.0
_CHECKS = {check.op.name for check in checks.ALL}
_ROUNDS = 3


def measure(rows: int) -> list[Line]:
    """Alternate both for a few rounds a format; the model is loaded and every library warm before the clock starts."""
    folder = Path(tempfile.mkdtemp(prefix="churn-bench-"))
    try:
        deployment = samples.deployment(folder / "home")
        model, features = samples.registered_pipeline(deployment)
        schema = users_script.schema_of(deployment.contract())
        target = folder / "script.parquet"
        lines: list[Line] = []

        def ours(path: Path) -> dict[str, float]:
            return score(deployment, path)

        def script(path: Path) -> dict[str, float]:
            return users_script.score(path, target, schema, model, features)

        for suffix in (".csv", ".parquet"):
            source = samples.customers(rows, suffix)
            for warm_up in (ours, script):
                warm_up(samples.customers(1_000, suffix))
            taken = [(_timed(script, source), _timed(ours, source)) for _ in range(_ROUNDS)]
            _same_answers(deployment, target)
            lines += _lines(suffix, rows, taken)
        return lines
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def score(deployment: Deployment, source: Path) -> dict[str, float]:
    """Score a file through the job `score_customers` into new tables; returns seconds a step."""
    shutil.rmtree(deployment.settings.folder / "tables", ignore_errors=True)
    with runs.local_instance(deployment.settings.folder) as instance:
        outcome = runs.score(deployment, runs.Request(source=str(source)), instance)
        return _steps(instance, outcome.row.run_id)


def _steps(instance: dg.DagsterInstance, run_id: str) -> dict[str, float]:
    """Seconds of each step and check of a run."""
    seconds: Counter[str] = Counter()
    for step in instance.get_run_step_stats(run_id):
        if step.start_time and step.end_time:
            name = "checks" if step.step_key in _CHECKS else step.step_key
            seconds[name] += step.end_time - step.start_time
    return dict(seconds)


def _timed(work: Callable[[Path], dict[str, float]], source: Path) -> dict[str, float]:
    started = time.perf_counter()
    stages = work(source)
    whole = time.perf_counter() - started
    return {**stages, "rest": whole - sum(stages.values()), "whole": whole}


def _same_answers(deployment: Deployment, target: Path) -> None:
    handle = deployment.table_store().open("churn_predictions")
    assert handle is not None
    mine, theirs = handle.to_pandas(["churn_probability"]), pd.read_parquet(target, columns=["churn_probability"])
    difference = float(np.abs(mine.to_numpy() - theirs.to_numpy()).max())
    assert difference <= 1e-12, f"the two scored differently, by up to {difference}"


def _lines(suffix: str, rows: int, taken: list[tuple[dict[str, float], dict[str, float]]]) -> list[Line]:
    name = f"{rows:,} rows of {suffix.removeprefix('.').upper().replace('PARQUET', 'Parquet')}"
    script, ours = ([pair[side]["whole"] for pair in taken] for side in (0, 1))
    ratios = [s / o for s, o in zip(script, ours, strict=True)]
    said = f"{rows / statistics.median(ours):,.0f} rows/s against {rows / statistics.median(script):,.0f}"
    return [
        Line(f"file → predictions, {name}", said, statistics.median(ratios), f"≥ {TARGET:g}"),
        *(Line(f"  {who}", _breakdown([pair[side] for pair in taken])) for side, who in enumerate(("script", "ours"))),
    ]


def _breakdown(rounds: list[dict[str, float]]) -> str:
    medians = {name: statistics.median(r.get(name, 0.0) for r in rounds) for name in rounds[0]}
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in medians.items() if seconds >= 0.005)
