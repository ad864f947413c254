"""Models as other people register them: a table that is not Telco, pipelines after patterns in public repositories.

Belongs here: the table and the pipelines, fitted. Does not: what is tested of them.
"""

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
from imblearn.ensemble import BalancedBaggingClassifier, BalancedRandomForestClassifier
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import Pipeline as ImbalancedPipeline
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput, ModelVersion

INPUTS = (
    ModelInput("plan", "string"),
    ModelInput("city", "string"),
    ModelInput("visits", "long"),
    ModelInput("age", "double", required=False),
    ModelInput("spend", "double", required=False),
    ModelInput("member", "boolean"),
    ModelInput("months", "double"),
)
WORDS, NUMBERS = ["plan", "city"], ["visits", "age", "spend", "months"]
EXTREMES = {
    "plan": [None, "never seen", ""],
    "city": [None, "nowhere"],
    "visits": [0, 400],
    "age": [None, 0.0, 120.0],
    "spend": [None, 0.0, 1e6],
    "member": [True, False],
    "months": [0.0, 600.0],
}


def members(n: int, seed: int = 0) -> pa.RecordBatch:
    """n members of a gym, text as dictionaries, as the sources hand it on."""
    rng = np.random.default_rng(seed)
    gaps = rng.random((2, n)) < 0.03
    return pa.RecordBatch.from_pydict(
        {
            "id": pa.array([f"m{i}" for i in range(n)]),
            "plan": pa.array(rng.choice(["basic", "plus", "all in", "day"], n)).dictionary_encode(),
            "city": pa.array(rng.choice([f"city {i}" for i in range(40)], n)).dictionary_encode(),
            "visits": pa.array(rng.poisson(6, n)),
            "age": pa.array(np.round(rng.normal(40, 9, n).clip(16), 1), mask=gaps[0]),
            "spend": pa.array(np.round(rng.lognormal(3.4, 0.8, n), 2), mask=gaps[1]),
            "member": pa.array(rng.random(n) < 0.6),
            "months": pa.array(np.round(rng.gamma(2, 12, n), 2)),
        }
    )


def labels(batch: pa.RecordBatch, seed: int = 0) -> np.ndarray:
    """Who left."""
    rows = batch.to_pandas()
    score = (
        0.8 * (rows["plan"] == "day") - 0.12 * rows["visits"] - 0.02 * rows["months"] + 0.01 * rows["age"].fillna(40)
    )
    score = score + 0.6 * (~rows["member"]) * (rows["spend"].fillna(20) > 30)
    chance = 1 / (1 + np.exp(-(score - score.mean()) * 1.5))
    return (np.random.default_rng(seed).random(len(rows)) < chance).astype(int)


def version(inputs=INPUTS, **changes) -> ModelVersion:
    said = {
        "name": "m", "version": "1", "uri": "models:/m/1", "run_id": "", "flavour": "sklearn", "inputs": inputs,
        "threshold": 0.5, "classes": ("0", "1"), "positive": 1, **changes,
    }  # fmt: skip
    return ModelVersion(**said)


class Ratios(TransformerMixin, BaseEstimator):
    """A feature class as people write them."""

    def fit(self, rows, y=None):
        self.fitted_ = True
        return self

    def transform(self, rows: pd.DataFrame) -> np.ndarray:
        spend, months = rows["spend"].fillna(0).to_numpy(float), rows["months"].to_numpy(float)
        return np.column_stack([spend / (months + 1), spend * months])


def _filled(scaler=None) -> Pipeline:
    return make_pipeline(SimpleImputer(strategy="median"), scaler or StandardScaler())


def _onehot(**options) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", **options)


def _front(numbers=None, words=None, **options) -> ColumnTransformer:
    return ColumnTransformer(
        [("n", numbers or _filled(), NUMBERS), ("w", words or _onehot(), WORDS), ("b", "passthrough", ["member"])],
        **options,
    )


