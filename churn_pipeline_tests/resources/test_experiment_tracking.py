import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from churn_pipeline.resources.experiment_tracking import (
    ExperimentDeleted,
    InMemoryTracking,
    MlflowTracking,
    RunAlreadyOpen,
)
from churn_pipeline_tests.resources.mlflow_models import tracking

pytestmark = pytest.mark.slow


@pytest.fixture(params=["memory", "mlflow"])
def a_tracking(request):
    return InMemoryTracking() if request.param == "memory" else tracking()


def status_of(where, run):
    if isinstance(where, InMemoryTracking):
        return where.runs[-1].status
    from mlflow import MlflowClient

    return MlflowClient(where.tracking_uri).get_run(run.mlflow_run_id).info.status


@pytest.mark.parametrize(
    ("error", "status"),
    [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_a_run_is_closed_whatever_happens_in_it(a_tracking, error, status, request):
    with pytest.raises(error) if error else nullcontext(), a_tracking.run(request.node.name, "train_model") as run:
        run.log_params({"estimator": "any"})
        if error:
            raise error
    assert status_of(a_tracking, run) == status


def test_the_run_carries_the_dagster_run_and_its_files_lie_beside_the_database():
    from mlflow import MlflowClient

    with tracking().run("dagster-7", "train_model") as run:
        run.log_dict({"a": 1}, "a.json")
    found = MlflowClient(tracking().tracking_uri).get_run(run.mlflow_run_id)
    assert found.data.tags["dagster_run_id"] == "dagster-7"
    assert found.info.run_name == "train_model"
    database = Path(tracking().tracking_uri.removeprefix("sqlite:///"))
    assert Path(found.info.artifact_uri.removeprefix("file://")).is_relative_to(database.resolve().parent)


def test_a_dagster_run_that_is_retried_goes_on_in_its_mlflow_run():
    with pytest.raises(ValueError), tracking().run("retried", "train_model") as first:
        raise ValueError
    with tracking().run("retried", "train_model") as again:
        pass
    assert again.mlflow_run_id == first.mlflow_run_id
    assert status_of(tracking(), again) == "FINISHED"


def test_a_run_that_somebody_left_open_is_not_written_into():
    import mlflow

    with tracking().run("outer", "train_model") as outer:
        with pytest.raises(RunAlreadyOpen, match=outer.mlflow_run_id), tracking().run("inner", "train_model"):
            pass
        assert mlflow.active_run().info.run_id == outer.mlflow_run_id


def test_a_deleted_experiment_says_how_to_restore_it():
    from mlflow import MlflowClient

    deleted = MlflowTracking(tracking().tracking_uri, experiment="gone")
    with deleted.run("a", "train_model"):
        pass
    client = MlflowClient(tracking().tracking_uri)
    client.delete_experiment(client.get_experiment_by_name("gone").experiment_id)
    with pytest.raises(ExperimentDeleted, match="mlflow experiments restore"), deleted.run("b", "train_model"):
        pass


@pytest.mark.slow
def test_processes_that_start_at_once_on_an_empty_home_share_one_database_and_print_nothing(tmp_path):
    code = f"""
from churn_pipeline.resources.experiment_tracking import MlflowTracking
import os
with MlflowTracking("sqlite:///{tmp_path}/mlflow.db").run(str(os.getpid()), "train_model") as run:
    run.log_params({{"a": 1}})
"""
    started = [
        subprocess.Popen([sys.executable, "-W", "error::FutureWarning", "-c", code], stdout=-1, stderr=-1)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert said == [(b"", b"")] * 2
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("churn")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FINISHED"] * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db"]
