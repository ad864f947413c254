"""Functions of the model's author over values that tables keep: what they say may change, and then the tables go."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.isotonic import IsotonicRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from churn_pipeline.kernel import foreign
from churn_pipeline.kernel.evaluator import Surprise
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput
from churn_pipeline.kernel.node import Calibrated, Leaf
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline.kernel.score import score
from churn_pipeline.kernel.tables import _is_steep
from churn_pipeline_tests.kernel.foreign_models import _boosted, _logistic, version

pytestmark = pytest.mark.filterwarnings("ignore")

INPUTS = (ModelInput("joined", "string"), ModelInput("plan", "string"), ModelInput("spend", "double"))
EXTREMES = {"joined": ["2015-01-01", "2018-12-31"], "plan": [None, "never seen"], "spend": [0.0, 1e6]}
DAYS = [str(day.date()) for day in pd.date_range("2015-01-01", periods=200)]


def guests(n, seed=0, days=DAYS):
    rng = np.random.default_rng(seed)
    return pa.RecordBatch.from_pydict(
        {
            "joined": pa.array(rng.choice(days, n)).dictionary_encode(),
            "plan": pa.array(rng.choice(["day", "plus"], n)).dictionary_encode(),
            "spend": pa.array(np.round(rng.lognormal(3, 1, n), 2)),
        }
    )


def trained(function, classifier):
    train = guests(2_000, seed=1)
    dates = FunctionTransformer(function) if callable(function) else function
    front = ColumnTransformer(
        [("j", dates, ["joined"]), ("p", OneHotEncoder(handle_unknown="ignore"), ["plan"]),
         ("s", StandardScaler(), ["spend"])]
    )  # fmt: skip
    churned = (train.column("spend").to_numpy() + np.random.default_rng(0).normal(0, 10, 2_000) > 25).astype(int)
    return make_pipeline(front, classifier).fit(frame(train, INPUTS), churned)


def plan_of(estimator):
    return make_plan(version(INPUTS), estimator, guests(600, seed=9), EXTREMES)


def says_the_same(plan, estimator, batch):
    wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
    found = score(batch, plan).column("churn_probability").to_numpy(zero_copy_only=False)
    assert np.abs(found - wanted).max() <= 1e-12


CLASSIFIERS = pytest.mark.parametrize("classifier", [_logistic(), _boosted()], ids=["linear", "masks"])


@CLASSIFIERS
def test_a_date_that_is_read_as_the_other_dates_of_its_batch_are_is_no_wrong_row(classifier):
    def month(rows: pd.DataFrame) -> np.ndarray:
        # Without a format pandas takes that of the first date for all.
        return pd.to_datetime(rows["joined"], errors="coerce").dt.month.fillna(0).to_numpy(float).reshape(-1, 1)

    estimator = trained(month, classifier)
    plan = plan_of(estimator)
    assert plan.tier in ("linear", "masks")
    says_the_same(plan, estimator, guests(500, seed=5))
    odd = guests(500, seed=6)
    dates = odd.column("joined").to_pylist()
    dates[400:403] = ["13/05/2015", "20150611", "Mar 8, 2015"]
    says_the_same(plan, estimator, odd.set_column(0, "joined", pa.array(dates)))
    says_the_same(plan, estimator, guests(500, seed=7))


@CLASSIFIERS
def test_a_function_that_reads_the_clock_is_asked_again_and_again(classifier, monkeypatch):
    monkeypatch.setattr(foreign, "_SECONDS", 0.0)
    monkeypatch.setattr(foreign, "_SHARE", 0.0)
    today = [pd.Timestamp("2015-08-01")]

    def weeks(rows: pd.DataFrame) -> np.ndarray:
        return ((today[0] - pd.to_datetime(rows["joined"])).dt.days // 7).to_numpy(float).reshape(-1, 1)

    estimator = trained(weeks, classifier)
    plan, batch = plan_of(estimator), guests(500, seed=5)
    assert plan.tables is not None and not np.isnan(plan.tables.answer(batch).probability).any()
    today[0] += pd.Timedelta(days=1)
    says_the_same(plan, estimator, batch)
    with pytest.raises(Surprise):
        plan.tables.answer(batch)


def test_a_function_that_says_the_same_is_not_asked_at_every_turn():
    asked = []

    def month(rows: pd.DataFrame) -> np.ndarray:
        asked.append(len(rows))
        return rows["joined"].str[5:7].astype(float).to_numpy().reshape(-1, 1)

    plan = plan_of(trained(month, _logistic()))
    batch = guests(500, seed=5)
    plan.tables.answer(batch)
    asked.clear()
    for _ in range(20):
        plan.tables.answer(batch)
    assert len(asked) <= 2


def test_values_of_known_transformers_are_never_asked_again(monkeypatch):
    monkeypatch.setattr(foreign, "_SECONDS", 0.0)
    estimator = trained(OneHotEncoder(handle_unknown="ignore"), _logistic())
    plan = plan_of(estimator)
    monkeypatch.setattr(foreign, "_said", None)
    says_the_same(plan, estimator, guests(500, seed=5))


@pytest.mark.parametrize("at_once", [7, 4_096])
def test_many_new_words_are_asked_about_some_at_a_time(at_once, monkeypatch):
    monkeypatch.setattr("churn_pipeline.kernel.evaluator._AT_ONCE", at_once)
    estimator = trained(lambda rows: rows["joined"].str[5:7].astype(float).to_numpy().reshape(-1, 1), _boosted())
    later = [str(day.date()) for day in pd.date_range("2016-01-01", periods=60)]
    says_the_same(plan_of(estimator), estimator, guests(300, seed=5, days=later))


def test_a_margin_on_a_step_of_a_calibrator_is_left_to_the_estimator():
    steps = IsotonicRegression(out_of_bounds="clip").fit([-1.0, 0.0, 1e-6, 1.0], [0.1, 0.2, 0.7, 0.8])
    node = Calibrated(Leaf((), None, 1, margin=True), steps, flip=False)
    margins = np.array([-2.0, -0.5, 5e-7, 0.5, np.nan])
    assert _is_steep(node, margins).tolist() == [False, False, True, False, False]
