"""Spark Connect: the same tables through a real server, Spark ML pipelines too, and a server that is gone."""

import time

import pytest

from churn_pipeline import deployments, runs
from churn_pipeline.errors import ScoringError
from churn_pipeline.spark.mapping import SparkJobFailed, Workers
from churn_pipeline.spark.sessions import SparkNotStarted, SparkSettings, close_session, open_session
from churn_pipeline.training.spark_estimators import ConnectCannotTrain
from churn_pipeline_tests.builders import customer_file, instance_of, score
from churn_pipeline_tests.spark.connect_server import ConnectServer
from churn_pipeline_tests.spark.test_engines import broken_csv, on, same_tables

# The server's own warning to clients that turn its answers into pandas.
pytestmark = pytest.mark.filterwarnings("ignore:Could not serialize pd.DataFrame.attrs:UserWarning")


def through(deployment, server, folder):
    """The same registry, other tables, with Spark Connect and nothing in its place."""
    return deployments.test(
        folder,
        tracking_uri=deployment.settings.tracking_uri,
        training_source=deployment.settings.training_source,
        backend="spark",
        spark_remote=server.remote,
        spark_fallback="forbid",
    )


def test_a_server_and_one_process_say_the_same_without_java(deployment, spark_connect, monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    folder = tmp_path / "in"
    for part in range(3):
        broken_csv(folder / f"{part}.csv", 400, seed=part)
    request = {"source": str(folder), "reject_limit": "0.5"}
    there_deployment = through(deployment, spark_connect, tmp_path / "there")
    here, there = score(deployment, **request).row, score(there_deployment, **request).row
    assert (here.backend, there.backend) == ("sklearn", "spark")
    assert there.rows_scored > 1_000 and here.rows_duplicate == there.rows_duplicate == 9
    same_tables(deployment, there_deployment)


def test_a_spark_ml_pipeline_says_the_same_through_a_server_and_is_not_trained_there(
    deployment, spark, spark_connect, tmp_path
):
    here = on(deployment, spark, tmp_path / "here", training_source=deployment.settings.training_source)
    there = through(deployment, spark_connect, tmp_path / "there")
    with instance_of(here) as instance:
        version = runs.train(here, None, "logistic_regression", instance, engine="spark").model_version
    request = {"source": str(customer_file(tmp_path / "c.csv", 300)), "model": version}
    assert score(here, **request).row.rows_scored == score(there, **request).row.rows_scored == 300
    same_tables(here, there)
    with instance_of(there) as instance, pytest.raises(ConnectCannotTrain, match="CHURN_SPARK_REMOTE empty"):
        runs.train(there, None, "logistic_regression", instance, engine="spark")


def test_errors_come_back_as_from_any_cluster(spark_connect):
    def fail(part):
        raise (ScoringError("The model is at fault. Mend it.") if part else ValueError("Ms Brown, born 1961"))

    workers = Workers(open_session(SparkSettings(remote=spark_connect.remote)))
    with pytest.raises(ScoringError, match="Mend it"):
        workers.map(fail, [1])
    with pytest.raises(SparkJobFailed, match="ValueError") as raised:
        workers.map(fail, [0])
    assert "Brown" not in str(raised.value)


def test_a_master_may_follow_a_server_and_a_server_a_master(spark, spark_connect):
    remote = SparkSettings(remote=spark_connect.remote)
    for settings in (remote, spark, remote):
        assert Workers(open_session(settings)).map(lambda part: part + 1, [1, 2]) == [2, 3]


def test_a_server_that_was_killed_is_noticed_at_once_and_one_in_its_place_is_used(spark_connect):
    with ConnectServer() as server:
        settings = SparkSettings(remote=server.remote)
        session = open_session(settings)
        assert session.is_alive and open_session(settings) is session
        server.close()
        started = time.monotonic()
        assert not session.is_alive
        with pytest.raises(SparkNotStarted, match="Nothing answers at sc://"):
            open_session(settings)
        close_session()
        assert time.monotonic() - started < 10
    with ConnectServer(server.port):
        assert Workers(open_session(settings)).map(lambda part: part, [1]) == [1]
        close_session()
