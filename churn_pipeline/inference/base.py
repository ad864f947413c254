"""What a backend is: a loaded model behind one way to ask it.

Belongs here: the abstract class, and what all backends make of a model and of scored rows. Does not: a backend (one
file each beside this one).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from churn_pipeline.contract.definition import Contract
from churn_pipeline.errors import ScoringError
from churn_pipeline.kernel.classes import class_names, positive_class
from churn_pipeline.kernel.model_version import ModelInput, ModelVersion

Prediction = tuple[list[int], list[float]]


class RecordsNotScored(ScoringError, ValueError):
    """The model refused some of the records."""


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


@cache
def telco() -> Contract:
    """The contract that records at hand are held against."""
    return Contract.load("telco")


def version_of(model: Any, path: str, inputs: tuple[ModelInput, ...], flavour: str = "sklearn") -> ModelVersion:
    """A model file as a version."""
    classes, label = getattr(model, "classes_", None), telco().label
    return ModelVersion(
        name=str(path),
        version="",
        uri=str(path),
        run_id="",
        flavour=flavour,
        inputs=inputs,
        threshold=0.5,
        classes=class_names(classes),
        positive=positive_class(classes, label.positive if label else None),
    )


def lists(scored: pa.RecordBatch) -> Prediction:
    """Labels and probabilities of scored rows.

    Raises:
        RecordsNotScored: some have none.
    """
    failed = np.flatnonzero(scored.column("churn_probability").is_null().to_numpy(zero_copy_only=False))
    if len(failed):
        kind = scored.column("error_type")[int(failed[0])]
        raise RecordsNotScored(
            f"The model refused {len(failed)} of {scored.num_rows} records, first number {failed[0]} ({kind}). "
            "Compare them with a record the model was fitted with."
        )
    return scored.column("prediction").to_pylist(), scored.column("churn_probability").to_pylist()
