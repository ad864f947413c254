"""Spark ML pipelines: loading one, and asking it as the kernel asks an estimator.

Belongs here: everything that knows what a `PipelineModel` is made of. Does not: fitting one (`training/`), rows of
tables (`assets/`), the session (`sessions.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.errors import ModelError, SparkCannotScore
from churn_pipeline.spark.sessions import check_installed, in_short, spark_errors

if TYPE_CHECKING:
    import pandas as pd

#: Columns that go along with the customers, and come back with the answer.
PLACE, PROBABILITY = "churn_place", "churn_probability"

#: Where MLflow puts the pipeline in a model's folder.
_MLFLOW = "sparkml"


class SparkModelMissing(SparkCannotScore):
    """There is no Spark ML pipeline in the folder."""

    cause = "model_missing"


class SparkModelUnreadable(SparkCannotScore):
    """The folder holds no pipeline that this Spark can load."""

    cause = "load_failed"


class NoProbabilityColumn(ModelError):
    """The pipeline ends in a classifier without probabilities, or in none."""


class PipelineClassifier:
    """A fitted Spark ML pipeline, asked as scikit-learn's classifiers are.

    A customer that one of its stages would refuse with an error is left out by that stage instead (`handleInvalid`),
    and has no probability.

    Attributes:
        classes_: as the pipeline indexed them; 0, 1 … where no stage did.
    """

    def __init__(self, model: Any, session: Any) -> None:
        """
        Args:
            model: a `PipelineModel`.
            session: PySpark's.

        Raises:
            NoProbabilityColumn
        """
        self.model, self._session = model, session
        self._column = _probability_column(model)
        self.classes_ = _classes(model)
        for stage in model.stages:
            if stage.hasParam("handleInvalid"):
                _leave_out_or_keep(stage, is_label=_label_of(stage, model) is not None)

    @classmethod
    def load(cls, folder: str, open_session: Callable[[], Any]) -> PipelineClassifier:
        """Load a pipeline that `PipelineModel.save` or MLflow's Spark flavour has written.

        Args:
            folder: a path, or a URI that Spark can read.
            open_session: gives PySpark's session; is called once the folder was seen.

        Raises:
            SparkCannotScore: the session's own errors.
            SparkModelMissing, SparkModelUnreadable, NoProbabilityColumn
        """
        check_installed()
        place = folder
        if "://" not in folder:
            path = Path(folder).absolute()
            path = path / _MLFLOW if (path / _MLFLOW).is_dir() else path
            if not (path / "metadata").is_dir():
                raise SparkModelMissing(
                    f"There is no Spark ML pipeline at {path}: it has no folder metadata. Name the folder that "
                    "PipelineModel.save wrote."
                )
            place = path.as_uri()
        session = open_session()
        from pyspark.ml import PipelineModel

        try:
            return cls(PipelineModel.load(place), session)
        except spark_errors() as error:
            raise SparkModelUnreadable(
                f"The Spark ML pipeline at {folder} cannot be loaded: {in_short(error)}. Save it again, with a Spark "
                "that is not newer than this one; through Spark Connect the server must see the same folder."
            ) from None

    def predict_proba(self, frame: pd.DataFrame) -> npt.NDArray[np.float64]:
        """Probabilities of n customers, a column a class; NaN for a customer that a stage refuses.

        Args:
            frame: n customers; a missing value is None or NaN.
        """
        from pyspark.ml.functions import vector_to_array

        found = np.full((len(frame), len(self.classes_)), np.nan)
        if frame.empty:
            return found
        table = pa.Table.from_pandas(frame, preserve_index=False).append_column(PLACE, pa.array(np.arange(len(frame))))
        scored = self.model.transform(self._session.createDataFrame(table))
        rows = scored.select(PLACE, vector_to_array(self._column).alias(PROBABILITY)).toArrow()
        places = rows[PLACE].to_numpy()
        found[places] = np.array(rows[PROBABILITY].to_pylist(), dtype=np.float64).reshape(len(places), -1)
        return found

    def of_class(self, rows: Any, positive: int) -> Any:
        """A Spark data frame of `PLACE` and `PROBABILITY`, the latter of one class; its order is that of `rows`.

        Args:
            rows: a Spark data frame of customers with their `PLACE`.
        """
        from pyspark.ml.functions import vector_to_array

        scored = self.model.transform(rows)
        return scored.select(PLACE, vector_to_array(self._column)[positive].alias(PROBABILITY))


def _probability_column(model: Any) -> str:
    last = model.stages[-1] if model.stages else None
    if last is None or not last.hasParam("probabilityCol"):
        said = "has no stages" if last is None else f"ends in {type(last).__name__}, which gives no probabilities"
        raise NoProbabilityColumn(
            f"The Spark ML pipeline {said}. Let it end in a classifier with probabilityCol, such as "
            "LogisticRegression, RandomForestClassifier or GBTClassifier."
        )
    return str(last.getProbabilityCol())


def _classes(model: Any) -> npt.NDArray[Any]:
    """Labels in the order of the probabilities: those of the stage that indexed what the classifier was fitted on."""
    for stage in model.stages[:-1]:
        if (labels := _label_of(stage, model)) is not None:
            return np.array(labels)
    return np.arange(model.stages[-1].numClasses)


def _label_of(stage: Any, model: Any) -> list[str] | None:
    """The labels, if this is the stage that indexed them."""
    if type(stage).__name__ != "StringIndexerModel":
        return None
    outputs = stage.getOutputCols() if stage.isSet("outputCols") else [stage.getOutputCol()]
    found = dict(zip(outputs, stage.labelsArray, strict=True)).get(model.stages[-1].getLabelCol())
    return None if found is None else [str(label) for label in found]


def _leave_out_or_keep(stage: Any, *, is_label: bool) -> None:
    """Let a stage leave out what it would refuse; but not the label, which customers to score do not have."""
    if is_label:
        stage.set(stage.handleInvalid, "error")  # the one way in which Spark passes over a column that is not there
    elif stage.getHandleInvalid() == "error" and "OneHotEncoder" not in type(stage).__name__:
        stage.set(stage.handleInvalid, "skip")
