import pickle

import numpy as np
import pytest
from lightgbm import LGBMClassifier, early_stopping
from xgboost import XGBClassifier, XGBRFClassifier

from churn_pipeline.kernel.forests.booster_readers import read_lightgbm, read_xgboost
from churn_pipeline.kernel.forests.forest import NotReadable
from churn_pipeline_tests.kernel.forests.forests import around_thresholds, customers, walked

ONE = {"n_estimators": 2, "n_jobs": 1}
SETS = {"n_estimators": 9, "n_jobs": 1, "enable_categorical": True, "feature_types": ["q", "q", "q", "c", "q"]}
QUIET = {"n_estimators": 12, "n_jobs": 1, "verbose": -1, "random_state": 0}


def _stopped_lightgbm(x, y):
    settings = QUIET | {"n_estimators": 200, "learning_rate": 0.5}
    callbacks = [early_stopping(2, verbose=False)]
    half = len(x) // 2
    return LGBMClassifier(**settings).fit(x[:half], y[:half], eval_X=x[half:], eval_y=y[half:], callbacks=callbacks)


def _stopped_xgboost(x, y):
    half = len(x) // 2
    estimator = XGBClassifier(n_estimators=200, n_jobs=1, learning_rate=0.5, early_stopping_rounds=2)
    return estimator.fit(x[:half], y[:half], eval_set=[(x[half:], y[half:])], verbose=False)


LIGHTGBM = {
    "numbers": lambda x, y: LGBMClassifier(**QUIET).fit(x, y),
    "nothing missing when it was fitted": lambda x, y: LGBMClassifier(**QUIET).fit(np.nan_to_num(x), y),
    "zero is missing": lambda x, y: LGBMClassifier(**QUIET, zero_as_missing=True).fit(x, y),
    "missing is not used": lambda x, y: LGBMClassifier(**QUIET, use_missing=False).fit(x, y),
    "categories": lambda x, y: LGBMClassifier(**QUIET, min_data_per_group=5).fit(x, y, categorical_feature=[3]),
    "dart": lambda x, y: LGBMClassifier(**QUIET, boosting_type="dart").fit(x, y),
    "stopped early": _stopped_lightgbm,
    "leaves only": lambda x, y: LGBMClassifier(**QUIET, min_child_samples=1_000).fit(x, y),
    "a steeper sigmoid": lambda x, y: LGBMClassifier(**QUIET, sigmoid=1.7).fit(x, y),
}
XGBOOST = {
    "numbers": lambda x, y: XGBClassifier(n_estimators=12, n_jobs=1).fit(x, y),
    "a base score": lambda x, y: XGBClassifier(n_estimators=3, n_jobs=1, base_score=0.2).fit(x, y),
    "pruned": lambda x, y: XGBClassifier(n_estimators=9, n_jobs=1, tree_method="exact", gamma=4).fit(x, y),
    "categories in sets": lambda x, y: XGBClassifier(**SETS, max_cat_to_onehot=1).fit(x, y),
    "categories one by one": lambda x, y: XGBClassifier(**SETS, max_cat_to_onehot=99).fit(x, y),
    "stopped early": _stopped_xgboost,
    "forest": lambda x, y: XGBRFClassifier(n_estimators=9, n_jobs=1).fit(x, y),
    "leaves only": lambda x, y: XGBClassifier(n_estimators=3, n_jobs=1, gamma=1e6).fit(x, y),
}


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("name", LIGHTGBM)
@pytest.mark.parametrize("positive", [0, 1])
def test_lightgbm_scores_numbers_at_and_beside_thresholds_alike(name, positive):
    x, y = customers()
    estimator = LIGHTGBM[name](x, y)
    forest = read_lightgbm(estimator, positive)
    rows = around_thresholds(forest, x, missing=True)
    np.testing.assert_allclose(walked(forest, rows), estimator.predict_proba(rows)[:, positive], rtol=0, atol=1e-15)


@pytest.mark.parametrize("name", XGBOOST)
@pytest.mark.parametrize("positive", [0, 1])
def test_xgboost_scores_numbers_at_and_beside_thresholds_to_the_last_bit(name, positive):
    x, y = customers()
    estimator = XGBOOST[name](x, y)
    forest = read_xgboost(estimator, positive)
    rows = around_thresholds(forest, x, missing=True)
    assert np.array_equal(walked(forest, rows), estimator.predict_proba(rows)[:, positive])


def test_categories_are_read_as_sets():
    x, y = customers()
    assert read_lightgbm(LIGHTGBM["categories"](x, y), 1).ranges
    assert read_xgboost(XGBOOST["categories in sets"](x, y), 1).ranges


def test_a_forest_of_xgboost_survives_pickling():
    x, y = customers(400)
    forest = read_xgboost(XGBOOST["numbers"](x, y), 1)
    assert np.array_equal(walked(pickle.loads(pickle.dumps(forest)), x), walked(forest, x))


def test_a_few_rows_score_as_they_do_among_many():
    x, y = customers()
    link = read_xgboost(XGBOOST["numbers"](x, y), 1).link
    margins = np.random.default_rng(0).normal(0, 3, 4_000).astype(np.float32)
    few = np.concatenate([link(part) for part in np.array_split(margins, 80)])
    assert np.array_equal(few, link(margins))


def _frame(x):
    import pandas as pd

    return pd.DataFrame({"plan": pd.Categorical(np.where(x[:, 4] == 1, "a", "b")), "months": x[:, 0]})


@pytest.mark.parametrize(
    ("fit", "read", "why"),
    [
        (lambda x, y: LGBMClassifier(**QUIET).fit(x, y + (x[:, 1] > 1)), read_lightgbm, "objective is multiclass"),
        (lambda x, y: LGBMClassifier(**QUIET, objective="cross_entropy").fit(x, y), read_lightgbm, "cross_entropy"),
        (lambda x, y: LGBMClassifier(**QUIET, linear_tree=True).fit(x, y), read_lightgbm, "linear"),
        (lambda x, y: LGBMClassifier(**QUIET).fit(_frame(x), y), read_lightgbm, "data frame"),
        (
            lambda x, y: LGBMClassifier(**QUIET, boosting_type="rf", subsample=0.5, subsample_freq=1).fit(x, y),
            read_lightgbm,
            "averages",
        ),
        (lambda x, y: LGBMClassifier(**QUIET, pred_early_stop=True).fit(x, y), read_lightgbm, "early"),
        (lambda x, y: XGBClassifier(**ONE).fit(x, y + (x[:, 1] > 1)), read_xgboost, "multi:soft"),
        (lambda x, y: XGBClassifier(**ONE, booster="dart").fit(x, y), read_xgboost, "dart"),
        (lambda x, y: XGBClassifier(**ONE, booster="gblinear").fit(np.nan_to_num(x), y), read_xgboost, "gblinear"),
        (lambda x, y: XGBClassifier(**ONE, missing=0.0).fit(x, y), read_xgboost, "0.0 for missing"),
        (lambda x, y: XGBClassifier(**ONE, enable_categorical=True).fit(_frame(x), y), read_xgboost, "data frame"),
    ],
)
def test_what_arrays_cannot_stand_for_is_refused_with_a_reason(fit, read, why):
    x, y = customers(400)
    with pytest.raises(NotReadable, match=why):
        read(fit(x, y), 1)
