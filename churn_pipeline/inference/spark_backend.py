"""A Spark ML pipeline in a folder, and what stands in for it where Spark cannot score.

Belongs here: loading both, and saying which of them scores. Does not: what a pipeline is made of
(`spark/pipeline_models.py`), batches of customers, which go through the asset graph.
"""

from __future__ import annotations

import logging
from typing import Any

import pandas as pd

from churn_pipeline.errors import ModelError, SparkCannotScore
from churn_pipeline.inference.base import ModelBackend, Prediction, lists, telco, version_of
from churn_pipeline.inference.sklearn_backend import SklearnBackend
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.score import score
from churn_pipeline.records import record_batch, type_of
from churn_pipeline.reference_sample import reference_sample
from churn_pipeline.spark.pipeline_models import PipelineClassifier
from churn_pipeline.spark.sessions import Fallback, SparkSettings, open_session

#: Made-up customers whom both the pipeline and what may stand in for it score.
_COMPARED = 200

_log = logging.getLogger(__name__)


# It is a missing package, a wrong argument and a failing service at once; callers catch it as any of them.
class SparkUnavailable(ModelError, ImportError, ValueError, RuntimeError):
    """Spark was asked for, cannot score here, and nothing stands in for it."""


class SparkBackend(ModelBackend):
    """A Spark ML pipeline; where Spark cannot score, a scikit-learn model that stands in for it and says so.

    Attributes:
        using_fallback: whether scikit-learn scores in Spark's place.
        fallback_cause: why it does: `pyspark_missing`, `session_failed`, `model_missing` or `load_failed`; or empty.
        fallback_backend: the model that does, or would.
        fallback_difference: the largest difference of two probabilities of both on made-up customers; None where they
            could not be compared.
    """

    backend_type = "spark"

    def __init__(
        self,
        model_path: str,
        fallback_path: str | None = None,
        spark_session: Any = None,
        fallback: Fallback = "warn",
    ) -> None:
        """
        Args:
            model_path: folder that `PipelineModel.save` or MLflow's Spark flavour wrote.
            fallback_path: file of a scikit-learn model.
            spark_session: PySpark's; by default one on this machine, opened when it is needed.
            fallback: whether the scikit-learn model may score in Spark's place, without or with a warning.
        """
        super().__init__(model_path)
        self.fallback_path = fallback_path
        self.spark_session = spark_session
        self.using_fallback = False
        self.fallback_cause = ""
        self.fallback_backend: SklearnBackend | None = None
        self.fallback_difference: float | None = None
        self._fallback = fallback

    def load(self) -> None:
        """Load the pipeline, or else what stands in for it.

        Raises:
            SparkUnavailable: Spark cannot score, and there is no fallback or it is forbidden.
            NoProbabilityColumn: the pipeline gives no probabilities.
            FileNotFoundError: the fallback's file is not there.
        """
        try:
            self.model = PipelineClassifier.load(self.model_path, self._session).model
            self.using_fallback, self.fallback_cause = False, ""
        except SparkCannotScore as error:
            self._fall_back(error)
            return
        if self.fallback_path is not None and self._fallback != "forbid":
            self.fallback_backend = self._loaded_fallback()
            self._compare(self.fallback_backend)

    def predict(self, features: pd.DataFrame) -> Prediction:
        """Labels (1 = churn) and probabilities of churn, one each a row of `features`."""
        if self.using_fallback and self.fallback_backend is not None:
            return self.fallback_backend.predict(features)
        if self.model is None:
            raise ValueError("Model not loaded. Call load() first.")
        if features.empty:
            raise ValueError("Features DataFrame is empty")
        batch = record_batch(features)
        inputs = tuple(ModelInput(column.name, type_of(column.type)) for column in batch.schema)
        classifier = self._classifier()
        return lists(score(batch, Plan(version_of(classifier, self.model_path, inputs, "spark"), classifier)))

    def _classifier(self) -> Any:
        """The model, which may have been set by hand, as the kernel asks it."""
        if hasattr(self.model, "predict_proba"):
            return self.model
        return PipelineClassifier(self.model, self._session())

    def _session(self) -> Any:
        if self.spark_session is None:
            return open_session(SparkSettings()).spark
        return self.spark_session

    def _fall_back(self, error: SparkCannotScore) -> None:
        if self.fallback_path is None or self._fallback == "forbid":
            why = "no fallback path specified" if self.fallback_path is None else "a fallback is forbidden"
            raise SparkUnavailable(
                f"Spark backend cannot load {self.model_path}, and {why}. {error} "
                "Or give fallback_path, a scikit-learn model file."
            ) from None
        level = logging.WARNING if self._fallback == "warn" else logging.INFO
        _log.log(level, "scikit-learn (%s) stands in for Spark: %s", self.fallback_path, error)
        self.fallback_backend = self._loaded_fallback()
        self.using_fallback, self.fallback_cause = True, error.cause
        self.model = self.fallback_backend.model

    def _loaded_fallback(self) -> SklearnBackend:
        assert self.fallback_path is not None
        backend = SklearnBackend(self.fallback_path)
        backend.load()
        return backend

    def _compare(self, other: SklearnBackend) -> None:
        """Score made-up customers of the contract by both."""
        if other.plan is None:
            return
        inputs = other.plan.model.inputs
        customers = frame(reference_sample(telco(), _COMPARED), inputs)
        ours, theirs = (backend.predict(customers)[1] for backend in (self, other))
        self.fallback_difference = max(abs(one - two) for one, two in zip(ours, theirs, strict=True))
        _log.info("Spark and its fallback differ by up to %.2g.", self.fallback_difference)
