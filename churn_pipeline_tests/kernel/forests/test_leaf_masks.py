import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingClassifier

from churn_pipeline.kernel.forests.forest import NotReadable
from churn_pipeline.kernel.forests.forest_readers import read_boosting
from churn_pipeline.kernel.forests.leaf_masks import LeafMasks
from churn_pipeline.kernel.forests.leaf_sums import LeafSums
from churn_pipeline_tests.kernel.forests.forests import customers, grown, needs_numba, one_group_a_column, rows_of, same


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_numba)])
def test_a_tree_of_more_than_64_leaves_is_refused(compiled):
    forest = grown(3, 65)
    groups = one_group_a_column(forest, 6, missing=True)
    with pytest.raises(NotReadable, match="65 leaves"):
        LeafMasks(forest, groups, compiled=compiled)


@needs_numba
@pytest.mark.parametrize("depth", [2, 3, 4, 6])
@pytest.mark.parametrize("trees", [1, 3, 8, 9, 60])
def test_compiled_margins_are_added_in_the_order_of_the_library(trees, depth):
    x, y = customers(missing=False)
    estimator = GradientBoostingClassifier(n_estimators=trees, max_depth=depth).fit(x, y)
    forest = read_boosting(estimator, 1)
    groups = one_group_a_column(forest, x.shape[1], missing=False)
    codes, matrix = rows_of(groups, 5_000)
    found = LeafMasks(forest, groups, compiled=True).score(codes)
    assert same(found, estimator.predict_proba(matrix)[:, 1])


@pytest.mark.parametrize("leaves", [1, 2, 3, 4, 5, 8, 9, 16, 20, 32, 40, 64])
@pytest.mark.parametrize("trees", [8, 16, 800])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_several_trees_at_once_are_sums_of_their_leaves(leaves, trees, dtype):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(trees, leaves)).astype(dtype)
    exit_leaf = rng.integers(0, leaves, size=(50, trees))
    kind = next(k for k in (np.uint8, np.uint16, np.uint32, np.uint64) if leaves <= np.iinfo(k).bits)
    higher = rng.integers(0, np.iinfo(kind).max, size=exit_leaf.shape, dtype=kind)  # what lies above the lowest bit
    lowest = kind(1) << exit_leaf.astype(kind)
    possible = (higher & ~(lowest | (lowest - kind(1)))) | lowest
    margins = np.full(50, 0.5, dtype=dtype)
    for tree in range(trees):
        margins += values[tree, exit_leaf[:, tree]]
    found = LeafSums(values, 0.5)(possible)
    if dtype == np.float32:
        assert np.array_equal(found, margins)
    else:
        np.testing.assert_allclose(found, margins, rtol=0, atol=1e-12)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_numba)])
def test_a_group_that_grows_code_by_code_is_scored_as_if_it_had_them_all_along(compiled):
    forest = grown(9, 8)
    groups = one_group_a_column(forest, 6, missing=True)
    few = [type(group)(group.outputs, group.values[:4]) for group in groups]
    evaluator = LeafMasks(forest, few, compiled=compiled)
    for i, group in enumerate(groups):
        for value in group.values[4:]:
            evaluator.extend(i, value[None])
    codes, _ = rows_of(groups, 3_000)
    whole = LeafMasks(forest, groups, compiled=compiled)
    np.testing.assert_allclose(evaluator.score(codes), whole.score(codes), rtol=0, atol=1e-15)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=needs_numba)])
def test_a_group_without_any_code_yet_is_not_joined_with_others(compiled):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2_000, 16))
    estimator = GradientBoostingClassifier(n_estimators=80, random_state=0).fit(x, x.sum(axis=1) > 0)
    forest = read_boosting(estimator, 1)
    groups = one_group_a_column(forest, x.shape[1], missing=False)
    # Combinations of several columns have no codes before the first customer.
    late = [type(group)(group.outputs, group.values[: len(group.values) * (i > 0)]) for i, group in enumerate(groups)]
    evaluator = LeafMasks(forest, late, compiled=compiled)
    evaluator.extend(0, groups[0].values)
    codes, _ = rows_of(groups, 1_000)
    whole = LeafMasks(forest, groups, compiled=compiled)
    np.testing.assert_allclose(evaluator.score(codes), whole.score(codes), rtol=0, atol=1e-15)
