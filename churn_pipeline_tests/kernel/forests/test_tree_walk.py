from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from churn_pipeline.kernel.forests import tree_walk
from churn_pipeline.kernel.forests.forest import GroupValues, NotReadable
from churn_pipeline.kernel.forests.forest_readers import read_forest, read_hist_boosting
from churn_pipeline.kernel.forests.tree_columns import SharedColumn, TreeColumn, tree_columns
from churn_pipeline.kernel.forests.tree_walk import TreeWalk
from churn_pipeline_tests.kernel.forests.forests import (
    customers,
    fitted,
    grown,
    needs_numba,
    one_group_a_column,
    rows_of,
    same,
    walked,
)


@needs_numba
@pytest.mark.parametrize("room", [0, 1 << 14, 1 << 23], ids=["one level", "some levels", "most levels"])
def test_a_deep_random_forest_is_scored_to_the_last_bit(room, monkeypatch):
    monkeypatch.setattr(tree_walk, "_TOP_BYTES", room)
    x, y = customers()
    estimator = RandomForestClassifier(20, random_state=0).fit(x, y)
    forest = read_forest(estimator, 1)
    groups = one_group_a_column(forest, x.shape[1], missing=True)
    codes, matrix = rows_of(groups, 4_000)
    found = TreeWalk(forest, groups, compiled=True).score(codes)
    assert same(found, estimator.predict_proba(matrix)[:, 1])


@needs_numba
@pytest.mark.parametrize("rows", [1, 4_097, 12_345])
def test_rows_are_shared_between_as_many_threads_as_the_forest_itself_may_use(rows, monkeypatch):
    x, y = customers()
    forest = read_forest(RandomForestClassifier(8, n_jobs=2, random_state=0).fit(x, y), 1)
    groups = one_group_a_column(forest, x.shape[1], missing=True)
    codes, _ = rows_of(groups, rows)
    wanted = TreeWalk(replace(forest, jobs=None), groups, compiled=True).score(codes)
    pools = []
    monkeypatch.setattr(tree_walk, "ThreadPoolExecutor", lambda n: pools.append(n) or ThreadPoolExecutor(n))
    assert (TreeWalk(forest, groups, compiled=True).score(codes) == wanted).all()
    assert pools == ([2] if rows > 4_096 else [])


@needs_numba
def test_large_trees_that_split_by_categories_are_scored_as_the_estimator_scores_them():
    x, y = customers(2_000)
    x[:, 3] = np.random.default_rng(0).integers(0, 60, len(x))
    estimator = HistGradientBoostingClassifier(
        max_iter=3, max_leaf_nodes=None, min_samples_leaf=2, categorical_features=[3]
    )
    fitted(estimator, x, y)
    forest = read_hist_boosting(estimator, 1)
    assert forest.leaf_counts[forest.roots].max() > 64
    groups = one_group_a_column(forest, x.shape[1], missing=True)
    codes, matrix = rows_of(groups, 4_000)
    found = TreeWalk(forest, groups, compiled=True).score(codes)
    assert same(found, estimator.predict_proba(matrix)[:, 1])


@needs_numba
@pytest.mark.parametrize("seed", range(6))
def test_sets_of_many_pieces_are_asked_for_one_after_the_other(seed):
    numbers = list(range(0, 40, 2))
    forest = grown(6, 150, columns=2, seed=seed, lopsided=bool(seed % 2), numbers=numbers)
    values = np.random.default_rng(seed).permutation(np.append(np.arange(-1, 42, 0.5), np.nan))[:, None]
    groups = [GroupValues(np.array([column]), values) for column in range(2)]
    codes, matrix = rows_of(groups, 2_000, seed)
    found = TreeWalk(forest, groups, compiled=True).score(codes)
    np.testing.assert_allclose(found, walked(forest, matrix), rtol=0, atol=1e-14)


def test_outputs_of_a_one_hot_encoder_share_one_column_of_codes():
    forest = grown(20, 30, columns=5, numbers=[0, 1])
    one_hot = GroupValues(np.array([1, 2, 3, 4]), np.vstack([np.eye(4), np.zeros(4)]))
    (column,) = tree_columns(forest, [(0, one_hot)])
    assert isinstance(column, SharedColumn)
    assert sorted(column.features) == [1, 2, 3, 4]


def test_outputs_whose_ranges_cross_keep_columns_of_their_own():
    forest = grown(20, 30, columns=3, numbers=[0, 1, 2, 3, 4])
    crossing = GroupValues(np.array([1, 2]), np.array([[i, (i * 3) % 7] for i in range(7)], dtype=float))
    columns = tree_columns(forest, [(0, crossing)])
    assert [type(column) for column in columns] == [TreeColumn, TreeColumn]


def test_a_number_in_a_known_stretch_needs_no_new_trees_and_one_elsewhere_does():
    forest = grown(5, 20, columns=2, numbers=[0, 10, 20])
    (column,) = tree_columns(forest, [(0, GroupValues(np.array([1]), np.array([[1.0], [15.0]])))])
    assert column.extend(np.array([[2.0], [np.nan]]))
    assert not column.extend(np.array([[30.0]]))


@needs_numba
@pytest.mark.parametrize("first", [np.full((2, 2), np.nan), np.array([[0.5, 2.0]])], ids=["missing", "known"])
def test_codes_of_a_group_may_all_come_after_the_trees_were_packed(first):
    forest = grown(6, 150, columns=3, numbers=[0, 1, 2, 3])
    alone = GroupValues(np.array([0]), np.arange(-1, 5, 0.5)[:, None])
    both = np.random.default_rng(0).choice([-1.0, 0.0, 0.5, 1.0, 2.0, 3.5, np.nan], size=(30, 2))
    walk = TreeWalk(forest, [alone, GroupValues(np.array([1, 2]), np.empty((0, 2)))], compiled=True)
    for values in (first, both):
        walk.extend(1, values)
    groups = [alone, GroupValues(np.array([1, 2]), np.concatenate([first, both]))]
    codes, matrix = rows_of(groups, 1_000)
    np.testing.assert_allclose(walk.score(codes), walked(forest, matrix), rtol=0, atol=1e-14)


def test_without_numba_the_walk_says_that_it_is_not_there():
    with pytest.raises(NotReadable, match="numba"):
        TreeWalk(grown(2, 100), [], compiled=False)


@needs_numba
def test_more_columns_than_a_node_can_name_are_refused():
    forest = grown(30, 200, columns=400)
    groups = [GroupValues(np.array([column]), np.array([[0.0], [1.0]])) for column in range(400)]
    with pytest.raises(NotReadable, match="more than 256"):
        TreeWalk(forest, groups, compiled=True)
