"""What a run does when its configuration says nothing.

Belongs here: the value that a deployment hands to the assets. Does not: where it comes from (`deployments.py`).
"""

from dataclasses import dataclass

from churn_pipeline.contract.validation import RejectLimit
from churn_pipeline.spark.sessions import SparkSettings


@dataclass(frozen=True)
class RunDefaults:
    """Settings that a run's configuration may override.

    Attributes:
        source, training_source: file, folder or glob.
        model_name, alias: what scores.
        backend: `sklearn`, `spark` or `auto`.
        reasons: how many up, and how many down, stand on each prediction row; 0: none.
        reject_limit: most rejected rows of a batch.
        duplicates: what becomes of rows with an id seen before.
        estimator: what `trained_model` trains.
        spark: where Spark is.
        export: whether predictions are also written as files.
    """

    source: str
    training_source: str
    model_name: str
    alias: str
    backend: str
    reasons: int
    reject_limit: RejectLimit
    duplicates: str
    estimator: str
    spark: SparkSettings
    export: bool
