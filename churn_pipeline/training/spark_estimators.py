"""The estimators that ship, as Spark ML pipelines: fitted on Spark, asked as scikit-learn's are.

Belongs here: their stages, and fitting them. Does not: scikit-learn's (`estimators.py`), asking a fitted one
(`spark/pipeline_models.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.contract.definition import Contract, nearest
from churn_pipeline.errors import UsageError
from churn_pipeline.spark.pipeline_models import PipelineClassifier
from churn_pipeline.spark.sessions import SparkSettings, open_session
from churn_pipeline.training.estimators import UnknownEstimator

if TYPE_CHECKING:
    import pandas as pd

SPARK_ESTIMATORS = ("logistic_regression", "gradient_boosting", "random_forest")

_LABEL = "churned"


class ConnectCannotTrain(UsageError):
    """A Spark ML pipeline was to be trained through Spark Connect."""


class SparkEstimator(PipelineClassifier):
    """A Spark ML pipeline before it is fitted, and after; scikit-learn can clone and cross-validate it.

    Unseen words and missing values are scored, as with scikit-learn's: a missing number is the median, a missing or
    unseen word has an input of its own.

    Args:
        contract: what customers are.
        estimator: one of `SPARK_ESTIMATORS`.
        seed: makes the fit repeatable.
        spark: where Spark is; no Spark Connect.

    Raises:
        UnknownEstimator, ConnectCannotTrain
    """

    def __init__(self, contract: Contract, estimator: str, seed: int, spark: SparkSettings) -> None:
        if estimator not in SPARK_ESTIMATORS:
            known = ", ".join(SPARK_ESTIMATORS)
            raise UnknownEstimator(
                f"No estimator {estimator!r} on Spark{nearest(estimator, SPARK_ESTIMATORS)}. There are: {known}."
            )
        if spark.remote:
            raise ConnectCannotTrain(
                f"No Spark ML pipeline can be trained through {spark.remote}: MLflow stores one from a session with a "
                "master alone. Set CHURN_SPARK_MASTER and leave CHURN_SPARK_REMOTE empty, or train with engine sklearn."
            )
        self.contract, self.estimator, self.seed, self.spark = contract, estimator, seed, spark

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002  scikit-learn's signature
        """What a clone is made of."""
        return {"contract": self.contract, "estimator": self.estimator, "seed": self.seed, "spark": self.spark}

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags("classifier", TargetTags(required=True), classifier_tags=ClassifierTags())

    def predict(self, customers: pd.DataFrame) -> npt.NDArray[np.int64]:
        """The likelier label of n customers."""
        return self.predict_proba(customers).argmax(axis=1)

    def fit(self, customers: pd.DataFrame, churned: npt.NDArray[np.int64]) -> SparkEstimator:
        """Fit on n customers and n labels, 0 or 1."""
        from pyspark.ml import Pipeline

        session = open_session(self.spark).spark
        table = pa.Table.from_pandas(customers, preserve_index=False)
        labelled = table.append_column(_LABEL, pa.array(churned, pa.float64()))
        pipeline = Pipeline(stages=self._stages())
        super().__init__(pipeline.fit(session.createDataFrame(labelled).cache()), session)
        return self

    def _stages(self) -> list[Any]:
        from pyspark.ml.feature import Imputer, OneHotEncoder, SQLTransformer, StringIndexer, VectorAssembler

        features = self.contract.features.items()
        numbers = [name for name, item in features if item.type in ("number", "integer")]
        words = [name for name, _ in features if name not in numbers]
        # Imputers take floating point alone, indexers take text.
        casts = [f"CAST(`{name}` AS DOUBLE) AS `{name}__number`" for name in numbers]
        casts += [f"CAST(`{name}` AS STRING) AS `{name}__word`" for name in words]
        stages: list[Any] = [SQLTransformer(statement=f"SELECT *, {', '.join(casts)} FROM __THIS__")]
        inputs = [f"{name}__filled" for name in numbers]
        if numbers:
            cast = [f"{name}__number" for name in numbers]
            stages.append(Imputer(strategy="median", inputCols=cast, outputCols=inputs))
        if words:
            codes, hot = [f"{name}__code" for name in words], [f"{name}__hot" for name in words]
            text = [f"{name}__word" for name in words]
            stages.append(StringIndexer(inputCols=text, outputCols=codes, handleInvalid="keep"))
            stages.append(OneHotEncoder(inputCols=codes, outputCols=hot, handleInvalid="keep"))
            inputs += hot
        return [*stages, VectorAssembler(inputCols=inputs, outputCol="features"), self._classifier()]

    def _classifier(self) -> Any:
        from pyspark.ml.classification import GBTClassifier, LogisticRegression, RandomForestClassifier

        common: dict[str, Any] = {"featuresCol": "features", "labelCol": _LABEL}
        if self.estimator == "gradient_boosting":
            return GBTClassifier(maxIter=20, maxDepth=3, subsamplingRate=0.8, seed=self.seed, **common)
        if self.estimator == "random_forest":
            return RandomForestClassifier(numTrees=100, maxDepth=10, minInstancesPerNode=5, seed=self.seed, **common)
        return LogisticRegression(maxIter=100, **common)
