"""Killed at any moment, or many at once: one copy of each row, one ledger row, one alert a batch."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest

from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline_tests.builders import customer_file, instance_of, rows_of

pytestmark = pytest.mark.slow

_SCORE = """
import json, sys
from churn_pipeline import deployments, runs
from churn_pipeline.resources.run_history import local_instance
from pathlib import Path
home, source, tracking, channel = sys.argv[1:]
deployment = deployments.test(Path(home), source=source, tracking_uri=tracking, alert_urls=channel)
print("ready", flush=True)
with local_instance(deployment.settings.folder) as instance:
    outcome = runs.score(deployment, runs.Request(), instance)
print(json.dumps({"batch": outcome.row.batch.id, "sent": outcome.alert_sent}))
"""


def _start(deployment, source: Path, channel: str) -> subprocess.Popen:
    settings = deployment.settings
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        _SCORE,
        str(settings.folder),
        str(source),
        settings.tracking_uri,
        channel,
    ]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _accounts(deployment, batches: int, rows: int, current: int) -> None:
    """Every row once, in every table, for every batch."""
    for table in ("customers", "churn_predictions"):
        copies = Counter((r["batch_id"], r["source_position"]) for r in rows_of(deployment, table))
        assert len(copies) == batches * rows and set(copies.values()) == {1}
    assert len(Ledger(deployment.table_store()).all()) == batches == len(rows_of(deployment, "scored_batches"))
    customers = [c["customerID"] for c in rows_of(deployment, "current_churn_scores")]
    assert len(customers) == len(set(customers)) == current


def test_a_run_killed_at_any_moment_and_run_again_leaves_one_of_everything(deployment, tmp_path, webhook_received):
    channel, received = webhook_received
    source = customer_file(tmp_path / "customers.csv", 20_000)
    rng = random.Random(1)
    killed = 0
    for _ in range(10):
        process = _start(deployment, source, channel)
        assert process.stdout is not None and process.stdout.readline().strip() == "ready"
        time.sleep(rng.uniform(0.2, 5))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.communicate()
    last = _start(deployment, source, channel)
    _, err = last.communicate(timeout=120)
    assert last.returncode == 0, err
    assert killed >= 3
    _accounts(deployment, batches=1, rows=20_000, current=20_000)
    with instance_of(deployment) as instance:
        states = Counter(run.status for run in instance.get_runs())
    assert states[dg.DagsterRunStatus.STARTED] == 0 and states[dg.DagsterRunStatus.CANCELED] >= 1
    completions = [body for body in received if "Call list ready" in json.dumps(body)]
    assert len(completions) == 1


def test_eight_runs_at_once_lose_and_double_nothing(deployment, tmp_path, webhook_received):
    channel, received = webhook_received
    sources = []
    for number in range(4):
        source = customer_file(tmp_path / f"customers_{number}.csv", 3_000, seed=number)
        # The same customers in every file, as of another day each.
        os.utime(source, (1_700_000_000 + number * 86_400,) * 2)
        sources.append(source)
    processes = [_start(deployment, source, channel) for source in sources * 2]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    everybody = {line.split(",")[0] for source in sources for line in source.read_text().splitlines()[1:]}
    _accounts(deployment, batches=4, rows=3_000, current=len(everybody))
    assert len([b for b in received if "Call list ready" in json.dumps(b)]) == 4
