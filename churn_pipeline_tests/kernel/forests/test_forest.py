"""What every evaluator of a forest has to do."""

import pickle
from functools import cache

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from xgboost import XGBClassifier

from churn_pipeline.kernel.forests.booster_readers import read_lightgbm, read_xgboost
from churn_pipeline.kernel.forests.forest import GroupValues, NotReadable
from churn_pipeline.kernel.forests.forest_readers import join_trees, read_boosting, read_forest, read_hist_boosting
from churn_pipeline.kernel.forests.links import Mean
from churn_pipeline_tests.kernel.forests.forests import (
    EVALUATORS,
    customers,
    fitted,
    grown,
    make,
    one_group_a_column,
    rows_of,
    walked,
)

every_evaluator = pytest.mark.parametrize(("kind", "compiled"), EVALUATORS)

FITTED = {
    "boosting": (GradientBoostingClassifier(n_estimators=20), read_boosting, False),
    "stumps": (GradientBoostingClassifier(n_estimators=9, max_depth=1), read_boosting, False),
    "histograms": (HistGradientBoostingClassifier(max_iter=12, categorical_features=[3]), read_hist_boosting, True),
    "random forest": (RandomForestClassifier(8, max_depth=5, random_state=0), read_forest, True),
    "extra trees": (ExtraTreesClassifier(8, max_depth=6, random_state=0), read_forest, False),
    "lightgbm": (LGBMClassifier(n_estimators=12, n_jobs=1, verbose=-1), read_lightgbm, True),
    "xgboost": (XGBClassifier(n_estimators=12, n_jobs=1), read_xgboost, True),
}


@cache
def _fitted(name):
    estimator, read, missing = FITTED[name]
    return fitted(estimator, *customers(800, missing=missing)), read, missing


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@every_evaluator
@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("positive", [0, 1])
def test_codes_score_as_the_estimator_scores_their_matrix(name, positive, kind, compiled):
    estimator, read, missing = _fitted(name)
    forest = read(estimator, positive)
    groups = one_group_a_column(forest, 5, missing=missing)
    codes, matrix = rows_of(groups, 3_001)
    found = make(kind, forest, groups, compiled=compiled).score(codes)
    np.testing.assert_allclose(found, estimator.predict_proba(matrix)[:, positive], rtol=0, atol=1e-15)


@every_evaluator
def test_xgboost_is_scored_to_the_last_bit(kind, compiled):
    x, y = customers()
    estimator = XGBClassifier(n_estimators=40, n_jobs=1, max_depth=3).fit(x, y)
    forest = read_xgboost(estimator, 1)
    groups = one_group_a_column(forest, x.shape[1], missing=True)
    codes, matrix = rows_of(groups, 5_000)
    found = make(kind, forest, groups, compiled=compiled).score(codes)
    assert np.array_equal(found, estimator.predict_proba(matrix)[:, 1])


@every_evaluator
@pytest.mark.parametrize("leaves", [1, 2, 3, 8, 9, 16, 31, 33, 64])
@pytest.mark.parametrize("lopsided", [False, True])
def test_trees_of_every_shape_are_walked_right(leaves, lopsided, kind, compiled):
    forest = grown(11, leaves, seed=leaves, lopsided=lopsided)
    groups = _groups_of_two()
    codes, matrix = rows_of(groups, 1_000)
    found = make(kind, forest, groups, compiled=compiled).score(codes)
    np.testing.assert_allclose(found, walked(forest, matrix), rtol=0, atol=1e-14)


@every_evaluator
@pytest.mark.parametrize("seed", range(12))
def test_forests_of_chance_are_walked_right(seed, kind, compiled):
    rng = np.random.default_rng(seed)
    forest = grown(int(rng.integers(1, 30)), int(rng.integers(1, 65)), seed=seed, lopsided=bool(seed % 2))
    groups = _groups_of_two(seed)
    codes, matrix = rows_of(groups, 700, seed)
    found = make(kind, forest, groups, compiled=compiled).score(codes)
    np.testing.assert_allclose(found, walked(forest, matrix), rtol=0, atol=1e-14)


def _groups_of_two(seed: int = 0) -> list[GroupValues]:
    """Six columns: one alone, two that change together at random, a one-hot of two with none, one alone."""
    rng = np.random.default_rng(seed)
    numbers = [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 2.5, 3.0, 4.0, np.nan]
    pairs = rng.choice(numbers, size=(20, 2))
    one_hot = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    alone = np.array(numbers)[:, None]
    return [
        GroupValues(np.array([0]), rng.permutation(alone)),
        GroupValues(np.array([1, 4]), pairs),
        GroupValues(np.array([2, 3]), one_hot),
        GroupValues(np.array([5]), alone),
    ]


