"""Fitted LightGBM and XGBoost classifiers as plain arrays.

Belongs here: reading the models these libraries save. Does not: scikit-learn's ensembles (`forest_readers.py`),
choosing the reader. A reader raises `NotReadable` for what the arrays would not represent exactly.

Sources: LightGBM's `Tree::NumericalDecision`, `Tree::CategoricalDecision` and its text format; XGBoost's
`common::Decision` and its JSON schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from churn_pipeline.kernel.forests.forest import Floats, Forest, NotReadable
from churn_pipeline.kernel.forests.forest_readers import Columns, float32_threshold, join_trees
from churn_pipeline.kernel.forests.links import BoosterSigmoid, Logistic

#: LightGBM reads numbers this close to zero as zero: its float32 `kZeroThreshold`.
_ZERO = float(np.float32(1e-35))
_BELOW_ZERO = float(np.nextafter(-_ZERO, -np.inf))

#: XGBoost marks nodes that pruning took away by this column.
_PRUNED = 2**31 - 1


def read_lightgbm(estimator: Any, positive: int) -> Forest:
    """A LightGBM classifier of two classes, up to its best iteration."""
    booster = estimator.booster_
    if any(booster.pandas_categorical or []):
        raise NotReadable("it numbers the categories of a data frame by itself")
    if any(estimator.get_params().get(name) for name in ("pred_early_stop", "start_iteration_predict")):
        raise NotReadable("it stops summing trees early")
    head, *blocks = booster.model_to_string().split("\nTree=")
    facts = _fields(head)
    objective = facts.get("objective", "none").split()
    if objective[0] != "binary" or facts.get("num_class") != "1":
        raise NotReadable(f"its objective is {objective[0]}")
    if "average_output" in head.split("\n"):
        raise NotReadable("it averages trees instead of adding them up")
    scale = next((float(word[8:]) for word in objective if word.startswith("sigmoid:")), 1.0)
    sets: list[Floats] = []
    trees = [_lightgbm_tree(_fields(block), sets) for block in blocks]
    return join_trees(trees, 0.0, Logistic(positive, scale), ranges=tuple(sets))


def _lightgbm_tree(fields: Mapping[str, str], sets: list[Floats]) -> Columns:
    """One tree: inner nodes first, leaves behind them. Category sets it needs are appended."""
    if fields.get("is_linear", "0") != "0":
        raise NotReadable("its leaves are linear models")

    def inner(name: str, dtype: type) -> npt.NDArray[Any]:
        return np.array(fields.get(name, "").split(), dtype=dtype)

    values = inner("leaf_value", np.float64)
    count = len(values) - 1
    kind = inner("decision_type", np.int64)
    categorical, default_left, missing = (kind & 1) == 1, (kind & 2) == 2, (kind >> 2) & 3
    raw = inner("threshold", np.float64)
    # Near zero is zero: a threshold in there splits off what lies below it, or keeps all of it left.
    threshold = np.where((raw < 0) & (raw >= -_ZERO), _BELOW_ZERO, np.where((raw >= 0) & (raw <= _ZERO), _ZERO, raw))
    # Without a missing type NaN is 0; a category that is missing goes right.
    missing_left = np.where(missing == 0, threshold >= 0, default_left) & ~categorical
    range_set, inside_left = np.full(count, -1), np.zeros(count, dtype=bool)
    ends, words = inner("cat_boundaries", np.int64), inner("cat_threshold", np.uint32)
    for node in np.flatnonzero(categorical):
        range_set[node], inside_left[node] = len(sets), True
        which = int(raw[node])
        sets.append(_whole_ranges(_bits(words[ends[which] : ends[which + 1]])))
    # With missing type zero, 0 goes where NaN goes: only then something else where that is the other side.
    for node in np.flatnonzero((missing == 1) & ~categorical & (missing_left != (threshold >= 0))):
        range_set[node] = len(sets)
        pieces = [threshold[node], _BELOW_ZERO, _ZERO, np.inf]
        sets.append(np.array(pieces if missing_left[node] else [_BELOW_ZERO, _ZERO, threshold[node], np.inf]))
    children = {side: inner(f"{side}_child", np.int64) for side in ("left", "right")}
    leaves = count + 1
    return {
        "feature": np.append(inner("split_feature", np.int64), np.full(leaves, -1)),
        "threshold": np.append(threshold, np.zeros(leaves)),
        **{s: np.append(np.where(c < 0, count + ~c, c), np.full(leaves, -1)) for s, c in children.items()},
        "missing_left": np.append(missing_left, np.zeros(leaves, dtype=bool)),
        "value": np.append(np.zeros(count), values),
        "cover": np.append(inner("internal_count", np.float64), _leaf_cover(fields, leaves)),
        "range_set": np.append(range_set, np.full(leaves, -1)),
        "inside_left": np.append(inside_left, np.zeros(leaves, dtype=bool)),
    }


def _leaf_cover(fields: Mapping[str, str], leaves: int) -> Floats:
    found = np.array(fields.get("leaf_count", "").split(), dtype=np.float64)
    return found if len(found) == leaves else np.zeros(leaves)


def _fields(text: str) -> dict[str, str]:
    """Lines `key=value`."""
    return dict(line.split("=", 1) for line in text.split("\n\n")[0].split("\n") if "=" in line)


def _whole_ranges(numbers: npt.NDArray[np.int64]) -> Floats:
    """Ranges of the float64 numbers that become one of these when they are cut towards zero."""
    low = np.where(numbers == 0, -1.0, np.nextafter(numbers.astype(np.float64), -np.inf))
    return np.column_stack([low, np.nextafter(numbers + 1.0, -np.inf)]).ravel()


def _bits(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.int64]:
    """Numbers of the bits that are set, lowest first."""
    return np.flatnonzero(np.unpackbits(words.astype("<u4").view(np.uint8), bitorder="little"))


def read_xgboost(estimator: Any, positive: int) -> Forest:
    """An XGBoost classifier of two classes, up to its best iteration; summed in float32 as it does."""
    if not np.isnan(estimator.missing):
        raise NotReadable(f"it takes {estimator.missing} for missing")
    model = json.loads(estimator.get_booster().save_raw("json"))
    learner = model["learner"]
    if learner["objective"]["name"] != "binary:logistic" or int(learner["learner_model_param"]["num_target"]) > 1:
        raise NotReadable(f"its objective is {learner['objective']['name']}")
    booster = learner["gradient_booster"]
    if booster["name"] != "gbtree":
        raise NotReadable(f"its booster is {booster['name']}, and gbtree is read")
    if booster["model"].get("cats", {}).get("enc"):
        raise NotReadable("it numbers the categories of a data frame by itself")
    read = booster["model"]["trees"]
    if (best := estimator.get_booster().attr("best_iteration")) is not None:
        read = read[: booster["model"]["iteration_indptr"][int(best) + 1]]
    sets: list[Floats] = []
    trees = [_xgboost_tree(tree, sets) for tree in read]
    link = BoosterSigmoid(_leaf_of_zero(model), positive)
    return join_trees(trees, link.start(), link, total=np.dtype(np.float32), ranges=tuple(sets))


def _xgboost_tree(tree: Mapping[str, Any], sets: list[Floats]) -> Columns:
    left = np.array(tree["left_children"])
    columns = np.array(tree["split_indices"])
    conditions = np.array(tree["split_conditions"], dtype=np.float32)
    missing_left = np.array(tree["default_left"], dtype=bool)
    range_set = np.full(len(left), -1)
    segments = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    for node, start, size in segments:
        range_set[node] = len(sets)
        numbers = np.sort(np.array(tree["categories"][start : start + size], dtype=np.float32))
        # Rounded to float32, then cut to a whole number; below zero is no category.
        edges = np.column_stack([numbers, numbers + np.float32(1)]).ravel()
        sets.append(float32_threshold(np.nextafter(edges, np.float32(-np.inf))))
    return {
        "feature": np.where((left < 0) | (columns == _PRUNED), -1, columns),
        # Left is `<`: `<=` the float32 number before it.
        "threshold": float32_threshold(np.nextafter(conditions, np.float32(-np.inf))),
        "left": left,
        "right": np.array(tree["right_children"]),
        "missing_left": missing_left,
        "value": conditions,
        "cover": np.array(tree["sum_hessian"]),
        "range_set": range_set,
        "inside_left": np.zeros(len(left), dtype=bool),
    }


def _leaf_of_zero(model: Mapping[str, Any]) -> bytes:
    """The model with one column and one tree, which is a leaf of 0: what is left is its first margin and its sigmoid.

    Without any tree XGBoost gives the base score as it stands for a margin.
    """
    learner = model["learner"]
    leaf = {
        "base_weights": [0.0], "categories": [], "categories_nodes": [], "categories_segments": [],
        "categories_sizes": [], "default_left": [0], "id": 0, "left_children": [-1], "loss_changes": [0.0],
        "parents": [_PRUNED], "right_children": [-1], "split_conditions": [0.0], "split_indices": [0],
        "split_type": [0], "sum_hessian": [0.0],
        "tree_param": {"num_deleted": "0", "num_feature": "1", "num_nodes": "1", "size_leaf_vector": "1"},
    }  # fmt: skip
    booster: dict[str, Any] = {
        "name": "gbtree",
        "model": {
            "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": "1"},
            "iteration_indptr": [0, 1],
            "tree_info": [0],
            "trees": [leaf],
        },
    }
    if cats := learner["gradient_booster"].get("model", {}).get("cats"):
        booster["model"]["cats"] = cats
    kept = {
        **learner,
        "attributes": {},
        "feature_names": [],
        "feature_types": [],
        "gradient_booster": booster,
        "learner_model_param": {**learner["learner_model_param"], "num_feature": "1"},
    }
    return json.dumps({**model, "learner": kept}).encode()
