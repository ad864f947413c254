"""`doctor` on Spark: what is missing and what to do, without a session."""

import socket

import pytest

from churn_pipeline import deployments
from churn_pipeline.cli.examination_spark import spark_findings
from churn_pipeline.cli.findings import Finding


@pytest.fixture
def look(tmp_path):
    """The finding for some settings, none of which needs Java."""

    def found(**settings: str) -> Finding:
        (finding,) = spark_findings(deployments.test(tmp_path, **{"backend": "spark", **settings}), [])
        return finding

    return found


@pytest.fixture
def java(tmp_path, monkeypatch):
    """A Java that is never started."""
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.touch()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))


def test_who_never_asks_for_spark_is_told_nothing_of_it(tmp_path):
    assert spark_findings(deployments.test(tmp_path), []) == []


def test_a_server_that_answers_is_well(look):
    with socket.create_server(("127.0.0.1", 0)) as server:
        where = f"sc://127.0.0.1:{server.getsockname()[1]}"
        found = look(spark_remote=where)
    assert found.status == "ok" and f"{where} answers. No session" in found.found


@pytest.mark.parametrize("where", [{"spark_remote": "sc://127.0.0.1:9"}, {"spark_master": "spark://127.0.0.1:9"}])
def test_what_does_not_answer_is_a_fault_only_where_nothing_stands_in_for_it(look, java, where):
    bearable, fault = look(**where), look(**where, spark_fallback="forbid")
    assert (bearable.status, fault.status) == ("look", "fault")
    assert "scikit-learn will stand in" in bearable.found and bearable.fix == fault.fix
    assert "Nothing answers at s" in fault.fix and "CHURN_SPARK_MASTER" in fault.fix


def test_a_missing_java_is_said_with_what_to_do(look, monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert "Java 17 or newer" in look().fix and "point JAVA_HOME at it" in look().fix


def test_spark_in_this_process_is_not_asked(look, java):
    assert "local[*] was not asked" in look().found


def test_auto_says_from_how_many_customers_on_or_that_it_never_does(look, java):
    assert "from 5,000 customers on" in look(backend="auto", spark_rows="5000").found
    never = look(backend="auto")
    assert never.status == "look" and "never takes Spark" in never.found and "CHURN_SPARK_ROWS" in never.fix


def test_a_setting_that_is_none_is_a_fault_that_is_told_once(look, tmp_path):
    fault = look(spark_conf="memory=4g")
    assert fault.status == "fault" and "spark.NAME=VALUE" in fault.fix
    deployment = deployments.test(tmp_path, backend="spark", spark_conf="memory=4g")
    (again,) = spark_findings(deployment, [Finding("model", "fault", "", fault.fix)])
    assert again.found == "The same as model."
