"""Scoring records that are at hand: load a model file, predict, ask what scored.

Belongs here: the public names of the specification (`load_model`, `predict`, `get_backend_info`, `ModelBackend`,
`SklearnBackend`, `SparkBackend`). Does not: registered models and tables, which go through the asset graph, and the
arithmetic, which is the kernel's.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from churn_pipeline.contract.frame_schema import check_frame, clean_frame
from churn_pipeline.inference.base import ModelBackend as ModelBackend
from churn_pipeline.inference.base import Prediction, telco
from churn_pipeline.inference.base import RecordsNotScored as RecordsNotScored
from churn_pipeline.inference.sklearn_backend import SklearnBackend as SklearnBackend
from churn_pipeline.inference.spark_backend import SparkBackend as SparkBackend
from churn_pipeline.inference.spark_backend import SparkUnavailable as SparkUnavailable
from churn_pipeline.model_files import ModelFileUnreadable as ModelFileUnreadable
from churn_pipeline.records import frame_of
from churn_pipeline.spark.sessions import is_installed


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
        info["fallback_cause"] = backend.fallback_cause
        info["scored_by"] = "sklearn" if backend.using_fallback else "spark"
        info["spark_available"] = is_installed()
    return info


def _clean(frame: pd.DataFrame) -> pd.DataFrame:
    """Clean as the contract says; hold whole records of raw values against it."""
    contract = telco()
    categories = [name for name, feature in contract.features.items() if feature.type == "category"]
    if set(contract.features) <= set(frame.columns):
        # A frame whose categories are numbers was encoded for a model of its own; the contract is about raw records.
        raw = all(isinstance(value, str) for value in frame[categories].iloc[0])
        if raw:
            identified = frame if contract.id.column in frame else frame.assign(**{contract.id.column: "-"})
            check_frame(identified, contract)
    return clean_frame(frame, contract)


def _path(path: str | None) -> str | None:
    return None if path is None else str(path)


def _invalid_backend(backend: str) -> ValueError:
    return ValueError(f"Invalid backend type: {backend}. Must be 'sklearn' or 'spark'")
