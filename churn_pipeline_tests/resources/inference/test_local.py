"""The local engine: a plan made once, a canary before the first row, and a version that is pinned when they differ."""

import json

import numpy as np
import pandas as pd
import pytest

from churn_pipeline.contract.definition import Contract
from churn_pipeline.kernel.canary import PlanDisproved
from churn_pipeline.kernel.explanations.reasons import ReasonsUnavailable
from churn_pipeline.kernel.frame import frame
from churn_pipeline.reference_sample import reference_sample
from churn_pipeline.resources.inference.choice import Inference
from churn_pipeline.resources.inference.plans import PINNED, PROOF, Plans
from churn_pipeline.resources.model_registry import InMemoryRegistry
from churn_pipeline.sample import sample
from churn_pipeline.training.estimators import pipeline, signature

CONTRACT = Contract.load("telco")


class Run:
    mlflow_run_id = "r"


@pytest.fixture
def registered():
    rows = reference_sample(CONTRACT, 800)
    inputs = signature(CONTRACT)
    churned = np.array(sample(CONTRACT, 800, seed=11, label=True)["Churn"].to_pylist()) == "Yes"
    table: pd.DataFrame = frame(rows, inputs)
    estimator = pipeline(CONTRACT).fit(table, churned.astype(int))
    registry = InMemoryRegistry()
    registry.register("m", estimator, inputs=inputs, example=table.head(5), tags={}, description="", run=Run())
    return registry, estimator, registry.resolve("m", "1", CONTRACT)


def engine_of(registry):
    return Inference(Plans(registry, CONTRACT)).choose("sklearn").engine


def test_nobody_counts_customers_where_their_number_decides_nothing(registered):
    registry, _, _ = registered
    inference = Inference(Plans(registry, CONTRACT), spark_rows=10)
    assert inference.choose("sklearn", pytest.fail).backend == "sklearn"
    assert inference.choose("auto", lambda: 9).reason.startswith("9 customers")


def test_the_plan_is_proven_once_and_its_proof_stands_with_the_version(registered):
    registry, _, version = registered
    plan = engine_of(registry).plan(version)
    assert plan is engine_of(registry).plan(version)
    said = json.loads(registry.find("m", "1").tags[PROOF])
    assert (said["tier"], said["contract"], said["proof"]["labels_changed"]) == ("linear", "telco", 0)
    assert said["proof"]["rows"] > 4_000 and said["proof"]["difference"] <= 1e-12


def test_the_first_thousand_customers_are_scored_twice(registered):
    registry, _, version = registered
    engine = engine_of(registry)
    customers = reference_sample(CONTRACT, 1_600)
    stream = [customers.slice(0, 700), customers.slice(700, 700), customers.slice(1_400)]
    assert sum(batch.num_rows for batch in engine.score(stream, version)) == 1_600
    assert engine.canary.rows == 1_000 and engine.canary.holds


def test_reasons_are_added_where_they_are_asked_for_and_change_no_score(registered):
    registry, _, version = registered
    customers = reference_sample(CONTRACT, 700)
    [plain] = engine_of(registry).score([customers], version)
    [explained] = engine_of(registry).score([customers], version, reasons=2)
    assert explained.select(plain.schema.names).equals(plain)
    assert explained.schema.names == [*plain.schema.names, "reasons_up", "reasons_down"]
    assert explained.column("reasons_up").null_count == 0


def test_a_version_that_is_pinned_to_its_estimator_has_no_reasons_and_needs_none_to_score(registered):
    registry, _, version = registered
    Plans(registry, CONTRACT).pin(version, "it differed once")
    customers = reference_sample(CONTRACT, 5)
    [scored] = engine_of(registry).score([customers], version)
    assert scored.column("churn_probability").null_count == 0
    with pytest.raises(ReasonsUnavailable, match="it differed once"):
        next(engine_of(registry).score([customers], version, reasons=1))


def test_a_model_that_was_changed_after_the_proof_scores_no_row_and_is_pinned_to_its_estimator(registered):
    registry, estimator, version = registered
    engine_of(registry).plan(version)
    estimator.named_steps["encode"].named_transformers_["numbers"].named_steps["scale"].mean_ += 3.0
    customers = reference_sample(CONTRACT, 500)
    with pytest.raises(PlanDisproved, match="run the batch again"):
        next(engine_of(registry).score([customers], version))
    assert "differed by" in registry.find("m", "1").tags[PINNED]
    plan = engine_of(registry).plan(version)
    assert plan.tier == "reference" and "differed by" in str(plan)
    (scored,) = engine_of(registry).score([customers], version)
    wanted = estimator.predict_proba(frame(customers, version.inputs))[:, version.positive]
    assert (scored.column("churn_probability").to_numpy() == wanted).all()
