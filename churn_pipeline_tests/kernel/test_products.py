"""Polynomial features before a linear classifier are one quadratic form, and not computed."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, PolynomialFeatures, StandardScaler

from churn_pipeline.kernel.explanations.reasons import contributions
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline_tests.kernel.foreign_models import (
    EXTREMES,
    INPUTS,
    _front,
    _logistic,
    fitted,
    labels,
    members,
    version,
)
from churn_pipeline_tests.kernel.test_odd_models import says_the_same
from churn_pipeline_tests.kernel.test_plan import plan_of, probabilities, strange

pytestmark = pytest.mark.filterwarnings("ignore")

NUMBERS = [item for item in INPUTS if item.type in ("long", "double")]


@pytest.mark.parametrize(
    ("polynomial", "after"),
    [
        (PolynomialFeatures(2), []),
        (PolynomialFeatures(2, include_bias=False), [StandardScaler()]),
        (PolynomialFeatures(2, interaction_only=True), [StandardScaler()]),
    ],
    ids=["squares", "scaled", "interactions"],
)
def test_products_of_numbers_beside_words_are_looked_at_without_a_transformer(polynomial, after):
    train = members(1_500, seed=1)
    part = make_pipeline(SimpleImputer(), StandardScaler(), polynomial, *after)
    estimator = make_pipeline(_front(part), _logistic()).fit(frame(train, INPUTS), labels(train))
    plan = plan_of(estimator)
    assert plan.tier == "linear" and not plan.tables.runs_code
    rows = members(20, seed=6)
    says_the_same(plan, members(5_000, seed=5), strange(300), rows)
    wanted = probabilities(rows, plan)
    for place, record in enumerate(rows.to_pylist()):
        assert plan.tables.one(record) == pytest.approx(wanted[place], abs=1e-12)


def test_products_of_all_columns_are_looked_at_too():
    train = members(1_500, seed=1)
    steps = [SimpleImputer(), MinMaxScaler(), PolynomialFeatures(2), StandardScaler()]
    estimator = make_pipeline(*steps, _logistic()).fit(frame(train, NUMBERS), labels(train))
    model = replace(version(), inputs=tuple(NUMBERS))
    extremes = {item.name: EXTREMES[item.name] for item in NUMBERS}
    plan = make_plan(model, estimator, members(1_000, seed=9), extremes)
    assert plan.tier == "linear" and not plan.tables.runs_code
    rows = members(200, seed=6)
    says_the_same(plan, members(2_000, seed=5), rows)
    found = contributions(rows, plan)
    added = 1 / (1 + np.exp(-(found.base + found.values.sum(axis=0))))
    assert np.abs(added - probabilities(rows, plan)).max() <= 1e-9


def test_customers_whose_products_are_large_are_the_estimators():
    plan = plan_of(fitted("polynomial"))
    batch = members(300, seed=3)
    spend = np.repeat([20.0, 1e5, -1e9], 100)
    batch = batch.set_column(batch.schema.get_field_index("spend"), "spend", pa.array(spend))
    left = np.isnan(plan.tables.answer(batch).probability)
    assert not left[:100].any() and left[200:].all()
    says_the_same(plan, batch)


def test_products_of_three_numbers_are_computed():
    train = members(1_500, seed=1)
    part = make_pipeline(SimpleImputer(), StandardScaler(), PolynomialFeatures(3))
    estimator = make_pipeline(_front(part), _logistic()).fit(frame(train, INPUTS), labels(train))
    plan = plan_of(estimator)
    assert plan.tier == "linear" and plan.tables.runs_code
    says_the_same(plan, members(500, seed=5))
