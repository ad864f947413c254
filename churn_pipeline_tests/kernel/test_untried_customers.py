"""What a model does between and beyond the customers that its plan was tried on is no wrong row either."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    OneHotEncoder,
    StandardScaler,
)

from churn_pipeline.kernel.codes import TooManyValues
from churn_pipeline.kernel.compilation import available
from churn_pipeline.kernel.compile import compile_tables
from churn_pipeline.kernel.evaluator import Surprise
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.material import gather
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline_tests.kernel.foreign_models import EXTREMES, INPUTS, _boosted, _logistic, labels, members, version
from churn_pipeline_tests.kernel.forests.forests import needs_numba
from churn_pipeline_tests.kernel.test_plan import plan_of, probabilities

pytestmark = pytest.mark.filterwarnings("ignore")


def test_a_column_function_that_is_not_monotone_is_no_wrong_row():
    train = members(1_500, seed=1)
    there_and_back = FunctionTransformer(lambda rows: np.abs(rows - 17.3) % 5)
    front = ColumnTransformer([("n", there_and_back, ["months"]), ("w", OneHotEncoder(), ["plan"])])
    estimator = make_pipeline(front, _boosted()).fit(frame(train, INPUTS), labels(train))
    batch = members(5_000, seed=5)
    wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
    assert np.abs(probabilities(batch, plan_of(estimator)) - wanted).max() <= 1e-12


def test_an_interaction_that_no_sample_shows_is_no_wrong_row():
    train = members(1_500, seed=1)

    def hidden(rows: pd.DataFrame) -> np.ndarray:
        months, visits = rows["months"].to_numpy(float), rows["visits"].to_numpy(float)
        return np.column_stack([months, visits + 40 * (months > 2_000) * (visits > 700)])

    front = ColumnTransformer(
        [("n", FunctionTransformer(hidden), ["months", "visits"]), ("w", OneHotEncoder(), ["plan"])]
    )
    estimator = make_pipeline(front, StandardScaler(), _boosted()).fit(frame(train, INPUTS), labels(train))
    batch = members(50, seed=5)
    far = batch.set_column(7, "months", pa.array([3_000.0] * 50)).set_column(3, "visits", pa.array([800] * 50))
    plan = plan_of(estimator)
    for some in (batch, far):
        wanted = estimator.predict_proba(frame(some, INPUTS))[:, 1]
        assert np.abs(probabilities(some, plan) - wanted).max() <= 1e-12


def _behind(*numbers, classifier, after="passthrough"):
    """A classifier behind transformers of number columns, and the plans as words."""
    words = ("words", OneHotEncoder(handle_unknown="ignore"), ["plan"])
    train = members(1_500, seed=1)
    numbers = [(f"numbers{place}", *item) for place, item in enumerate(numbers)]
    model = make_pipeline(ColumnTransformer([*numbers, words]), after, classifier)
    return model.fit(frame(train, INPUTS), labels(train))


@pytest.mark.parametrize("only_matrix", [False, True], ids=["own tables", "matrix"])
@pytest.mark.parametrize("classifier", [_logistic(), _boosted()], ids=["linear", "trees"])
@pytest.mark.parametrize("values", [2, 1_000], ids=["few values", "continuous"])
@pytest.mark.parametrize("after", ["passthrough", MaxAbsScaler(), VarianceThreshold()], ids=["", "scaled", "selected"])
def test_stretches_of_a_column_that_no_sample_reaches_are_no_wrong_row(classifier, values, after, only_matrix):
    bins = make_pipeline(SimpleImputer(), KBinsDiscretizer(6, quantile_method="averaged_inverted_cdf"))
    estimator = _behind((bins, ["spend", "months"]), classifier=classifier, after=after)
    sample, edges = members(1_000, seed=9), np.linspace(0.0, 1.0, values)
    for name in ("spend", "months"):
        odd = pa.array(np.where(np.arange(1_000) % 2, 0.5, 900.0) + np.resize(edges, 1_000))
        sample = sample.set_column(sample.schema.get_field_index(name), name, odd)
    batch = members(5_000, seed=5)
    wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
    material = gather(version(), estimator, sample, EXTREMES)
    tables = compile_tables(version(), estimator, material, compiled=available(), only_matrix=only_matrix)
    try:
        assert np.abs(tables.answer(batch).probability - wanted).max() <= 1e-12
    except (Surprise, TooManyValues):  # then the estimator answers
        assert values == 2
    plan = make_plan(version(), estimator, sample, EXTREMES)
    assert np.abs(probabilities(batch, plan) - wanted).max() <= 1e-12


@pytest.mark.parametrize("classifier", [_logistic(), _boosted()], ids=["linear", "trees"])
def test_a_threshold_that_no_sample_reaches_is_no_wrong_row(classifier):
    both = FeatureUnion([("scaled", StandardScaler()), ("much", Binarizer(threshold=60.0))])
    estimator = _behind((make_pipeline(SimpleImputer(), both), ["spend", "age"]), classifier=classifier)
    sample = members(1_000, seed=9)
    low = pa.array(np.linspace(0.0, 50.0, 1_000))
    for name in ("spend", "age"):
        sample = sample.set_column(sample.schema.get_field_index(name), name, low)
    batch = members(5_000, seed=5)
    wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
    plan = make_plan(version(), estimator, sample, {**EXTREMES, "spend": [None], "age": [None]})
    assert np.abs(probabilities(batch, plan) - wanted).max() <= 1e-12
    assert plan.tier in ("linear", "masks")


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_numba)], ids=["numpy", "numba"])
def test_whole_numbers_in_a_wide_range_are_cut_where_the_trees_cut_them(compiled):
    def wide(batch: pa.RecordBatch) -> pa.RecordBatch:
        many = pc.add(pc.multiply(batch.column("visits"), 1_013), pa.array(range(batch.num_rows)))
        return batch.set_column(batch.schema.get_field_index("visits"), "visits", many)

    train = wide(members(1_500, seed=1))
    front = ColumnTransformer([("n", StandardScaler(), ["visits"]), ("w", OneHotEncoder(), ["plan"])])
    estimator = make_pipeline(front, _boosted()).fit(frame(train, INPUTS), labels(train))
    plan = make_plan(version(), estimator, wide(members(1_000, seed=9)), EXTREMES, compiled=compiled)
    assert plan.tier == "masks" and len(plan.tables.breaks()["visits"]) > 3
    odd, batch = [2**62, -(2**62), 2**53, 2**53 + 1, -(2**53) - 1, 0, -1], wide(members(5_000, seed=5))
    batch = batch.set_column(3, "visits", pa.array([*odd, *batch.column("visits").to_pylist()[len(odd) :]]))
    wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
    assert np.abs(probabilities(batch, plan) - wanted).max() <= 1e-12
    record = batch.slice(20, 1).to_pylist()[0]
    assert plan.tables.one(record) == pytest.approx(wanted[20], abs=1e-12)
    assert plan.tables.one({**record, "visits": 2**60}) is None


def test_whole_numbers_between_those_of_the_sample_are_no_surprise():
    bins = KBinsDiscretizer(6, quantile_method="averaged_inverted_cdf")
    estimator = _behind((bins, ["visits", "months"]), classifier=_logistic())
    sample = members(1_000, seed=9)
    sample = sample.set_column(sample.schema.get_field_index("visits"), "visits", pa.array([0, 400] * 500))
    batch = members(5_000, seed=5)
    wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
    plan = make_plan(version(), estimator, sample, EXTREMES)
    assert np.abs(probabilities(batch, plan) - wanted).max() <= 1e-12
    assert plan.tier == "linear"