@every_evaluator
@pytest.mark.parametrize("group", range(4))
def test_codes_that_are_appended_are_scored_as_if_they_had_been_there(group, kind, compiled):
    forest = grown(9, 25)
    groups = _groups_of_two()
    rng = np.random.default_rng(0)
    known = groups[group].values
    new = np.concatenate([known[:1], rng.choice([-3.0, 0.25, 1.5, 9.0, np.nan], size=(30, known.shape[1]))])
    evaluator = make(kind, forest, groups, compiled=compiled)
    for part in np.array_split(new, 3):
        evaluator.extend(group, part)
    groups[group] = GroupValues(groups[group].outputs, np.concatenate([known, new]))
    codes, matrix = rows_of(groups, 2_000)
    np.testing.assert_allclose(evaluator.score(codes), walked(forest, matrix), rtol=0, atol=1e-14)


@every_evaluator
def test_one_row_no_row_and_odd_numbers_of_rows_are_scored(kind, compiled):
    forest = grown(9, 20)
    groups = _groups_of_two()
    evaluator = make(kind, forest, groups, compiled=compiled)
    codes, matrix = rows_of(groups, 9_001)
    expected = walked(forest, matrix)
    for rows in (0, 1, 2, 3, 5, 255, 257, 8_191, 8_193, 9_001):
        found = evaluator.score([column[:rows] for column in codes])
        np.testing.assert_allclose(found, expected[:rows], rtol=0, atol=1e-14)


@every_evaluator
def test_a_row_scores_the_same_wherever_it_stands(kind, compiled):
    forest = grown(30, 8)
    groups = _groups_of_two()
    evaluator = make(kind, forest, groups, compiled=compiled)
    codes, _ = rows_of(groups, 3_000)
    whole = evaluator.score(codes)
    assert np.array_equal(whole[::-1], evaluator.score(codes[:, ::-1]))
    assert np.array_equal(whole[7:8], evaluator.score(codes[:, 7:8]))


@every_evaluator
def test_a_group_that_no_tree_looks_at_is_not_read(kind, compiled):
    forest = grown(5, 8)
    groups = [*_groups_of_two(), GroupValues(np.array([6]), np.zeros((1, 1)))]
    evaluator = make(kind, forest, groups, compiled=compiled)
    evaluator.extend(4, np.ones((3, 1)))
    codes, matrix = rows_of(groups[:4], 100)
    strange = np.full(100, 60_000, dtype=np.uint16)
    np.testing.assert_allclose(evaluator.score([*codes, strange]), walked(forest, matrix), rtol=0, atol=1e-14)


@every_evaluator
def test_trees_that_are_leaves_only_give_every_row_the_same(kind, compiled):
    forest = grown(5, 1)
    groups = _groups_of_two()
    codes, matrix = rows_of(groups, 50)
    found = make(kind, forest, groups, compiled=compiled).score(codes)
    np.testing.assert_allclose(found, walked(forest, matrix), rtol=0, atol=1e-15)


@every_evaluator
def test_a_code_its_group_does_not_have_is_an_error(kind, compiled):
    groups = _groups_of_two()
    evaluator = make(kind, grown(5, 8), groups, compiled=compiled)
    codes, _ = rows_of(groups, 100)
    codes[2, 50] = len(groups[2].values)
    with pytest.raises(IndexError, match="does not have"):
        evaluator.score(codes)


@every_evaluator
def test_an_evaluator_survives_pickling(kind, compiled):
    groups = _groups_of_two()
    evaluator = make(kind, grown(5, 8), groups, compiled=compiled)
    codes, _ = rows_of(groups, 100)
    assert np.array_equal(pickle.loads(pickle.dumps(evaluator)).score(codes), evaluator.score(codes))


@every_evaluator
def test_a_column_of_no_group_and_a_group_of_too_many_codes_are_refused(kind, compiled):
    forest = grown(5, 8)
    with pytest.raises(NotReadable, match="belong to no group"):
        make(kind, forest, _groups_of_two()[:3], compiled=compiled)
    crowded = [*_groups_of_two()[:3], GroupValues(np.array([5]), np.zeros((70_000, 1)))]
    with pytest.raises(NotReadable, match="70,000 codes"):
        make(kind, forest, crowded, compiled=compiled)


def test_a_forest_without_trees_is_refused():
    with pytest.raises(NotReadable, match="no trees"):
        join_trees([], 0.0, Mean(1))
