"""Rows a second from file to predictions, against the user's script in the same process.

Belongs here: the comparison. Does not: the script (`users_script.py`), the samples (`samples.py`).
"""

import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd

from benchmarks import samples, users_script
from benchmarks.report import Line
from churn_pipeline import checks, runs
from churn_pipeline.deployments import Deployment

TARGET = "≥ 3"
_FORMATS = {".csv": "CSV", ".parquet": "Parquet"}
_CHECKS = {check.op.name for check in checks.ALL}
_ROUNDS = 3


def measure(rows: int) -> list[Line]:
    """Let each do the same file in turns; models are loaded and every library warm before the clock starts."""
    folder = Path(tempfile.mkdtemp(prefix="churn-bench-"))
    try:
        deployment = samples.deployment(folder / "home")
        model, features = samples.registered_pipeline(deployment)
        schema, target = users_script.schema_of(deployment.contract()), folder / "script.parquet"
        script = users_script.Script(schema, model, features, target).score
        ours = partial(score, deployment)
        lines: list[Line] = []
        for suffix in (".csv", ".parquet"):
            for warm_up in (script, ours):
                warm_up(samples.customers(1_000, suffix))
            source = samples.customers(rows, suffix)
            rounds = [(_timed(script, source), _timed(ours, source)) for _ in range(_ROUNDS)]
            _same_answers(deployment, target)
            lines += _lines(suffix, rows, rounds)
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
    seconds: dict[str, float] = defaultdict(float)
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


def _lines(suffix: str, rows: int, rounds: list[tuple[dict[str, float], dict[str, float]]]) -> list[Line]:
    script, ours = ([taken["whole"] for taken in column] for column in zip(*rounds, strict=True))
    ratio = statistics.median(theirs / own for theirs, own in zip(script, ours, strict=True))
    said = f"{rows / statistics.median(ours):,.0f} rows/s against {rows / statistics.median(script):,.0f}"
    return [
        Line(f"file → predictions, {rows:,} rows of {_FORMATS[suffix]}", said, ratio, TARGET),
        Line("  seconds, script", _breakdown([pair[0] for pair in rounds])),
        Line("  seconds, ours", _breakdown([pair[1] for pair in rounds])),
    ]


def _breakdown(rounds: list[dict[str, float]]) -> str:
    medians = {name: statistics.median(taken.get(name, 0.0) for taken in rounds) for name in rounds[0]}
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in medians.items() if seconds >= 0.005)
