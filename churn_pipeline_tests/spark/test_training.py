"""Spark ML pipelines that we train: registered, resolved and scored like any version; and what stands in for them."""

import dagster as dg
import pandas as pd
import pytest

from churn_pipeline import deployments, runs
from churn_pipeline.kernel.frame import frame
from churn_pipeline.spark.sessions import SparkNotStarted
from churn_pipeline.training.estimators import UnknownEstimator
from churn_pipeline.training.spark_estimators import SPARK_ESTIMATORS
from churn_pipeline_tests.builders import customer_file, instance_of, rows_of, score

#: Nobody listens there.
NOWHERE = "spark://127.0.0.1:9"


def beside(deployment, folder, **settings):
    """The same registry and training customers, tables of its own."""
    known = deployment.settings
    return deployments.test(folder, tracking_uri=known.tracking_uri, training_source=known.training_source, **settings)


@pytest.fixture
def trained(deployment, spark, tmp_path):
    """Trains on Spark; the version, and a deployment that scores with it."""

    def train(estimator="logistic_regression"):
        there = beside(deployment, tmp_path / "there", spark_master=spark.master)
        with instance_of(there) as instance:
            return runs.train(there, None, estimator, instance, "spark").model_version, there

    return train


@pytest.mark.parametrize("estimator", SPARK_ESTIMATORS)
def test_a_pipeline_is_trained_registered_and_scored_on_workers(trained, tmp_path, estimator):
    version, there = trained(estimator)
    source = customer_file(tmp_path / "c.csv", 300, seed=8)
    row = score(there, source=str(source), model=version).row
    assert (row.backend, row.rows_scored, row.rows_unscored, row.model_version) == ("spark", 300, 0, version)
    registry, contract = there.model_registry(), there.contract()
    model = registry.resolve("churn_model", version, contract)
    assert (model.flavour, model.classes, model.positive) == ("spark", ("0", "1"), 1)
    customers = there.table_store().open("customers").to_arrow().combine_chunks().to_batches()[0]
    wanted = registry.load(model).predict_proba(frame(customers, model.inputs))[:, 1]
    found = pd.DataFrame(rows_of(there, "churn_predictions"))
    assert found["churn_probability"].tolist() == wanted.tolist()
    assert (found["prediction"] == (wanted >= model.threshold)).all()


def test_an_estimator_that_spark_has_not_is_an_error(trained):
    with pytest.raises(UnknownEstimator, match="on Spark"):
        trained("hist_gradient_boosting")


def test_where_spark_cannot_score_the_version_that_the_tag_names_does_and_says_so(trained, deployment, tmp_path):
    version, there = trained()
    source = str(customer_file(tmp_path / "c.csv", 100, seed=8))
    nowhere = beside(deployment, tmp_path / "nowhere", spark_master=NOWHERE)
    with pytest.raises(SparkNotStarted):
        score(nowhere, source=source, model=version)
    there.model_registry().tag("churn_model", version, {"fallback_version": "1"})
    with instance_of(there) as instance:
        runs.score(there, runs.Request(source=source, model=version), instance)
        said = instance.get_latest_materialization_event(dg.AssetKey("churn_model")).asset_materialization.metadata
    assert said["fallback_version"].value == "1" and 0 < said["fallback_difference"].value < 0.3
    outcome = score(nowhere, source=source, model=version)
    assert (outcome.row.backend, outcome.row.model_version) == ("sklearn", "1")
    cause = f"version {version}: session_failed"
    assert outcome.row.scored_by == f"sklearn (linear), in place of Spark ({cause})"
    assert f"Backend: {outcome.row.scored_by}" in outcome.alert.lines
    assert {row["backend"] for row in rows_of(nowhere, "churn_predictions")} == {"sklearn"}
    strict = beside(deployment, tmp_path / "strict", spark_master=NOWHERE, spark_fallback="forbid")
    with pytest.raises(SparkNotStarted):
        score(strict, source=source, model=version)


@pytest.mark.parametrize("policy", ["allow", "warn"])
def test_where_spark_was_asked_for_and_is_not_there_the_same_version_is_scored_here(deployment, tmp_path, policy):
    source = str(customer_file(tmp_path / "c.csv", 100, seed=8))
    nowhere = beside(deployment, tmp_path / policy, backend="spark", spark_master=NOWHERE, spark_fallback=policy)
    row = score(nowhere, source=source).row
    assert row.scored_by == "sklearn (linear), in place of Spark (session_failed)"
    assert row.kernel_proof["canary"]["rows"] == 100


def test_where_nothing_may_stand_in_for_spark_nothing_is_scored(deployment, tmp_path):
    source = str(customer_file(tmp_path / "c.csv", 100, seed=8))
    nowhere = beside(deployment, tmp_path / "f", backend="spark", spark_master=NOWHERE, spark_fallback="forbid")
    with pytest.raises(SparkNotStarted, match="Nothing answers"):
        score(nowhere, source=source)
    assert rows_of(nowhere, "customers") == []
