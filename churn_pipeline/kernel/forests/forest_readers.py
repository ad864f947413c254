"""Fitted scikit-learn ensembles of trees as plain arrays.

Belongs here: reading the attributes of fitted estimators, and bringing their comparisons to one form. Does not:
choosing the reader by the kind of estimator, LightGBM and XGBoost (`booster_readers.py`), evaluating.

A reader raises `NotReadable` for what the arrays would not represent exactly. `positive` is the index of the class
whose probability is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from churn_pipeline.kernel.forests.forest import Floats, Forest, NotReadable
from churn_pipeline.kernel.forests.links import Logistic, Margins, Mean

Columns = Mapping[str, npt.NDArray[Any]]


def float32_threshold(thresholds: npt.NDArray[np.floating]) -> Floats:
    """Thresholds for float64 numbers that split as these do once the number was rounded to float32.

    Returns:
        The largest float64 numbers whose float32 neighbour is `<=` the threshold: half way to the next float32, or
        just below if the half would round up.
    """
    with np.errstate(over="ignore"):
        low = thresholds.astype(np.float32)
        low = np.where(low > thresholds, np.nextafter(low, np.float32(-np.inf)), low)
        high = np.nextafter(low, np.float32(np.inf)).astype(np.float64)
        high = np.where(np.isinf(high), 2.0**128, high)  # rounding to float32 becomes infinite half way to this
        middle = (low.astype(np.float64) + high) / 2
        inside = middle.astype(np.float32) <= low
    found = np.where(inside, middle, np.nextafter(middle, -np.inf))
    return np.where(np.isinf(thresholds), thresholds, found)


def join_trees(trees: Sequence[Columns], start: float, link: Callable[[Margins], Floats], **more: Any) -> Forest:
    """One forest of many trees, each with its own node numbers from 0."""
    if not trees:
        raise NotReadable("it has no trees")
    sizes = [len(tree["feature"]) for tree in trees]
    roots = np.concatenate([[0], np.cumsum(sizes)])[:-1].astype(np.int32)
    shift = np.repeat(roots, sizes)

    def column(name: str, dtype: type) -> npt.NDArray[Any]:
        return np.concatenate([tree[name] for tree in trees]).astype(dtype)

    feature = column("feature", np.int32)
    inner = feature >= 0
    simple = "range_set" not in trees[0]
    return Forest(
        feature=np.where(inner, feature, np.int32(-1)),
        threshold=column("threshold", np.float64),
        left=np.where(inner, column("left", np.int32) + shift, np.int32(-1)),
        right=np.where(inner, column("right", np.int32) + shift, np.int32(-1)),
        missing_left=column("missing_left", np.bool_),
        value=np.where(inner, 0.0, column("value", np.float64)),
        cover=column("cover", np.float64),
        roots=roots,
        start=start,
        link=link,
        range_set=np.full(len(feature), -1, dtype=np.int32) if simple else column("range_set", np.int32),
        inside_left=np.zeros(len(feature), dtype=bool) if simple else column("inside_left", np.bool_),
        **more,
    )


def read_boosting(estimator: Any, positive: int) -> Forest:
    """Gradient boosting for two classes that starts from a constant.

    The margin is the start plus learning rate times leaf, in the order of the stages; its loss says how much of it
    the logistic function sees.
    """
    _two_classes(estimator, positive)
    initial = estimator.init_
    if isinstance(initial, str):
        constant = initial == "zero"
    else:
        constant = getattr(initial, "strategy", None) in {"prior", "most_frequent", "constant"}
    if not constant:
        raise NotReadable("its first guess is a model of its own, set by `init`")
    scale = {"log_loss": 1.0, "exponential": 2.0}.get(estimator.loss)
    if scale is None:
        raise NotReadable(f"its loss is {estimator.loss}")
    start = float(estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32))[0, 0])
    trees = [_tree(stage[0].tree_, output=0, scale=estimator.learning_rate) for stage in estimator.estimators_]
    return join_trees(trees, start, Logistic(positive, scale))


def read_forest(estimator: Any, positive: int) -> Forest:
    """A random forest, extra trees or one decision tree: the mean of the trees' probabilities of class `positive`."""
    if estimator.n_outputs_ != 1:
        raise NotReadable(f"it predicts {estimator.n_outputs_} things at once")
    members = getattr(estimator, "estimators_", [estimator])
    found = join_trees([_tree(member.tree_, output=positive) for member in members], 0.0, Mean(len(members)))
    return replace(found, jobs=getattr(estimator, "n_jobs", None))


