"""A scikit-learn model in a file.

Belongs here: loading it, its plan, a model behind a preprocessor of its own. Does not: what becomes of records first
(`__init__.py`), the arithmetic (`kernel/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pandas as pd

from churn_pipeline.contract.record import Doubtful, RecordReader
from churn_pipeline.inference.base import ModelBackend, Prediction, lists, telco, version_of
from churn_pipeline.kernel.classes import class_names
from churn_pipeline.kernel.model_version import ModelInput
from churn_pipeline.kernel.plan import Plan, make_plan
from churn_pipeline.kernel.score import score
from churn_pipeline.model_files import load_file
from churn_pipeline.records import in_model_order, record_batch, type_of
from churn_pipeline.reference_sample import extremes, reference_sample


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
            return lists(score(batch, self.plan))
        version = version_of(self.model, self.model_path, inputs)
        estimator = self.model if self.preprocessor is None else _Preprocessed(self.preprocessor, self.model)
        return lists(score(batch, Plan(version, estimator)))

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


@cache
def _reader() -> RecordReader:
    return RecordReader(telco())


def _plan(model: Any, path: str) -> Plan | None:
    """A plan for a model that takes the features of the contract; None for any other."""
    contract = telco()
    names = class_names(getattr(model, "feature_names_in_", None))
    if set(names) != set(contract.features):
        return None
    batch = reference_sample(contract, whole_range=True)
    inputs = tuple(ModelInput(name, type_of(batch.schema.field(name).type)) for name in names)
    return make_plan(version_of(model, path, inputs), model, batch, extremes(contract))


class _Preprocessed:
    """A model behind a fitted transformer of its own."""

    def __init__(self, preprocessor: Any, model: Any) -> None:
        self.preprocessor = preprocessor
        self.model = model

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        return self.model.predict_proba(self.preprocessor.transform(frame))
