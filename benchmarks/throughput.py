"""Rows a second from file to predictions, against the user's script in the same process.

Belongs here: the comparison. Does not: the script (`users_script.py`), the samples (`samples.py`).
"""

import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
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
        schema = users_script.schema_of(deployment.contract())
        model, features = samples.registered_pipeline(deployment)
        script = users_script.Script(schema, model, features, folder)
        contestants = [
            script.score,
            replace(script, keeps_tables=True).score,
            partial(score, deployment),
        ]
        lines: list[Line] = []
        for suffix in (".csv", ".parquet"):
            for contestant in contestants:
                contestant(samples.customers(1_000, suffix))
            source = samples.customers(rows, suffix)
            rounds = [[_timed(contestant, source) for contestant in contestants] for _ in range(_ROUNDS)]
            _same_answers(deployment, folder / "predictions.parquet")
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


def _lines(suffix: str, rows: int, rounds: list[list[dict[str, float]]]) -> list[Line]:
    name = f"{rows:,} rows of {_FORMATS[suffix]}"
    script, tables, ours = ([taken["whole"] for taken in column] for column in zip(*rounds, strict=True))
    per_second = [f"{rows / statistics.median(seconds):,.0f}" for seconds in (script, tables, ours)]
    return [
        Line(
            f"file → predictions, {name}",
            f"{per_second[2]} rows/s against {per_second[0]}",
            _ratio(script, ours),
            TARGET,
        ),
        Line("  … a script that keeps tables", f"{per_second[2]} rows/s against {per_second[1]}", _ratio(tables, ours)),
        *(
            Line(f"  seconds, {who}", _breakdown([taken[side] for taken in rounds]))
            for side, who in enumerate(("script", "script that keeps tables", "ours"))
        ),
    ]


def _ratio(theirs: list[float], ours: list[float]) -> float:
    return statistics.median(other / own for other, own in zip(theirs, ours, strict=True))


def _breakdown(rounds: list[dict[str, float]]) -> str:
    medians = {name: statistics.median(taken.get(name, 0.0) for taken in rounds) for name in rounds[0]}
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in medians.items() if seconds >= 0.005)
