"""Our side of every comparison: a file scored through Dagster, and the clock.

Belongs here: the whole job, its tables alone, seconds a step, proof that both sides answered alike. Does not: what it
is compared with.
"""

import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd

from churn_pipeline import checks, jobs, runs
from churn_pipeline.deployments import Deployment
from churn_pipeline.resources.run_history import local_instance
from churn_pipeline.resources.run_processes import frozen_heap, spare_memory

_CHECKS = {check.op.name for check in checks.ALL}
_TABLES = (
    "churn_model",
    "customers",
    "rejected_customers",
    "churn_predictions",
    "unscored_customers",
    "scored_batches",
)


def whole_job(deployment: Deployment, source: Path) -> dict[str, float]:
    """Score a file by the job `score_customers` into new tables; returns seconds a step."""
    _drop_tables(deployment)
    with local_instance(deployment.settings.folder) as instance:
        outcome = runs.score(deployment, runs.Request(source=str(source)), instance)
        return steps(instance, outcome.row.run_id)


def tables_only(deployment: Deployment, source: Path) -> dict[str, float]:
    """Score a file into `customers`, `churn_predictions` and the ledger: no checks, no current scores, no alert."""
    _drop_tables(deployment)
    spare_memory()
    job = dg.define_asset_job("write_tables", selection=dg.AssetSelection.assets(*_TABLES))
    definitions = dg.Definitions(
        assets=jobs.ASSETS, jobs=[job], resources=deployment.resources(), executor=dg.in_process_executor
    )
    batch = deployment.open_source(str(source)).plan(None)
    config = {
        "ops": {"read_customers": {"config": {"batch": batch.to_json()}}},
        "loggers": {"console": {"config": {"log_level": "WARNING"}}},
    }
    with local_instance(deployment.settings.folder) as instance, frozen_heap():
        done = definitions.resolve_job_def("write_tables").execute_in_process(instance=instance, run_config=config)
        return steps(instance, done.run_id)


def timed(work: Callable[[Path], dict[str, float]], source: Path) -> dict[str, float]:
    """Seconds a stage, with the `rest` and the `whole`."""
    started = time.perf_counter()
    stages = work(source)
    whole = time.perf_counter() - started
    return {**stages, "rest": whole - sum(stages.values()), "whole": whole}


def same_answers(deployment: Deployment, target: Path) -> None:
    """Hold the predictions table against the file the user's script wrote."""
    handle = deployment.table_store().open("churn_predictions")
    assert handle is not None
    mine, theirs = handle.to_pandas(["churn_probability"]), pd.read_parquet(target, columns=["churn_probability"])
    difference = float(np.abs(mine.to_numpy() - theirs.to_numpy()).max())
    assert difference <= 1e-12, f"the two scored differently, by up to {difference}"


def _drop_tables(deployment: Deployment) -> None:
    shutil.rmtree(deployment.settings.folder / "tables", ignore_errors=True)


def steps(instance: dg.DagsterInstance, run_id: str) -> dict[str, float]:
    """Seconds of each step and check of a run."""
    seconds: dict[str, float] = defaultdict(float)
    for step in instance.get_run_step_stats(run_id):
        if step.start_time and step.end_time:
            name = "checks" if step.step_key in _CHECKS else step.step_key
            seconds[name] += step.end_time - step.start_time
    return dict(seconds)
