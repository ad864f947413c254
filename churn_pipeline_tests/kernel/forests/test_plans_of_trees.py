"""Columns that reach the trees in other ways than most do: combined by foreign code, or as numbers of 32 bits."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from xgboost import XGBClassifier

from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline_tests.kernel.foreign_models import (
    EXTREMES,
    INPUTS,
    _boosted,
    _filled,
    _forest,
    labels,
    members,
    version,
)
from churn_pipeline_tests.kernel.forests.forests import needs_numba
from churn_pipeline_tests.kernel.test_plan import plan_of, probabilities, strange

pytestmark = pytest.mark.filterwarnings("ignore")

with_and_without_numba = pytest.mark.parametrize(
    "compiled",
    [pytest.param(False, marks=pytest.mark.slow), pytest.param(True, marks=needs_numba)],
    ids=["numpy", "numba"],
)

#: The same table, its whole numbers in 32 bits.
SMALL = tuple(ModelInput(item.name, "integer" if item.type == "long" else item.type) for item in INPUTS)


class LabelEncoders(TransformerMixin, BaseEstimator):
    """A label encoder a column, as people write them."""

    def fit(self, rows: pd.DataFrame, y=None):
        self.known_ = {name: {word: i for i, word in enumerate(sorted(set(rows[name].astype(str))))} for name in rows}
        return self

    def transform(self, rows: pd.DataFrame) -> np.ndarray:
        return np.column_stack([rows[name].astype(str).map(self.known_[name]).fillna(-1) for name in rows])


def _two_facts(rows: pd.DataFrame) -> np.ndarray:
    day = rows["plan"].astype(str).to_numpy() == "day"
    return np.column_stack([day & rows["member"].to_numpy(bool), day.astype(float)])


def _tiers(compiled: bool) -> tuple[str, ...]:
    """Of trees past 64 leaves; whether a matrix pays is timed."""
    return ("walk",) if compiled else ("matrix", "reference")


def _put(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    return batch.set_column(batch.schema.get_field_index(name), name, values)


def _visits(batch: pa.RecordBatch, seed: int) -> pa.RecordBatch:
    """With visits that fill all of 32 bits."""
    many = batch.column("visits").to_numpy() * 2**28 + np.random.default_rng(seed).integers(1, 2**28, batch.num_rows)
    return _put(batch, "visits", pa.array((many - 2**31).clip(max=2**31 - 1)))


@with_and_without_numba
@pytest.mark.parametrize(
    "classifier", [_forest(), XGBClassifier(n_estimators=10, max_depth=8, n_jobs=1)], ids=["forest", "xgb"]
)
@pytest.mark.parametrize(
    ("combining", "columns"),
    [(LabelEncoders(), ["plan", "city", "member"]), (FunctionTransformer(_two_facts), ["plan", "member"])],
    ids=["class", "function"],
)
def test_columns_of_words_that_foreign_code_combines_may_stand_before_trees_of_any_depth(
    combining, columns, classifier, compiled
):
    train = members(1_500, seed=1)
    front = ColumnTransformer([("w", combining, columns), ("n", _filled(), ["visits", "spend", "months"])])
    estimator = make_pipeline(front, classifier).fit(frame(train, INPUTS), labels(train))
    plan = plan_of(estimator, compiled=compiled)
    assert plan.tier in _tiers(compiled), plan.why
    nowhere = pa.array([f"nowhere {i % 30}" for i in range(500)]).dictionary_encode()
    for batch in (members(1, seed=6), members(3_000, seed=5), strange(500), _put(strange(500), "city", nowhere)):
        wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
        assert np.abs(probabilities(batch, plan) - wanted).max() <= 1e-12


@with_and_without_numba
@pytest.mark.parametrize("classifier", [_boosted(), _forest()], ids=["shallow", "deep"])
def test_whole_numbers_of_32_bits_are_cut_where_the_trees_cut_them(classifier, compiled):
    train, sample = _visits(members(1_500, seed=1), 1), _visits(members(1_000, seed=9), 9)
    words = OneHotEncoder(handle_unknown="ignore")
    front = ColumnTransformer([("n", StandardScaler(), ["visits", "months"]), ("w", words, ["plan"])])
    estimator = make_pipeline(front, classifier).fit(frame(train, SMALL), labels(members(1_500, seed=1)))
    plan = make_plan(version(SMALL), estimator, sample, EXTREMES, compiled=compiled)
    assert plan.tier in (("masks",) if isinstance(classifier, GradientBoostingClassifier) else _tiers(compiled))
    cuts = plan.tables.breaks().get("visits", np.empty(0)) if plan.tables else np.empty(0)
    ends = [-(2**31), 1 - 2**31, 0, 2**31 - 2, 2**31 - 1]
    near = np.concatenate([ends, cuts - 1, cuts, cuts + 1]).astype(np.int64)
    beside = _put(members(len(near), seed=6), "visits", pa.array(near))
    for batch in (_visits(members(3_000, seed=5), 5), strange(500), beside):
        wanted = estimator.predict_proba(frame(batch, SMALL))[:, 1]
        assert np.abs(probabilities(batch, plan) - wanted).max() <= 1e-12
