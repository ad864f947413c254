"""What a fitted model is made of: transformers in a row, a classifier, and what combines several of them.

Belongs here: every class name of scikit-learn and its kin that the kernel knows, and which attributes say what is
inside. Does not: what is done with the parts; nothing here is trusted before it was proven (`proof.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from churn_pipeline.kernel.forests import booster_readers, forest_readers
from churn_pipeline.kernel.forests.forest import Forest
from churn_pipeline.kernel.node import Calibrated, Leaf, Mean, Node, Stacked, leaves

_LIBRARIES = frozenset({"sklearn", "imblearn", "lightgbm", "xgboost"})

#: What only passes on what another classifier says, and where that is.
_WRAPPERS = {
    "GridSearchCV": "best_estimator_", "RandomizedSearchCV": "best_estimator_",
    "HalvingGridSearchCV": "best_estimator_", "HalvingRandomSearchCV": "best_estimator_",
    "FixedThresholdClassifier": "estimator_", "FrozenEstimator": "estimator",
    "TunedThresholdClassifierCV": "estimator_",
}  # fmt: skip

#: Each output is one of the inputs.
_SELECTORS = frozenset(
    {
        "GenericUnivariateSelect", "RFE", "RFECV", "SelectFdr", "SelectFpr", "SelectFromModel", "SelectFwe",
        "SelectKBest", "SelectPercentile", "VarianceThreshold",
    }
)  # fmt: skip

#: Each output is a monotone function of one input column that takes every finite number; in _COLUMNWISE, any function
#: of one column. What a user's function or class does can be probed but not known, so its columns are evaluated
#: together, by the real thing.
_MONOTONE = _SELECTORS | {
    "Binarizer", "MaxAbsScaler", "MinMaxScaler", "QuantileTransformer", "RobustScaler", "SimpleImputer",
    "StandardScaler",
}  # fmt: skip
_COLUMNWISE = _MONOTONE | {
    "KBinsDiscretizer", "MissingIndicator", "OneHotEncoder", "OrdinalEncoder", "PowerTransformer", "SplineTransformer",
    "TargetEncoder",
}  # fmt: skip

#: Affine maps of each column, if they do not clip.
_SCALERS = frozenset({"StandardScaler", "MinMaxScaler", "MaxAbsScaler", "RobustScaler"})

_LINEAR = frozenset({"LogisticRegression", "LogisticRegressionCV", "LinearDiscriminantAnalysis"})
_MARGINS = _LINEAR | {"LinearSVC", "Perceptron", "RidgeClassifier", "RidgeClassifierCV", "SGDClassifier"}

_FORESTS: dict[str, Callable[[Any, int], Forest]] = {
    "GradientBoostingClassifier": forest_readers.read_boosting,
    "HistGradientBoostingClassifier": forest_readers.read_hist_boosting,
    "RandomForestClassifier": forest_readers.read_forest,
    "DecisionTreeClassifier": forest_readers.read_forest,
    "AdaBoostClassifier": forest_readers.read_ada,
    "BaggingClassifier": forest_readers.read_bagging,
    "BalancedBaggingClassifier": forest_readers.read_bagging,
    "BalancedRandomForestClassifier": forest_readers.read_forest,
    "ExtraTreesClassifier": forest_readers.read_forest,
    "LGBMClassifier": booster_readers.read_lightgbm,
    "XGBClassifier": booster_readers.read_xgboost,
}


@dataclass(frozen=True)
class Block:
    """Columns of the frame that one transformer takes, and where its outputs stand.

    Attributes:
        series: it takes one column as a series, not as a frame.
    """

    columns: tuple[str, ...]
    outputs: npt.NDArray[np.intp]
    transformer: Any = field(repr=False)
    series: bool = False

    def transform(self, frame: Any) -> npt.NDArray[Any]:
        """Its outputs, dense; `frame` has at least its columns."""
        found = frame[self.columns[0]] if self.series else frame[list(self.columns)]
        return dense(found if self.transformer == "passthrough" else self.transformer.transform(found))


def kind(item: object) -> str:
    """Class name of an object of a known library; empty for anything else, whatever it calls itself."""
    name = type(item)
    return name.__name__ if name.__module__.partition(".")[0] in _LIBRARIES else ""


def read(model: Any, positive: int, chain: tuple[Any, ...] = ()) -> Node:
    """Take a fitted classifier apart as far as it is known; what is not stays whole, as a leaf.

    Args:
        positive: its column of `predict_proba` that is churn.
        chain: what stands before it.
    """
    name = kind(model)
    if name in _WRAPPERS:
        return read(getattr(model, _WRAPPERS[name]), positive, chain)
    if name == "Pipeline":
        return read(model.steps[-1][1], positive, chain + transformers(model.steps[:-1]))
    if name == "VotingClassifier" and model.voting == "soft":
        kept = model._weights_not_none
        parts = tuple(read(part, positive, chain) for part in model.estimators_)
        return Mean(parts, tuple(float(w) for w in kept) if kept is not None else (1.0,) * len(parts))
    if name == "StackingClassifier" and (stacked := _stacked(model, positive, chain)) is not None:
        return stacked
    if name == "CalibratedClassifierCV" and len(model.classes_) == 2:
        folds = [_calibrated(fold, positive, chain) for fold in model.calibrated_classifiers_]
        if found := [fold for fold in folds if fold is not None]:
            return Mean(tuple(found), (1.0,) * len(found)) if len(found) == len(folds) else Leaf(chain, model, positive)
    return Leaf(chain, model, positive)


def leading(model: Any) -> tuple[tuple[Any, ...], Any] | None:
    """The first transformers of a pipeline, up to one that is known, and the fitted pipeline behind them.

    None where there is no pipeline, or the first of its transformers is known.
    """
    from sklearn.pipeline import make_pipeline

    while (name := kind(model)) in _WRAPPERS:
        model = getattr(model, _WRAPPERS[name])
    chain = transformers(model.steps[:-1]) if name == "Pipeline" else ()
    known = (place for place, step in enumerate(chain) if kind(step) == "ColumnTransformer" or columnwise(step))
    first = next(known, len(chain))
    return (chain[:first], make_pipeline(*chain[first:], model.steps[-1][1])) if first else None


def transformers(steps: Sequence[tuple[str, Any]]) -> tuple[Any, ...]:
    """Steps that change the rows they are given; samplers, which work while fitting only, are left out."""
    found: list[Any] = []
    for _, step in steps:
        if step is None or step == "passthrough" or (hasattr(step, "fit_resample") and not hasattr(step, "transform")):
            continue
        found += transformers(step.steps) if kind(step) == "Pipeline" else [step]
    return tuple(found)


def _calibrated(fold: Any, positive: int, chain: tuple[Any, ...]) -> Calibrated | None:
    """One fold: its classifier's margin, or its probability of the second class, through its calibrator."""
    if fold.method not in ("sigmoid", "isotonic") or len(fold.calibrators) != 1:
        return None
    part = read(fold.estimator, 1, chain)
    if hasattr(fold.estimator, "decision_function"):
        if not isinstance(part, Leaf):
            return None
        part = Leaf(part.chain, part.classifier, 1, margin=True)
    return Calibrated(part, fold.calibrators[0], flip=positive == 0)


