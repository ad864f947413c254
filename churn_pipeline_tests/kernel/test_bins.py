"""Numbers that are cut into bins: their codes are the bins, and no transformer runs beside the tables."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler

from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline_tests.kernel.foreign_models import (
    EXTREMES,
    INPUTS,
    _boosted,
    _forest,
    _logistic,
    _onehot,
    labels,
    members,
    version,
)
from churn_pipeline_tests.kernel.forests.test_plans_of_trees import with_and_without_numba
from churn_pipeline_tests.kernel.test_odd_models import says_the_same
from churn_pipeline_tests.kernel.test_plan import plan_of, strange

pytestmark = pytest.mark.filterwarnings("ignore")

NUMBERS = ["visits", "spend", "months"]


def near(edges, whole):
    """Customers on both sides of every edge, and a missing number where there may be one."""
    points = np.concatenate([edges, np.nextafter(edges, -np.inf), np.nextafter(edges, np.inf)])
    if whole:
        return pa.array(np.unique(np.concatenate([np.floor(points), np.ceil(points), points.round() + 1])).astype(int))
    return pa.array([*points.tolist(), None])


@with_and_without_numba
@pytest.mark.parametrize(
    ("encode", "classifier", "tier"),
    [
        ("onehot", _logistic(), "linear"),
        ("ordinal", _logistic(), "linear"),
        ("onehot-dense", _boosted(), "masks"),
        ("ordinal", _forest(max_depth=5), "masks"),
    ],
)
def test_numbers_in_bins_are_looked_up_by_their_bin(encode, classifier, tier, compiled):
    train = members(1_500, seed=1)
    bins = KBinsDiscretizer(n_bins=7, encode=encode, subsample=None)
    parts = [
        ("bins", make_pipeline(SimpleImputer(), bins), NUMBERS),
        ("scaled", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
        ("words", _onehot(), ["plan"]),
    ]
    estimator = make_pipeline(ColumnTransformer(parts), classifier).fit(frame(train, INPUTS), labels(train))
    plan = plan_of(estimator, compiled=compiled)
    assert plan.tier == tier, plan.why
    assert not plan.tables.runs_code
    edges = dict(zip(NUMBERS, estimator[0].named_transformers_["bins"][-1].bin_edges_, strict=True))
    batches = [members(1_500, seed=5), strange(500)]
    for name in NUMBERS:
        values = near(edges[name], whole=name == "visits")
        rows = members(len(values), seed=7)
        batches.append(rows.set_column(rows.schema.get_field_index(name), name, values))
    says_the_same(plan, *batches)
    record = batches[0].slice(3, 1).to_pylist()[0]
    assert plan.tables.one(record) == pytest.approx(estimator.predict_proba(frame(batches[0], INPUTS))[3, 1], abs=1e-12)


def test_numbers_that_are_scaled_as_well_as_cut_into_bins_are_transformed():
    train = members(1_500, seed=1)
    parts = [
        ("bins", KBinsDiscretizer(n_bins=5, subsample=None), ["months"]),
        ("scaled", StandardScaler(), ["months"]),
        ("words", _onehot(), ["plan"]),
    ]
    estimator = make_pipeline(ColumnTransformer(parts), _logistic()).fit(frame(train, INPUTS), labels(train))
    plan = plan_of(estimator)
    assert plan.tier == "linear" and plan.tables.runs_code
    says_the_same(plan, members(500, seed=5))


def test_whole_numbers_of_a_wide_range_are_looked_up_by_their_bin():
    def wide(batch):
        values = pa.array(batch.column("visits").to_numpy() * 1_009 + np.arange(batch.num_rows) % 900)
        return batch.set_column(batch.schema.get_field_index("visits"), "visits", values)

    train = wide(members(1_500, seed=1))
    bins = KBinsDiscretizer(n_bins=40, encode="onehot-dense", subsample=None)
    front = ColumnTransformer([("bins", bins, ["visits"]), ("words", _onehot(), ["plan"])])
    estimator = make_pipeline(front, _logistic()).fit(frame(train, INPUTS), labels(train))
    plan = make_plan(version(), estimator, wide(members(200, seed=9)), {**EXTREMES, "visits": [0, 10**6]})
    assert plan.tier == "linear" and not plan.tables.runs_code, plan.why
    says_the_same(plan, wide(members(3_000, seed=5)))


def test_bins_of_single_precision_are_computed():
    train = members(1_500, seed=1)
    bins = KBinsDiscretizer(n_bins=5, encode="onehot-dense", dtype=np.float32, subsample=None)
    front = ColumnTransformer([("bins", bins, ["months"]), ("words", _onehot(), ["plan"])])
    estimator = make_pipeline(front, _logistic()).fit(frame(train, INPUTS), labels(train))
    plan = plan_of(estimator)
    edges = bins.fit(frame(train, INPUTS)[["months"]]).bin_edges_[0][1:-1]
    points = np.concatenate([edges * (1 + step * 1e-9) for step in range(-40, 41)])
    batch = members(len(points), seed=5)
    batch = batch.set_column(batch.schema.get_field_index("months"), "months", pa.array(points))
    says_the_same(plan, batch)