def _logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=500)


def _boosted(**options) -> GradientBoostingClassifier:
    return GradientBoostingClassifier(n_estimators=20, random_state=0, **options)


def _forest(**options) -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators=15, random_state=0, **options)


def _xgboost() -> XGBClassifier:
    return XGBClassifier(n_estimators=15, max_depth=3)


def _shallow() -> DecisionTreeClassifier:
    return DecisionTreeClassifier(max_depth=5, random_state=0)


def _ordinal() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)


#: Name → (makes an unfitted model, the tier it is expected to reach without and with numba).
MODELS = {
    "logistic": (lambda: make_pipeline(_front(), _logistic()), "linear", "linear"),
    "scaler_after": (
        lambda: make_pipeline(_front(sparse_threshold=0), StandardScaler(), _logistic()),
        "linear",
        "linear",
    ),
    "select_k": (lambda: make_pipeline(_front(sparse_threshold=0), SelectKBest(k=12), _logistic()), "linear", "linear"),
    "pca_logistic": (lambda: make_pipeline(_front(sparse_threshold=0), PCA(6), _logistic()), "linear", "linear"),
    "searched": (
        lambda: GridSearchCV(make_pipeline(_front(), _logistic()), {"logisticregression__C": [0.1, 1]}, cv=2),
        "linear",
        "linear",
    ),
    "log1p_function": (
        lambda: make_pipeline(_front(make_pipeline(SimpleImputer(), FunctionTransformer(np.log1p))), _logistic()),
        "linear",
        "linear",
    ),
    "sgd": (lambda: make_pipeline(_front(), SGDClassifier(loss="log_loss", random_state=0)), "linear", "linear"),
    "polynomial": (
        lambda: make_pipeline(
            _front(make_pipeline(SimpleImputer(), StandardScaler(), PolynomialFeatures(2))), _logistic()
        ),
        "linear",
        "linear",
    ),
    "infrequent": (
        lambda: make_pipeline(
            ColumnTransformer(
                [
                    ("n", make_pipeline(SimpleImputer(add_indicator=True), MinMaxScaler()), NUMBERS),
                    ("w", OneHotEncoder(min_frequency=0.02, handle_unknown="infrequent_if_exist", drop="first"), WORDS),
                ]
            ),
            _logistic(),
        ),
        "linear",
        "linear",
    ),
    "calibrated_svc": (
        lambda: make_pipeline(_front(), CalibratedClassifierCV(LinearSVC(random_state=0), cv=2)),
        "linear",
        "linear",
    ),
    "boosted": (lambda: make_pipeline(_front(), _boosted()), "masks", "masks"),
    "selector": (
        lambda: make_pipeline(
            ColumnTransformer(
                [
                    ("w", _onehot(), make_column_selector(dtype_include=object)),
                    ("n", _filled(RobustScaler()), make_column_selector(dtype_include=float)),
                ],
                remainder="passthrough",
            ),
            _boosted(max_depth=4),
        ),
        "masks",
        "masks",
    ),
    "hist_categories": (
        lambda: make_pipeline(
            ColumnTransformer([("w", _ordinal(), WORDS), ("n", "passthrough", NUMBERS)]),
            HistGradientBoostingClassifier(max_iter=15, categorical_features=[0, 1], random_state=0),
        ),
        "masks",
        "masks",
    ),
    "xgboost_sparse": (lambda: make_pipeline(_front(sparse_threshold=1), _xgboost()), "masks", "masks"),
    "xgboost_raw": (lambda: make_pipeline(_front("passthrough", sparse_threshold=1), _xgboost()), "masks", "masks"),
    "lightgbm": (
        lambda: make_pipeline(_front(), LGBMClassifier(n_estimators=15, num_leaves=15, verbose=-1)),
        "masks",
        "masks",
    ),
    "imblearn": (
        lambda: ImbalancedPipeline([("f", _front()), ("s", RandomOverSampler(random_state=0)), ("c", _logistic())]),
        "linear",
        "linear",
    ),
    "forest": (lambda: make_pipeline(_front(_filled()), _forest()), "matrix", "walk"),
    "extra_trees": (
        lambda: make_pipeline(
            ColumnTransformer(
                [
                    ("t", TargetEncoder(random_state=0), WORDS),
                    (
                        "k",
                        make_pipeline(SimpleImputer(), KBinsDiscretizer(5, quantile_method="averaged_inverted_cdf")),
                        ["age", "spend"],
                    ),
                ]
            ),
            ExtraTreesClassifier(n_estimators=15, max_depth=4, random_state=0),
        ),
        "masks",
        "masks",
    ),
    "calibrated_boosted": (
        lambda: CalibratedClassifierCV(make_pipeline(_front(), _boosted()), cv=2, method="isotonic"),
        "masks",
        "masks",
    ),
    "voting": (
        lambda: make_pipeline(
            _front(),
            VotingClassifier(
                [("l", _logistic()), ("f", _forest(max_depth=5)), ("b", _boosted())], voting="soft", weights=[2, 1, 1]
            ),
        ),
        "masks",
        "masks",
    ),
    "stacking": (
        lambda: make_pipeline(_front(), StackingClassifier([("f", _forest(max_depth=4)), ("b", _boosted())], cv=2)),
        "masks",
        "masks",
    ),
    "bayes": (lambda: make_pipeline(_front(sparse_threshold=0), GaussianNB()), "linear", "linear"),
    "network": (lambda: make_pipeline(_front(), MLPClassifier((8,), max_iter=30, random_state=0)), "matrix", "matrix"),
    "ada": (lambda: make_pipeline(_front(), AdaBoostClassifier(n_estimators=10, random_state=0)), "masks", "masks"),
    "bagged": (
        lambda: make_pipeline(_front(), BaggingClassifier(_shallow(), max_features=0.7, random_state=0)),
        "masks",
        "masks",
    ),
    "balanced_bagging": (
        lambda: make_pipeline(_front(), BalancedBaggingClassifier(_shallow(), n_estimators=5, random_state=0)),
        "masks",
        "masks",
    ),
    "balanced_forest": (
        lambda: make_pipeline(
            _front(),
            BalancedRandomForestClassifier(
                10, max_depth=4, sampling_strategy="all", replacement=True, bootstrap=False, random_state=0
            ),
        ),
        "masks",
        "masks",
    ),
    "tree": (lambda: make_pipeline(_front(), _shallow()), "masks", "masks"),
    "stacked_trees": (
        lambda: make_pipeline(
            _front(),
            StackingClassifier([("l", _logistic()), ("b", _boosted())], final_estimator=_forest(max_depth=2), cv=2),
        ),
        "matrix",
        "matrix",
    ),
    "feature_class": (
        lambda: make_pipeline(
            ColumnTransformer([("r", Ratios(), ["spend", "months"]), ("w", _onehot(), WORDS)]), _boosted()
        ),
        "masks",
        "masks",
    ),
    "knn_imputer": (lambda: make_pipeline(_front(KNNImputer(n_neighbors=2)), _logistic()), "linear", "linear"),
    "pandas_output": (
        lambda: make_pipeline(_front(sparse_threshold=0, words=_onehot(sparse_output=False)), _boosted()).set_output(
            transform="pandas"
        ),
        "masks",
        "masks",
    ),
    "function_over_all": (
        lambda: make_pipeline(
            FunctionTransformer(lambda rows: rows.assign(rate=rows["visits"] / (rows["months"] + 1))),
            _front(),
            _logistic(),
        ),
        "linear",
        "linear",
    ),
}


def fitted(name: str, rows: int = 1_500):
    """A model of `MODELS`, fitted."""
    batch = members(rows, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MODELS[name][0]().fit(frame(batch, INPUTS), labels(batch))
