"""Scoring records that are at hand: load a model file, predict, ask what scored.

Belongs here: the public names of the specification (`load_model`, `predict`, `get_backend_info`, `ModelBackend`,
`SklearnBackend`, `SparkBackend`). Does not: registered models and tables, which go through the asset graph, and the
arithmetic, which is the kernel's.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.frame_schema import check_frame, clean_frame
from churn_pipeline.contract.record import Doubtful, RecordReader
from churn_pipeline.errors import ModelError, ScoringError
from churn_pipeline.kernel.classes import class_names, positive_class
from churn_pipeline.kernel.model_version import ModelInput, ModelVersion
from churn_pipeline.kernel.plan import Plan, make_plan
from churn_pipeline.kernel.score import score
from churn_pipeline.model_files import ModelFileUnreadable as ModelFileUnreadable
from churn_pipeline.model_files import load_file
from churn_pipeline.records import frame_of, in_model_order, record_batch, type_of
from churn_pipeline.reference_sample import extremes, reference_sample

Prediction = tuple[list[int], list[float]]


class RecordsNotScored(ScoringError, ValueError):
    """The model refused some of the records."""


# It is a missing package, a wrong argument and a failing service at once; callers catch it as any of them.
class SparkUnavailable(ModelError, ImportError, ValueError, RuntimeError):
    """Spark was asked for, cannot score here, and nothing stands in for it."""


class ModelBackend(ABC):
    """A loaded model behind one way to ask it.

    Attributes:
        backend_type: `sklearn` or `spark`.
        model_path: the file or folder it is loaded from.
        model: anything with `predict_proba`; None until `load()`, and may be set by hand.
    """

    backend_type: str

    def __init__(self, model_path: str) -> None:
        self.model_path = model_path
        self.model: Any = None

    @abstractmethod
    def load(self) -> None:
        """Load the model from `model_path`."""

    @abstractmethod
    def predict(self, features: pd.DataFrame) -> Prediction:
        """Labels (1 = churn) and probabilities of churn, one each a row."""


class SklearnBackend(ModelBackend):
    """A scikit-learn classifier or pipeline in a file: skops (`.skops`), joblib or pickle.

    A pickle runs code when it is loaded: name only files you made or trust.
    """

    backend_type = "sklearn"

    def __init__(self, model_path: str, preprocessor_path: str | None = None) -> None:
        super().__init__(model_path)
        self.preprocessor_path = preprocessor_path
        self.preprocessor: Any = None
        self.plan: Plan | None = None

    def load(self) -> None:
        """Load the model, and the preprocessor if there is one.

        A model that takes the features of the contract is scored by a plan, which is made and proven here, in about a
        second: then a record takes microseconds.

        Raises:
            FileNotFoundError: no such file.
            ModelFileUnreadable: the file holds no model that this environment can read.
            RowsDependOnEachOther: the model's answer for a record depends on its company.
        """
        self.model = load_file(self.model_path, "Model")
        if self.preprocessor_path is not None:
            self.preprocessor = load_file(self.preprocessor_path, "Preprocessor")
        else:
            self.plan = _plan(self.model, self.model_path)

    def predict(self, features: pd.DataFrame) -> Prediction:
        """Labels (1 = churn) and probabilities of churn, one each a row of `features`."""
        if self.model is None:
            raise ValueError("Model not loaded. Call load() first.")
        if features.empty:
            raise ValueError("Features DataFrame is empty")
        entrance = self.model if self.preprocessor is None else self.preprocessor
        frame = in_model_order(features, entrance)
        batch = record_batch(frame)
        inputs = tuple(ModelInput(column.name, type_of(column.type)) for column in batch.schema)
        if self.plan and self.plan.estimator is self.model and self.plan.model.inputs == inputs:
            return _lists(score(batch, self.plan))
        version = _version(self.model, self.model_path, inputs)
        estimator = self.model if self.preprocessor is None else _Preprocessed(self.preprocessor, self.model)
        return _lists(score(batch, Plan(version, estimator)))

    def predict_record(self, record: Mapping[str, Any]) -> Prediction | None:
        """Score one record that plainly keeps the contract, without building a frame; None for any other."""
        if self.plan is None or self.plan.tables is None or self.plan.estimator is not self.model:
            return None
        try:
            probability = self.plan.tables.one(_reader().read(record))
        except Doubtful:
            return None
        if probability is None:
            return None
        return [int(probability >= self.plan.model.threshold)], [probability]


class SparkBackend(ModelBackend):
    """A Spark ML pipeline; where Spark cannot score, a scikit-learn model that stands in for it and says so.

    Attributes:
        using_fallback: whether scikit-learn scores in Spark's place.
        fallback_backend: what then scores.
    """

    backend_type = "spark"

    def __init__(self, model_path: str, fallback_path: str | None = None, spark_session: Any = None) -> None:
        super().__init__(model_path)
        self.fallback_path = fallback_path
        self.spark_session = spark_session
        self.using_fallback = False
        self.fallback_backend: SklearnBackend | None = None

    def load(self) -> None:
        """Load the fallback, as this release scores with Spark nowhere.

        Raises:
            SparkUnavailable: there is no fallback.
            FileNotFoundError: the fallback's file is not there.
        """
        if self.fallback_path is None:
            why = "this release does not score with Spark yet" if spark_available() else "PySpark is not installed"
            raise SparkUnavailable(
                f"Spark backend cannot load {self.model_path}: {why}, and no fallback path specified. "
                "Give fallback_path, a scikit-learn model file, or use backend 'sklearn'."
            )
        self.fallback_backend = SklearnBackend(self.fallback_path)
        self.fallback_backend.load()
        self.using_fallback = True
        self.model = self.fallback_backend.model

    def predict(self, features: pd.DataFrame) -> Prediction:
        """Labels (1 = churn) and probabilities of churn, from whatever stands in for Spark."""
        if self.fallback_backend is not None:
            return self.fallback_backend.predict(features)
        stand_in = SklearnBackend(self.model_path)
        stand_in.model = self.model
        return stand_in.predict(features)


def load_model(
    backend: str,
    model_path: str,
    preprocessor_path: str | None = None,
    fallback_path: str | None = None,
    spark_session: Any = None,
) -> ModelBackend:
    """Build a backend and load its model.

    Args:
        backend: `sklearn` or `spark`.
        preprocessor_path: file of a fitted transformer that runs first (sklearn).
        fallback_path: file of a scikit-learn model that scores where Spark cannot (spark).

    Raises:
        ValueError: an unknown backend.
        FileNotFoundError: no such file.
    """
    loaded: ModelBackend
    if backend == "sklearn":
        loaded = SklearnBackend(str(model_path), _path(preprocessor_path))
    elif backend == "spark":
        loaded = SparkBackend(str(model_path), _path(fallback_path), spark_session)
    else:
        raise _invalid_backend(backend)
    loaded.load()
    return loaded


def predict(model_backend: Any, features: Any, backend: str | None = None) -> Prediction:
    """Score records.

    Args:
        model_backend: what `load_model` gave, or any model with `predict_proba`.
        features: a dict (one record), a list of dicts, or a data frame. Text is cleaned as the Telco contract says
            (`'600.0'` is a number, `' '` is missing); a whole Telco record is also held against the contract.
        backend: `sklearn` or `spark`; only says what a bare model is.

    Returns:
        Labels (1 = churn) and probabilities of churn, in the order of the records.

    Raises:
        ValueError: no records, an unknown type of features or backend, a value that breaks the contract.
    """
    if backend not in (None, "sklearn", "spark"):
        raise _invalid_backend(str(backend))
    if isinstance(features, dict) and isinstance(model_backend, SklearnBackend):
        found = model_backend.predict_record(features)
        if found is not None:
            return found
    frame = frame_of(features)
    if frame.empty:
        raise ValueError("Features DataFrame is empty")
    if not isinstance(model_backend, ModelBackend):
        bare = SparkBackend("") if backend == "spark" else SklearnBackend("")
        bare.model = model_backend
        model_backend = bare
    return model_backend.predict(_clean(frame))


def get_backend_info(backend: ModelBackend) -> dict[str, Any]:
    """What scores: type, path, class of the model, preprocessor; for Spark also whether something stands in for it."""
    info: dict[str, Any] = {
        "backend_type": backend.backend_type,
        "model_path": backend.model_path,
        "model_type": None if backend.model is None else type(backend.model).__name__,
        "has_preprocessor": getattr(backend, "preprocessor", None) is not None,
        "preprocessor_path": getattr(backend, "preprocessor_path", None),
    }
    if isinstance(backend, SparkBackend):
        info["using_fallback"] = backend.using_fallback
        info["fallback_path"] = backend.fallback_path
        info["spark_available"] = spark_available()
    return info


def spark_available() -> bool:
    """Whether PySpark is installed."""
    return importlib.util.find_spec("pyspark") is not None


@cache
def _contract() -> Contract:
    return Contract.load("telco")


@cache
def _reader() -> RecordReader:
    return RecordReader(_contract())


def _version(model: Any, path: str, inputs: tuple[ModelInput, ...]) -> ModelVersion:
    """A model file as a version."""
    classes, label = getattr(model, "classes_", None), _contract().label
    return ModelVersion(
        name=str(path),
        version="",
        uri=str(path),
        run_id="",
        flavour="sklearn",
        inputs=inputs,
        threshold=0.5,
        classes=class_names(classes),
        positive=positive_class(classes, label.positive if label else None),
    )


def _plan(model: Any, path: str) -> Plan | None:
    """A plan for a model that takes the features of the contract; None for any other."""
    contract = _contract()
    names = class_names(getattr(model, "feature_names_in_", None))
    if set(names) != set(contract.features):
        return None
    batch = reference_sample(contract)
    inputs = tuple(ModelInput(name, type_of(batch.schema.field(name).type)) for name in names)
    return make_plan(_version(model, path, inputs), model, batch, extremes(contract))


class _Preprocessed:
    """A model behind a fitted transformer of its own."""

    def __init__(self, preprocessor: Any, model: Any) -> None:
        self.preprocessor = preprocessor
        self.model = model

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        return self.model.predict_proba(self.preprocessor.transform(frame))


def _clean(frame: pd.DataFrame) -> pd.DataFrame:
    """Clean as the contract says; hold whole records of raw values against it."""
    contract = _contract()
    categories = [name for name, feature in contract.features.items() if feature.type == "category"]
    if set(contract.features) <= set(frame.columns):
        # A frame whose categories are numbers was encoded for a model of its own; the contract is about raw records.
        raw = all(isinstance(value, str) for value in frame[categories].iloc[0])
        if raw:
            identified = frame if contract.id.column in frame else frame.assign(**{contract.id.column: "-"})
            check_frame(identified, contract)
    return clean_frame(frame, contract)


def _lists(scored: pa.RecordBatch) -> Prediction:
    failed = np.flatnonzero(scored.column("churn_probability").is_null().to_numpy(zero_copy_only=False))
    if len(failed):
        kind = scored.column("error_type")[int(failed[0])]
        raise RecordsNotScored(
            f"The model refused {len(failed)} of {scored.num_rows} records, first number {failed[0]} ({kind}). "
            "Compare them with a record the model was fitted with."
        )
    return scored.column("prediction").to_pylist(), scored.column("churn_probability").to_pylist()


def _path(path: str | None) -> str | None:
    return None if path is None else str(path)


def _invalid_backend(backend: str) -> ValueError:
    return ValueError(f"Invalid backend type: {backend}. Must be 'sklearn' or 'spark'")
