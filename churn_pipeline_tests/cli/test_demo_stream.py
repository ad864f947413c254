"""`demo-stream`: a newcomer without a broker sees messages become scores, and nothing is left running."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from churn_pipeline.cli.app import app
from churn_pipeline_tests.cli.conftest import PROGRAM


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    """The program, in a folder without any setting of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return subprocess.Popen(
        [str(PROGRAM), "demo-stream", *options],
        cwd=folder,
        # Of a person who has a cluster and a registry, neither of which is touched.
        env={
            **kept,
            "KAFKA_BOOTSTRAP_SERVERS": "nowhere:1",
            "MLFLOW_TRACKING_URI": "http://nowhere:1",
            "COLUMNS": "80",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def left_of(folder: Path) -> list[str]:
    """Processes that have this folder in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.environ().get("CHURN_HOME", ""):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder of a demonstration that ran to its end, its exit code, and what it said."""
    folder = tmp_path_factory.mktemp("newcomer")
    # Patient, as other tests may keep the machine busy.
    with started(folder, "--seconds", "10", "--malformed", "0.1", "--timeout", "600", "--json") as process:
        out, err = process.communicate()
    return folder, process.returncode, json.loads(out), err


@pytest.mark.slow
def test_every_message_becomes_a_prediction_or_a_dead_letter_and_people_are_told_of_every_batch(shown):
    folder, code, value, _ = shown
    assert (code, value["ending"], value["adds_up"], value["lag"]) == (0, "done", True, 0)
    assert value["sent"] == 200 == value["predictions"] + value["dead_letters"]
    assert value["malformed"] > 0 and sum(value["reasons"].values()) == value["dead_letters"]
    assert sum(batch["read"] for batch in value["batches"]) == 200
    assert sum(batch["scored"] for batch in value["batches"]) == value["predictions"]
    assert all(batch["alerted"] for batch in value["batches"]) and value["alerts"] == len(value["batches"])
    assert left_of(folder) == []


@pytest.mark.slow
def test_scores_are_seen_arriving_and_the_lag_falling_to_zero(shown):
    _, _, value, err = shown
    lines = [line.split() for line in err.splitlines() if " s  " in line]
    lag, scored = ([int(line[column]) for line in lines] for column in (3, 4))
    assert max(lag) > 0 == lag[-1]
    assert scored == sorted(scored) and scored[-1] == value["predictions"]
    assert "Alert: Call list ready" in err


@pytest.mark.slow
def test_ctrl_c_ends_it_in_order_and_the_next_one_begins_anew(shown):
    folder, _, _, _ = shown
    with started(folder, "--seconds", "60") as process:
        for line in process.stderr:
            assert "Training" not in line, "the model of the first one is kept"
            if " s  " in line:
                break
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate()
    assert process.returncode == 130
    assert "Interrupted after" in out and "of 1,200 messages" in out
    assert left_of(folder) == []


@pytest.mark.slow
def test_one_that_is_late_says_what_the_daemon_said_last(shown):
    folder, _, _, _ = shown
    with started(folder, "--seconds", "60", "--timeout", "6") as process:
        out, _ = process.communicate()
    assert process.returncode == 1
    assert "Not over after 6 s" in out and "What the daemon said last" in out
    assert left_of(folder) == []


@pytest.mark.slow
def test_a_daemon_that_dies_ends_it_at_once(shown):
    folder, _, _, _ = shown
    with started(folder, "--seconds", "60") as process:
        for line in process.stderr:
            if " s  " in line:
                break
        (daemon,) = psutil.Process(process.pid).children()
        daemon.kill()
        started_at = time.monotonic()
        out, _ = process.communicate()
    assert process.returncode == 1 and time.monotonic() - started_at < 30
    assert "daemon ended by itself" in out
    assert left_of(folder) == []


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(app, ["demo-stream", "--home", str(tmp_path)])
    assert result.exit_code == 2 and "Name another --home" in result.stderr
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
