import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from churn_pipeline.kernel.forests.forest import NotReadable
from churn_pipeline.kernel.forests.forest_readers import (
    float32_threshold,
    read_ada,
    read_boosting,
    read_forest,
    read_hist_boosting,
)
from churn_pipeline_tests.kernel.forests.forests import around_thresholds, customers, fitted, same, walked

READ = {
    "boosting": (GradientBoostingClassifier(n_estimators=15), read_boosting, False),
    "boosting of exponential loss": (
        GradientBoostingClassifier(n_estimators=5, loss="exponential", init="zero"),
        read_boosting,
        False,
    ),
    "boosting from a constant guess": (
        GradientBoostingClassifier(n_estimators=5, init=DummyClassifier(strategy="prior")),
        read_boosting,
        False,
    ),
    "boosting that stopped early": (
        GradientBoostingClassifier(n_estimators=60, n_iter_no_change=2, learning_rate=0.5),
        read_boosting,
        False,
    ),
    "stumps": (GradientBoostingClassifier(n_estimators=9, max_depth=1), read_boosting, False),
    "random forest": (RandomForestClassifier(8, max_depth=7, random_state=0), read_forest, True),
    "extra trees": (ExtraTreesClassifier(5, max_depth=6, random_state=0), read_forest, False),
    "one tree": (DecisionTreeClassifier(max_leaf_nodes=40), read_forest, True),
    "weighted stumps": (AdaBoostClassifier(n_estimators=9, random_state=0), read_ada, False),
    "weighted trees": (
        AdaBoostClassifier(DecisionTreeClassifier(max_depth=4), n_estimators=6, random_state=0),
        read_ada,
        False,
    ),
    "histograms": (HistGradientBoostingClassifier(max_iter=15), read_hist_boosting, True),
    "histograms with categories": (
        HistGradientBoostingClassifier(max_iter=15, categorical_features=[3, 4]),
        read_hist_boosting,
        True,
    ),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("positive", [0, 1])
def test_numbers_at_and_beside_every_threshold_go_where_the_estimator_sends_them(name, positive):
    estimator, read, missing = READ[name]
    x, y = customers(missing=missing)
    fitted(estimator, x, y)
    forest = read(estimator, positive)
    rows = around_thresholds(forest, x, missing=missing)
    assert same(walked(forest, rows), estimator.predict_proba(rows)[:, positive])


def test_categories_that_are_no_small_whole_numbers_are_read_as_they_are():
    x, y = customers()
    x[:, 3] = x[:, 3] * 2.5 - 3
    estimator = fitted(HistGradientBoostingClassifier(max_iter=15, categorical_features=[3]), x, y)
    forest = read_hist_boosting(estimator, 1)
    rows = around_thresholds(forest, x, missing=True)
    assert len(forest.ranges) > 0
    assert same(walked(forest, rows), estimator.predict_proba(rows)[:, 1])


def test_a_forest_gives_the_probability_of_any_of_three_classes():
    x, y = customers()
    y = y + (x[:, 1] > 1)
    estimator = RandomForestClassifier(5, max_depth=4, random_state=0).fit(x, y)
    for positive in range(3):
        forest = read_forest(estimator, positive)
        assert same(walked(forest, x), estimator.predict_proba(x)[:, positive])


@pytest.mark.parametrize("seed", range(5))
def test_random_settings_are_read_exactly(seed):
    rng = np.random.default_rng(seed)
    x, y = customers(700, seed=seed)
    boosting = HistGradientBoostingClassifier(
        max_iter=int(rng.integers(1, 12)),
        max_leaf_nodes=int(rng.integers(2, 50)),
        min_samples_leaf=int(rng.integers(1, 200)),
        max_bins=int(rng.integers(3, 255)),
        categorical_features=[3] if rng.random() < 0.5 else None,
    )
    fitted(boosting, x, y)
    forest = read_hist_boosting(boosting, 1)
    rows = around_thresholds(forest, x, missing=True)
    assert same(walked(forest, rows), boosting.predict_proba(rows)[:, 1])


def test_a_float32_threshold_keeps_what_rounding_first_would_keep():
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-44, 37, 2_000) * rng.choice([-1, 1], 2_000)
    largest = float(np.finfo(np.float32).max)
    thresholds = np.concatenate([sizes, sizes.astype(np.float32), [0.0, -0.0, 1.0, -1.0, 2.0**24, largest, -largest]])
    cuts = float32_threshold(thresholds)
    for numbers in (cuts, np.nextafter(cuts, np.inf), np.nextafter(cuts, -np.inf), thresholds):
        with np.errstate(over="ignore"):
            rounded = numbers.astype(np.float32)
        assert np.array_equal(rounded <= thresholds, numbers <= cuts)
    assert np.array_equal(float32_threshold(np.array([np.inf, -np.inf])), [np.inf, -np.inf])


def test_no_split_tells_apart_two_numbers_between_the_same_thresholds():
    x, y = customers()
    estimator = fitted(HistGradientBoostingClassifier(max_iter=10, categorical_features=[3]), x, y)
    forest = read_hist_boosting(estimator, 1)
    for column in forest.features:
        cuts = forest.thresholds(column)
        lowest = np.nextafter(cuts[:-1], np.inf)
        nodes = forest.nodes(column)
        assert np.array_equal(forest.goes_left(nodes, lowest), forest.goes_left(nodes, cuts[1:]))


def test_the_cover_of_the_roots_counts_the_training_rows():
    x, y = customers()
    for name in ("boosting", "histograms"):
        estimator, read, missing = READ[name]
        forest = read(fitted(estimator, x if missing else np.nan_to_num(x), y), 1)
        assert set(forest.cover[forest.roots]) == {len(x)}


def _three_classes(x):
    return np.arange(len(x)) % 3


@pytest.mark.parametrize(
    ("estimator", "read", "target", "why"),
    [
        (GradientBoostingClassifier(n_estimators=2), read_boosting, _three_classes, "3 classes"),
        (HistGradientBoostingClassifier(max_iter=2), read_hist_boosting, _three_classes, "3 classes"),
        (GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()), read_boosting, None, "init"),
        (
            GradientBoostingClassifier(n_estimators=2, init=DummyClassifier(strategy="uniform")),
            read_boosting,
            None,
            "init",
        ),
        (RandomForestClassifier(2), read_forest, lambda x: np.column_stack([x[:, 4], x[:, 4]]), "2 things at once"),
    ],
)
def test_what_arrays_cannot_stand_for_is_refused_with_a_reason(estimator, read, target, why):
    x, y = customers(300, missing=False)
    estimator.fit(x, y if target is None else target(x))
    with pytest.raises(NotReadable, match=why):
        read(estimator, 1)


def test_categories_that_are_text_are_refused():
    import pandas as pd

    x, y = customers(300)
    frame = pd.DataFrame({"plan": pd.Categorical(np.where(x[:, 4] == 1, "a", "b")), "months": x[:, 0]})
    estimator = HistGradientBoostingClassifier(max_iter=2, categorical_features="from_dtype").fit(frame, y)
    with pytest.raises(NotReadable, match="not numbers"):
        read_hist_boosting(estimator, 1)