def _stacked(model: Any, positive: int, chain: tuple[Any, ...]) -> Stacked | None:
    """Of two classes, with nothing but a linear classifier on top: a rounding below could turn a tree's answer over."""
    final, methods = model.final_estimator_, set(model.stack_method_)
    known = len(model.classes_) == 2 and not model.passthrough and methods == {"predict_proba"}
    if not known or linear(Leaf((), final, positive)) is None:
        return None
    return Stacked(tuple(read(part, 1, chain) for part in model.estimators_), final, positive)


def answer(leaf: Leaf, matrix: Any) -> npt.NDArray[np.float64]:
    """What the real classifier says of a matrix: (n,) margins or probabilities of `leaf.positive`."""
    if leaf.margin:
        return np.asarray(leaf.classifier.decision_function(matrix), dtype=np.float64)
    return np.asarray(leaf.classifier.predict_proba(matrix), dtype=np.float64)[:, leaf.positive]


def linear(leaf: Leaf) -> tuple[npt.NDArray[np.float64], float] | None:
    """Weights and intercept of a binary linear classifier whose margin or logistic probability is wanted."""
    known = _MARGINS if leaf.margin else _LINEAR
    logistic = kind(leaf.classifier) == "SGDClassifier" and leaf.classifier.loss == "log_loss"
    if not (logistic or kind(leaf.classifier) in known) or len(leaf.classifier.classes_) != 2:
        return None
    weights = np.asarray(leaf.classifier.coef_, dtype=np.float64).reshape(-1)
    return weights, float(np.asarray(leaf.classifier.intercept_).reshape(-1)[0])


