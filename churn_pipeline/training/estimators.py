"""The estimators that ship, built from the contract's types alone.

Belongs here: pipelines and the signature they are fitted on. Does not: which customers they are fitted on
(`fitting.py`), how good they are (`evaluation.py`), the frame they see (`kernel/frame.py`).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from churn_pipeline.contract.definition import Contract, Feature, nearest
from churn_pipeline.errors import UsageError
from churn_pipeline.kernel.model_version import ModelInput

EstimatorName = Literal["logistic_regression", "gradient_boosting", "hist_gradient_boosting", "random_forest"]
ESTIMATORS: tuple[str, ...] = get_args(EstimatorName)

#: What may fit them: scikit-learn, or Spark (`spark_estimators.py`).
Engine = Literal["sklearn", "spark"]

_SIGNATURE = {"number": "double", "integer": "long", "category": "string", "text": "string", "boolean": "boolean"}

#: Distinct values of one column that get an input of their own; the rarest share one.
_MAX_VALUES = 50


class UnknownEstimator(UsageError):
    """There is no estimator of this name."""


def signature(contract: Contract) -> tuple[ModelInput, ...]:
    """What a model of this contract takes: the features in the contract's order, in MLflow's types.

    An integer that may be missing is a double: NumPy's integers have no missing value.
    """
    return tuple(ModelInput(name, _type(item), not item.nullable) for name, item in contract.features.items())


def pipeline(contract: Contract, estimator: str = "logistic_regression", seed: int = 0) -> Any:
    """Build an unfitted scikit-learn pipeline that takes the frame of `signature(contract)`.

    Unseen values and missing ones are scored, not refused: a missing number is the median (histogram gradient boosting
    knows missing values itself), a missing or unseen word counts as none of the known ones.

    Args:
        estimator: one of `ESTIMATORS`.
        seed: makes the fit repeatable.

    Raises:
        UnknownEstimator: names the nearest.
    """
    from sklearn.pipeline import Pipeline

    if estimator not in ESTIMATORS:
        known = ", ".join(ESTIMATORS)
        raise UnknownEstimator(f"No estimator {estimator!r}{nearest(estimator, ESTIMATORS)}. There are: {known}.")
    numbers = [name for name, item in contract.features.items() if item.type in ("number", "integer")]
    words = [name for name in contract.features if name not in numbers]
    if estimator == "hist_gradient_boosting":
        return Pipeline([("encode", _codes(numbers, words)), ("classify", _hist(len(words), seed))])
    return Pipeline([("encode", _one_hot(numbers, words)), ("classify", _classifier(estimator, seed))])


def _type(feature: Feature) -> str:
    return "double" if feature.type == "integer" and feature.nullable else _SIGNATURE[feature.type]


def _one_hot(numbers: list[str], words: list[str]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    scaled = Pipeline(
        [("fill", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    encoded = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_MAX_VALUES, sparse_output=False)
    return ColumnTransformer([("numbers", scaled, numbers), ("words", encoded, words)])


def _codes(numbers: list[str], words: list[str]) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import OrdinalEncoder

    missing = float("nan")
    encoded = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=missing,
        encoded_missing_value=missing,
        max_categories=_MAX_VALUES,
    )
    # Words first: the classifier is told by position which of its columns are categories.
    return ColumnTransformer([("words", encoded, words), ("numbers", "passthrough", numbers)])


def _hist(categories: int, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Stops by a share of the training rows that it holds back itself.
    return HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        l2_regularization=1.0,
        max_iter=300,
        early_stopping=True,
        n_iter_no_change=15,
        categorical_features=list(range(categories)),
        random_state=seed,
    )


def _classifier(estimator: str, seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    if estimator == "gradient_boosting":
        return GradientBoostingClassifier(n_estimators=100, max_depth=3, subsample=0.8, random_state=seed)
    if estimator == "random_forest":
        # Depth 10: unlimited depth is no better here, and scores 3 to 10 times slower.
        return RandomForestClassifier(n_estimators=100, max_depth=10, min_samples_leaf=5, random_state=seed)
    return LogisticRegression(max_iter=1000, random_state=seed)