def read_bagging(estimator: Any, positive: int) -> Forest:
    """Decision trees, each of which sees some of the columns: the mean of their probabilities of class `positive`."""
    trees = []
    for member, columns in zip(estimator.estimators_, estimator.estimators_features_, strict=True):
        steps = [step for _, step in getattr(member, "steps", [("", member)])]
        tree = steps[-1]
        # Samplers in front of a tree work while it is fitted only.
        alone = all(hasattr(step, "fit_resample") for step in steps[:-1])
        if not alone or not hasattr(tree, "tree_") or len(tree.classes_) != len(estimator.classes_):
            raise NotReadable("what it bags are no decision trees for all of its classes")
        found = _tree(tree.tree_, output=positive)
        trees.append({**found, "feature": np.where(found["feature"] < 0, -1, columns[found["feature"]])})
    return replace(join_trees(trees, 0.0, Mean(len(trees))), jobs=estimator.n_jobs)


def read_ada(estimator: Any, positive: int) -> Forest:
    """AdaBoost of decision trees for two classes: a tree adds or takes away its weight, by the class it predicts."""
    _two_classes(estimator, positive)
    members = estimator.estimators_
    weights = 2 * estimator.estimator_weights_ / estimator.estimator_weights_.sum()
    trees = []
    for member, weight in zip(members, weights, strict=False):
        if not hasattr(member, "tree_") or not np.array_equal(member.classes_, estimator.classes_):
            raise NotReadable("what it boosts are no decision trees for its two classes")
        # Of equal shares the first class is predicted.
        votes = np.where(member.tree_.value[:, 0, 1] > member.tree_.value[:, 0, 0], weight, -weight)
        trees.append({**_tree(member.tree_, output=1), "value": votes})
    return join_trees(trees, 0.0, Logistic(positive))


def _tree(tree: Any, output: int, scale: float = 1.0) -> Columns:
    return {
        "feature": tree.feature,
        "threshold": float32_threshold(tree.threshold),
        "left": tree.children_left,
        "right": tree.children_right,
        "missing_left": tree.missing_go_to_left,
        "value": scale * tree.value[:, 0, output],
        "cover": tree.weighted_n_node_samples,
    }


def read_hist_boosting(estimator: Any, positive: int) -> Forest:
    """Histogram gradient boosting for two classes, with its own encoding of categories undone.

    Such an ensemble numbers the values of its categorical columns and moves those columns to the front; the forest
    speaks of the columns and values it is given.
    """
    _two_classes(estimator, positive)
    if estimator.n_trees_per_iteration_ != 1:
        raise NotReadable(f"it grows {estimator.n_trees_per_iteration_} trees an iteration")
    origin, known = _categories(estimator)
    sets: list[Floats] = []
    trees = [_hist_tree(stage[0], origin, known, sets) for stage in estimator._predictors]
    start = float(estimator._baseline_prediction[0, 0])
    return join_trees(trees, start, Logistic(positive), ranges=tuple(sets))


def _hist_tree(predictor: Any, origin: npt.NDArray[np.intp], known: Sequence[Floats], sets: list[Floats]) -> Columns:
    """Read one tree, and append the sets of categories it needs."""
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    missing_left = nodes["missing_go_to_left"].astype(bool)
    range_set = np.full(len(nodes), -1, dtype=np.int32)
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf):
        numbers = known[nodes["feature_idx"][node]]
        bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        places = np.arange(len(numbers))
        goes_left = (bits[places // 32] >> (places % 32).astype(np.uint32)) & 1 == 1
        # What is outside goes with the missing ones, as unknown categories do.
        range_set[node] = len(sets)
        chosen = np.sort(numbers[goes_left != missing_left[node]])
        sets.append(np.column_stack([np.nextafter(chosen, -np.inf), chosen]).ravel())
    return {
        "feature": np.where(leaf, -1, origin[nodes["feature_idx"]]),
        "threshold": nodes["num_threshold"],
        "left": nodes["left"],
        "right": nodes["right"],
        "missing_left": missing_left,
        "value": nodes["value"],
        "cover": nodes["count"],
        "range_set": range_set,
        "inside_left": ~missing_left,
    }


def _categories(estimator: Any) -> tuple[npt.NDArray[np.intp], list[Floats]]:
    """For each column inside: the column outside, and the known numbers of a categorical one in order of their code."""
    columns = np.arange(estimator.n_features_in_)
    if estimator._preprocessor is None:
        return columns, [np.zeros(0)] * len(columns)
    categorical = np.asarray(estimator.is_categorical_, dtype=bool)
    encoder = estimator._preprocessor.named_transformers_["encoder"]
    known = []
    for values in encoder.categories_:
        try:
            known.append(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError):
            raise NotReadable("its own categories are not numbers") from None
    origin = np.concatenate([columns[categorical], columns[~categorical]])
    return origin, [*known, *[np.zeros(0)] * int((~categorical).sum())]


def _two_classes(estimator: Any, positive: int) -> None:
    if len(estimator.classes_) != 2 or positive not in (0, 1):
        raise NotReadable(f"it has {len(estimator.classes_)} classes, and boosting is read for two")