def densities(leaf: Leaf) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float] | None:
    """(2, outputs) means and variances of two classes of normal densities, and the log-odds without any output."""
    bayes = leaf.classifier
    if leaf.margin or kind(bayes) != "GaussianNB" or len(bayes.classes_) != 2:
        return None
    odds = np.log(bayes.class_prior_[1]) - np.log(bayes.class_prior_[0])
    return np.asarray(bayes.theta_, dtype=np.float64), np.asarray(bayes.var_, dtype=np.float64), float(odds)


def forest_reader(leaf: Leaf) -> Callable[[Any, int], Forest] | None:
    """What reads the classifier's trees; None where it has none, or none that is known."""
    return _FORESTS.get(kind(leaf.classifier))


def reads_zero_as_missing(leaf: Leaf) -> bool:
    """Whether the classifier takes what a sparse matrix does not store for missing, and not for 0."""
    return kind(leaf.classifier) == "XGBClassifier"


def columnwise(transformer: Any) -> bool:
    """Whether each output is known to depend on one input column only."""
    return _all(transformer, _COLUMNWISE)


def monotone(transformer: Any) -> bool:
    """Whether each output is known to be a monotone function of one input column."""
    return _all(transformer, _MONOTONE)


def selects(transformer: Any) -> bool:
    """Whether it hands on some of its inputs as they are."""
    return kind(transformer) in _SELECTORS


def affine(transformer: Any) -> bool:
    """Whether the outputs are known to be an affine function of the row."""
    return kind(transformer) in ("PCA", "TruncatedSVD") or _scales(transformer)


def _all(transformer: Any, known: frozenset[str]) -> bool:
    name = kind(transformer)
    if isinstance(transformer, str):
        return transformer in ("passthrough", "drop")
    if name == "Pipeline":
        return all(_all(step, known) for step in transformers(transformer.steps))
    if name == "FrozenEstimator":
        return _all(transformer.estimator, known)
    if name == "FeatureUnion":
        return all(_all(part, known) for _, part in transformer.transformer_list)
    if name == "ColumnTransformer":
        return all(_all(part, known) for _, part, _ in transformer.transformers_)
    if name == "FunctionTransformer":
        # A universal function of NumPy takes one number at a time; which are monotone is not looked up.
        ufunc = isinstance(transformer.func, np.ufunc) and transformer.func.nin == 1 and not transformer.kw_args
        return transformer.func is None or (ufunc and known is _COLUMNWISE)
    if name == "SimpleImputer" and known is _MONOTONE and not _is_nan(transformer.missing_values):
        return False  # a number that stands for a missing one becomes another, whatever its neighbours become
    return name in known


