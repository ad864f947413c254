"""Margins that are sums: what single columns add to them, missing, far off and unknown numbers included."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline.kernel.score import score
from churn_pipeline.kernel.terms import Densities
from churn_pipeline_tests.kernel.foreign_models import (
    EXTREMES,
    INPUTS,
    _logistic,
    _onehot,
    fitted,
    labels,
    members,
    version,
)
from churn_pipeline_tests.kernel.test_plan import plan_of

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("many", [0, 100], ids=["with numba", "without"])
@pytest.mark.parametrize("imputer", [SimpleImputer(), SimpleImputer(strategy="constant", fill_value=-7.0), None])
def test_what_is_missing_and_what_is_no_number_are_the_same_to_a_linear_model(imputer, many, monkeypatch):
    monkeypatch.setattr("churn_pipeline.kernel.linear_tables._MANY", many)
    train = members(1_500, seed=1)
    numbers = ["visits", "spend", "months"]
    steps = [imputer, StandardScaler()] if imputer else [StandardScaler()]
    columns = [item for item in INPUTS if item.name in numbers]
    filled = train.select(numbers)
    if imputer is None:
        filled = pa.RecordBatch.from_arrays([column.fill_null(1) for column in filled.columns], numbers)
    estimator = make_pipeline(*steps, _logistic()).fit(frame(filled, columns), labels(train))
    model = replace(version(), inputs=tuple(columns))
    plan = make_plan(model, estimator, members(1_000, seed=9), {name: EXTREMES[name] for name in numbers})
    assert plan.tier == "linear", plan.why
    batch = members(300, seed=2).select(numbers)
    odd = batch.set_column(1, "spend", pa.array([None, np.nan, 3.5] * 100))
    for rows in (batch, odd):
        found = score(rows, plan).column("churn_probability")
        for place in range(20):
            row = rows.slice(place, 1)
            try:
                wanted = estimator.predict_proba(frame(row, columns))[0, 1]
            except ValueError:
                assert found[place].as_py() is None
            else:
                assert abs(found[place].as_py() - wanted) <= 1e-12


def test_customers_far_from_both_classes_of_naive_bayes_are_the_estimators():
    estimator, plan = fitted("bayes"), plan_of(fitted("bayes"))
    batch = members(400, seed=3)
    spend = np.repeat([20.0, 3e3, 1e7, -1e12], 100)
    batch = batch.set_column(batch.schema.get_field_index("spend"), "spend", pa.array(spend))
    left = np.isnan(plan.tables.answer(batch).probability)
    assert not left[:100].any() and left[200:].all()
    found = score(batch, plan).column("churn_probability").to_numpy()
    wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
    assert np.abs(found - wanted).max() <= 1e-12
    near, distant = batch.slice(0, 1).to_pylist()[0], batch.slice(250, 1).to_pylist()[0]
    assert plan.tables.one(near) == pytest.approx(wanted[0], abs=1e-12)
    assert plan.tables.one(distant) is None


@pytest.mark.parametrize("slope", [1.0, -3e-4, 0.0])
def test_normal_densities_however_unlike_are_compared_without_losing_digits(slope):
    rng = np.random.default_rng(0)
    for _ in range(300):
        means = rng.normal(size=2) * 10.0 ** rng.integers(-3, 5)
        (low, high), (one, two) = means, 10.0 ** rng.uniform(-6, 8, size=2)
        offset = 0.0 if slope == 1 else float(means[0])
        made = (means + np.sqrt([one, two]) * rng.normal(size=(60, 2)) * 12).ravel()
        found = (made - offset) / (slope or 1)
        ratio = Densities(means[:, None], np.array([[one], [two]]), 0.0).ratio(0, slope, offset)
        inside = (found >= ratio.least) & (found <= ratio.most) & ~np.isnan(ratio.of(found))
        exact = found.astype(np.longdouble) * slope + offset
        wanted = ((exact - low) ** 2 / one - (exact - high) ** 2 / two + np.log(np.longdouble(one) / two)) / 2
        far = np.maximum((exact - low) ** 2 / one, (exact - high) ** 2 / two)
        assert not inside[far > 1_001].any() and inside[far < 999].all()
        # A number that is rounded before it is compared is no better known to the classifier itself.
        plain = found * slope + offset
        unknown = np.abs((plain - low) ** 2 / one - (plain - high) ** 2 / two + np.log(one / two) - 2 * wanted)
        within = 2e-12 + 8 * unknown[inside].max(initial=0) * (slope != 1)
        assert (np.abs(ratio.of(found) - wanted)[inside] <= within).all()


@pytest.mark.parametrize("function", [np.log1p, pytest.param(np.sqrt, marks=pytest.mark.slow)], ids=["log1p", "sqrt"])
def test_what_a_function_of_numpy_makes_of_numbers_is_added_without_a_transformer(function):
    train = members(1_500, seed=1)
    bent = make_pipeline(SimpleImputer(strategy="median"), FunctionTransformer(function), StandardScaler())
    front = ColumnTransformer([("bent", bent, ["spend", "visits"]), ("words", _onehot(), ["plan"])])
    estimator = make_pipeline(front, _logistic()).fit(frame(train, INPUTS), labels(train))
    plan = plan_of(estimator)
    assert plan.tier == "linear" and not plan.tables.runs_code
    batch = members(900, seed=2)
    spend = pa.array([*[None, np.nan, 0.0, -0.5, -3.0, 1e12] * 50, *batch.column("spend").to_pylist()[300:]])
    for rows in (batch, batch.set_column(batch.schema.get_field_index("spend"), "spend", spend)):
        found = score(rows, plan).column("churn_probability")
        for place in range(0, 900, 11):
            row = rows.slice(place, 1)
            try:
                wanted = estimator.predict_proba(frame(row, INPUTS))[0, 1]
            except ValueError:
                assert found[place].as_py() is None
                assert plan.tables.one(row.to_pylist()[0]) is None
            else:
                assert abs(found[place].as_py() - wanted) <= 1e-12
                assert plan.tables.one(row.to_pylist()[0]) == pytest.approx(wanted, abs=1e-12)


@pytest.mark.slow
def test_a_linear_model_of_few_numbers_does_without_numba():
    code = """
import sys, warnings
warnings.simplefilter("ignore")
from churn_pipeline.kernel.score import score
from churn_pipeline_tests.kernel.foreign_models import fitted, members
from churn_pipeline_tests.kernel.test_plan import plan_of
plan = plan_of(fitted("logistic"))
assert plan.tier == "linear", plan.why
score(members(100), plan)
assert "numba" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
