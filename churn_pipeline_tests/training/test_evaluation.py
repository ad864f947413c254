import json

import numpy as np
import pytest

from churn_pipeline.training.estimators import signature
from churn_pipeline.training.evaluation import calibration, metrics, profile
from churn_pipeline.training.fitting import split
from churn_pipeline_tests.training.gym_members import GYM, members


def test_metrics_of_a_perfect_ranking_are_what_a_person_computes():
    churned = np.array([0] * 16 + [1] * 4)
    found = metrics(churned, np.linspace(0, 1, 20))
    assert found["roc_auc"] == found["average_precision"] == 1
    assert found["base_rate"] == 0.2
    assert found["lift_top_decile"] == 5
    assert found["brier_base_rate"] == pytest.approx(0.16)


def test_the_calibration_curve_has_ten_groups_of_as_many_customers():
    random = np.random.default_rng(0)
    probability = random.random(1000)
    curve = calibration((random.random(1000) < probability).astype(int), probability)
    assert [group["customers"] for group in curve] == [100] * 10
    assert all(abs(group["predicted"] - group["churned"]) < 0.15 for group in curve)


def test_fewer_customers_than_groups_give_a_group_each():
    assert len(calibration(np.array([0, 1, 1]), np.array([0.1, 0.5, 0.9]))) == 3


def test_the_profile_is_plain_json_and_holds_no_value_of_a_text():
    rows = split(members(), GYM, signature(GYM))
    found = profile(GYM, rows.train, np.array([0.1, 0.4, 0.9, 1.0]), threshold=0.4)
    features = json.loads(json.dumps(found, allow_nan=False))["features"]
    assert found["scores"]["churn_share"] == 0.75
    assert sum(found["scores"]["histogram"]) == 4
    assert sum(features["plan"]["shares"].values()) == pytest.approx(1)
    assert set(features["coached"]["shares"]) == {"True", "False"}
    assert features["visits"]["quantiles"]["0"] <= features["visits"]["quantiles"]["0.5"]
    assert features["city"].keys() == {"missing", "distinct"}


def test_a_column_that_is_always_missing_has_a_profile_too():
    rows = split(members(), GYM, signature(GYM))
    nothing = rows.train.assign(visits=np.nan, plan=np.nan)
    features = profile(GYM, nothing, np.array([0.5]), 0.5)["features"]
    assert features["visits"] == {"missing": 1.0, "quantiles": {}}
    assert features["plan"] == {"missing": 1.0, "shares": {}}