def _is_nan(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def blocks(transformer: Any, names: Sequence[str]) -> list[Block] | None:
    """The parts of a transformer that sends columns to several others; None where it is no such thing.

    Args:
        names: columns of the frame it takes.
    """
    if kind(transformer) != "ColumnTransformer":
        return None
    found = []
    for name, part, columns in transformer.transformers_:
        outputs = transformer.output_indices_[name]
        if (isinstance(part, str) and part == "drop") or outputs.start == outputs.stop:
            continue
        places = np.arange(outputs.start, outputs.stop)
        found.append(Block(_named(columns, names), places, part, series=isinstance(columns, str)))
    return found


def _named(columns: Any, names: Sequence[str]) -> tuple[str, ...]:
    if isinstance(columns, str):
        return (columns,)
    if isinstance(columns, slice):
        start, stop = ((names.index(edge) if isinstance(edge, str) else edge) for edge in (columns.start, columns.stop))
        last = stop + 1 if isinstance(columns.stop, str) else stop
        return tuple(names[start : last : columns.step])
    listed = list(columns) if not np.isscalar(columns) else [columns]
    if listed and all(isinstance(item, (bool, np.bool_)) for item in listed):
        return tuple(name for name, kept in zip(names, listed, strict=True) if kept)
    return tuple(item if isinstance(item, str) else names[int(str(item))] for item in listed)


def categories(model: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """Column → the values that encoders were fitted with, and those that stand for a missing one.

    Args:
        names: columns of the frame that the model takes.
    """
    found: dict[str, list[Any]] = {}
    for leaf in leaves(read(model, 1)):
        whole = [Block(tuple(names), np.arange(0), leaf.chain[0])] if leaf.chain else []
        for block in (blocks(leaf.chain[0], names) if leaf.chain else None) or whole:
            steps = transformers([("", block.transformer)]) if not isinstance(block.transformer, str) else ()
            for step in steps:
                known = getattr(step, "categories_", None)
                if isinstance(known, list) and len(known) == len(block.columns):
                    for column, values in zip(block.columns, known, strict=True):
                        found.setdefault(column, []).extend(np.asarray(values).tolist())
                for place, column in enumerate(block.columns):
                    if (jumps := edges(step, place)) is not None:
                        sides = [jumps, np.nextafter(jumps, -np.inf), np.ceil(jumps), np.ceil(jumps) - 1]
                        found.setdefault(column, []).extend(np.unique(sides).tolist())
                if not _is_nan(sentinel := getattr(step, "missing_values", None)):
                    for column in block.columns:
                        found.setdefault(column, []).append(sentinel)
    return found


def edges(transformer: Any, place: int) -> npt.NDArray[np.float64] | None:
    """Where outputs jump along the column at a place, from each number on, if they do nothing else."""
    steps = () if isinstance(transformer, str) else transformers([("", transformer)])
    bins: Any = steps[-1] if steps else None
    # In single precision numbers next to an edge are rounded over it.
    if kind(bins) != "KBinsDiscretizer" or bins.dtype not in (None, np.float64) or not all(map(_fills, steps[:-1])):
        return None
    return np.asarray(bins.bin_edges_[place][1:-1], dtype=np.float64)


def bends(transformer: Any) -> np.ufunc | None:
    """NumPy's universal function of every number that is not missing, if nothing but scaling happens to its result."""
    steps = () if isinstance(transformer, str) else transformers([("", transformer)])
    place = next((place for place, step in enumerate(steps) if kind(step) == "FunctionTransformer"), None)
    if place is None or not all(map(_fills, steps[:place])) or not all(map(_scales, steps[place + 1 :])):
        return None
    return steps[place].func if steps[place].func is not None and _all(steps[place], _COLUMNWISE) else None


def products(steps: Sequence[Any]) -> tuple[tuple[Any, ...], npt.NDArray[np.intp]] | None:
    """What comes before products of at most two columns, and their (outputs, columns) powers; all else has to scale."""
    place = next((place for place, step in enumerate(steps) if kind(step) == "PolynomialFeatures"), None)
    if place is None or not all(_fills(step) or _scales(step) for step in (*steps[:place], *steps[place + 1 :])):
        return None
    powers = np.asarray(steps[place].powers_, np.intp)
    return (tuple(steps[:place]), powers) if powers.sum(axis=1).max(initial=0) <= 2 else None


def _scales(step: Any) -> bool:
    """Whether each output is an affine function of one column."""
    return kind(step) in _SCALERS and not getattr(step, "clip", False)


def _fills(step: Any) -> bool:
    """Whether it only puts numbers where there are none, in every column."""
    filling = kind(step) == "SimpleImputer" and not step.add_indicator and _is_nan(step.missing_values)
    return bool(filling and not np.isnan(np.asarray(step.statistics_, dtype=np.float64)).any())


def dense(answer: Any) -> npt.NDArray[Any]:
    """An array, two-dimensional, of whatever a transformer gave."""
    if hasattr(answer, "toarray"):
        answer = answer.toarray()
    found = np.asarray(answer)
    return found.reshape(-1, 1) if found.ndim == 1 else found
