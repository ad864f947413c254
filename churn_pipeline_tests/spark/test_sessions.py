"""The session: settings as people write them, opened when asked for, and why it cannot be had."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from churn_pipeline.spark.sessions import (
    SparkNotInstalled,
    SparkNotStarted,
    SparkSettingInvalid,
    SparkSettings,
    open_session,
)
from churn_pipeline_tests.builders import customer_file


def test_settings_are_read_as_people_write_them():
    found = SparkSettings.read("local[2]", "", "spark.executor.memory=4g  spark.a.b=c=d\nspark.x=")
    assert found.conf == {"spark.executor.memory": "4g", "spark.a.b": "c=d", "spark.x": ""}
    assert found.all()["spark.master"] == "local[2]" and found.all()["spark.executor.memory"] == "4g"
    assert "spark.master" not in SparkSettings.read("local[2]", "sc://host", "").all()


def test_where_spark_is_said_without_a_token():
    settings = SparkSettings(remote="sc://127.0.0.1:9/;token=hush;user_id=me")
    assert settings.where == "sc://127.0.0.1:9" and settings.all()["spark.remote"].endswith("me")
    with pytest.raises(SparkNotStarted) as raised:
        open_session(settings)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("text", ["executor.memory=4g", "spark.executor.memory", "=4g"])
def test_what_is_no_setting_of_spark_is_an_error(text):
    with pytest.raises(SparkSettingInvalid, match=r"spark\.NAME=VALUE"):
        SparkSettings.read("local[2]", "", text)


@pytest.mark.parametrize("where", [{"master": "spark://127.0.0.1:9"}, {"remote": "sc://127.0.0.1:9"}])
def test_a_master_that_does_not_answer_is_an_error_within_seconds(where):
    with pytest.raises(SparkNotStarted, match=r"Nothing answers at s.*127\.0\.0\.1:9"):
        open_session(SparkSettings(**where))


def test_a_missing_java_is_said_in_words(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(SparkNotStarted, match="no java on the PATH"):
        open_session(SparkSettings("local[1]", conf={"spark.app.name": "without Java"}))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(SparkNotStarted, match="has no bin/java"):
        open_session(SparkSettings("local[1]", conf={"spark.app.name": "without Java"}))


def test_java_that_is_too_old_or_broken_is_said_in_words(tmp_path):
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\nexit 1\n")
    java.chmod(0o755)
    # In a process of its own: PySpark starts Java once a process, whichever session asks first.
    code = (
        "from churn_pipeline.spark.sessions import SparkNotStarted, SparkSettings, open_session\n"
        "try:\n    open_session(SparkSettings('local[1]'))\nexcept SparkNotStarted as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "JAVA_HOME": str(tmp_path)}
    )
    assert "could not be started at local[1]" in done.stdout


def test_a_session_is_used_again_and_one_with_other_settings_takes_its_place(spark):
    first = open_session(spark)
    assert open_session(SparkSettings(spark.master)) is first
    other = open_session(SparkSettings(spark.master, conf={"spark.app.name": "another"}))
    assert other.spark.conf.get("spark.app.name") == "another" and not first.is_alive
    assert not first.folder.exists()
    assert open_session(spark).is_alive and not other.is_alive


def test_without_pyspark_everything_else_works(site_without_pyspark):
    """PySpark is not there at all: neither its files nor Dagster's package for it."""
    done = site_without_pyspark(
        "from churn_pipeline.definitions import defs\n"
        "from churn_pipeline.spark.sessions import SparkSettings, SparkNotInstalled, open_session\n"
        "try:\n    open_session(SparkSettings())\nexcept SparkNotInstalled as error:\n    print(error)\n"
    )
    assert "extra spark" in done


def test_without_pyspark_scikit_learn_stands_in_for_it(site_without_pyspark, tmp_path):
    done = site_without_pyspark(
        "import joblib, pandas as pd\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from churn_pipeline.inference import get_backend_info, load_model, predict\n"
        "past = pd.DataFrame({'tenure': [1, 2, 40, 60]})\n"
        f"joblib.dump(LogisticRegression().fit(past, [1, 1, 0, 0]), {str(tmp_path / 'model.joblib')!r})\n"
        f"backend = load_model('spark', 'folder', fallback_path={str(tmp_path / 'model.joblib')!r})\n"
        "info = get_backend_info(backend)\n"
        "print([info[name] for name in ('fallback_cause', 'scored_by', 'spark_available')])\n"
        "print(predict(backend, {'tenure': 3})[0])\n"
    )
    assert done.splitlines()[-2:] == [f"['{SparkNotInstalled.cause}', 'sklearn', False]", "[1]"]


@pytest.mark.slow
def test_without_pyspark_a_batch_is_scored_in_one_process_and_says_so(site_without_pyspark, deployment, tmp_path):
    source = customer_file(tmp_path / "c.csv", 60)
    done = site_without_pyspark(
        "from pathlib import Path\n"
        "from churn_pipeline import deployments, runs\n"
        "from churn_pipeline.resources.run_history import local_instance\n"
        f"d = deployments.test(Path({str(tmp_path / 'home')!r}), backend='spark', "
        f"tracking_uri={deployment.settings.tracking_uri!r})\n"
        "with local_instance(d.settings.folder) as instance:\n"
        f"    print(runs.score(d, runs.Request(source={str(source)!r}), instance).row.scored_by)\n"
    )
    assert done.splitlines()[-1] == "sklearn (linear), in place of Spark (pyspark_missing)"


def test_a_pyspark_without_its_client_of_spark_connect_says_what_is_missing(site_without):
    done = site_without(
        ("grpc_status", "zstandard"),
        "from churn_pipeline.spark.sessions import SparkSettings, SparkNotInstalled, open_session\n"
        "try:\n    open_session(SparkSettings(remote='sc://127.0.0.1:9'))\n"
        "except SparkNotInstalled as error:\n    print(error)\n",
    )
    assert "grpc_status, zstandard cannot be imported" in done and "extra spark" in done


@pytest.fixture
def site_without(tmp_path):
    """Runs code where all packages are installed but those whose files begin so."""
    import pyspark

    def run(missing: tuple[str, ...], code: str) -> str:
        for entry in Path(pyspark.__file__).parents[1].iterdir():
            if not entry.name.startswith((*missing, "__editable__")):
                (tmp_path / entry.name).symlink_to(entry)
        root = Path(__file__).parents[2]
        begin = f"import sys; sys.path += [{str(root)!r}, {str(tmp_path)!r}]\n"
        command = [sys.executable, "-I", "-S", "-c", begin + code]
        done = subprocess.run(command, capture_output=True, text=True, cwd=root, env={"PATH": os.environ["PATH"]})
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def site_without_pyspark(site_without):
    """Runs code where all packages are installed but PySpark."""
    return partial(site_without, ("pyspark", "py4j", "dagster_pyspark", "dagster_spark"))
