"""From training customers to a registered version: fit, judge, write down, register, and ask whether it may take over.

Belongs here: the order of these steps. Does not: each of them (the modules beside this one), Dagster
(`assets/training.py`), MLflow (`resources/`): registry and tracking come in by the two protocols below.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from churn_pipeline.contract.definition import Contract
from churn_pipeline.errors import ModelError
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput, ModelVersion
from churn_pipeline.kernel.plan import UnusableModel
from churn_pipeline.spark.sessions import SparkSettings
from churn_pipeline.training.estimators import pipeline, signature
from churn_pipeline.training.evaluation import calibration, metrics, profile
from churn_pipeline.training.fitting import Split, fit, split
from churn_pipeline.training.promotion import MARGIN, Champion, Verdict, decide
from churn_pipeline.training.spark_estimators import SparkEstimator

if TYPE_CHECKING:
    import pandas as pd

#: Parts of the training customers for the threshold. Fitting on Spark takes many seconds however few they are.
_FOLDS, _SPARK_FOLDS = 5, 2

_SAMPLE_ROWS = 2_000
_EXAMPLE_ROWS = 5


class Registry(Protocol):
    """What training needs of `resources/model_registry.py`."""

    location: str

    def resolve(self, name: str, alias_or_version: str, contract: Contract) -> ModelVersion: ...
    def load(self, version: ModelVersion) -> Any: ...
    def register(
        self,
        name: str,
        estimator: Any,
        *,
        inputs: tuple[ModelInput, ...],
        example: pd.DataFrame,
        tags: Mapping[str, str],
        description: str,
        run: Any,
    ) -> str: ...
    def set_alias(self, name: str, alias: str, version: str) -> None: ...
    def version_of_alias(self, name: str, alias: str) -> str | None: ...
    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None: ...


class Tracking(Protocol):
    """What training needs of `resources/experiment_tracking.py`."""

    location: str

    def run(self, run_id: str, job_name: str, log: Any = None) -> AbstractContextManager[Any]: ...


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Attributes:
        estimator: one of `estimators.ESTIMATORS`.
        engine: what fits and later scores it: `sklearn`, or `spark` for a Spark ML pipeline.
        model_name: registered name.
        alias: moves to the new version if that passes the gate.
        seed: of folds and estimator.
        holdout_share: of the customers, held back to judge by.
        holdout_seed: which customers these are. Left alone it stays the same from version to version; a champion that
            was fitted on other customers than these would be judged by some it has seen, and look too good.
        margin: see `promotion.decide`.
    """

    estimator: str = "logistic_regression"
    engine: str = "sklearn"
    model_name: str = "churn_model"
    alias: str = "champion"
    seed: int = 0
    holdout_share: float = 0.2
    holdout_seed: int = 0
    margin: float = MARGIN


@dataclass(frozen=True)
class TrainingResult:
    """What came of it.

    Attributes:
        verdict: whether the alias moved, and why.
        metrics: on the holdout; see `evaluation.metrics`.
        calibration: see `evaluation.calibration`.
        profile: see `evaluation.profile`.
        data_digest: SHA-256 of features and labels.
        run_id: the MLflow run.
        tracking_uri: where it is, without credentials.
    """

    model_name: str
    model_version: str
    verdict: Verdict
    metrics: dict[str, float]
    threshold: float
    calibration: list[dict[str, float]]
    profile: dict[str, Any]
    train_rows: int
    holdout_rows: int
    data_digest: str
    run_id: str
    tracking_uri: str

    @property
    def promoted(self) -> bool:
        """Whether the alias stands for this version now."""
        return self.verdict.promote


def train(
    customers: pa.Table,
    contract: Contract,
    config: TrainingConfig,
    registry: Registry,
    tracking: Tracking,
    *,
    run_id: str,
    job_name: str = "train_model",
    log: Any = None,
    spark: SparkSettings | None = None,
) -> TrainingResult:
    """Train one version, register it, and move the alias if it passes the gate.

    Args:
        customers: n rows: the contract's features in its Arrow types, `churned` (bool), and the id column if known.
        run_id: Dagster's, or any id: the MLflow run carries it as tag `dagster_run_id`.
        log: Dagster's logger, for what the tracking has to say.
        spark: where Spark is, for engine `spark`.

    Raises:
        TrainingDataUnfit, UnknownEstimator, ConnectCannotTrain, SparkNotInstalled, SparkNotStarted: before anything is
            written.
        ModelError: registry or tracking cannot be reached or refuse; the alias has not moved.
    """
    inputs = signature(contract)
    unfitted: Any
    if config.engine == "spark":
        unfitted = SparkEstimator(contract, config.estimator, config.seed, spark or SparkSettings())
    else:
        unfitted = pipeline(contract, config.estimator, config.seed)
    rows = split(customers, contract, inputs, share=config.holdout_share, seed=config.holdout_seed)
    with tracking.run(run_id, job_name, log) as run:
        folds = _SPARK_FOLDS if config.engine == "spark" else _FOLDS
        estimator, threshold = fit(unfitted, rows.train, rows.train_churned, config.seed, folds)
        judged = _judge(estimator, threshold, contract, config, rows)
        result = replace(judged, run_id=run.mlflow_run_id, tracking_uri=tracking.location)
        _write_down(run, result, contract, config, rows)
        champion = _champion(registry, contract, config, rows)
        version = _register(registry, result, contract, rows, config, estimator, inputs, run)
        verdict = decide(result.metrics, champion, config.margin)
        _follow(verdict, registry, config, version, run)
    return replace(result, model_version=version, verdict=verdict)


def _judge(estimator: Any, threshold: float, contract: Contract, config: TrainingConfig, rows: Split) -> TrainingResult:
    """The result as far as it is known before anything is registered."""
    probability = estimator.predict_proba(rows.holdout)[:, 1]
    return TrainingResult(
        model_name=config.model_name,
        model_version="",
        verdict=Verdict(False, ""),
        metrics=metrics(rows.holdout_churned, probability),
        threshold=threshold,
        calibration=calibration(rows.holdout_churned, probability),
        profile=profile(contract, rows.train, probability, threshold),
        train_rows=len(rows.train),
        holdout_rows=len(rows.holdout),
        data_digest=rows.digest,
        run_id="",
        tracking_uri="",
    )


def _follow(verdict: Verdict, registry: Registry, config: TrainingConfig, version: str, run: Any) -> None:
    """Write the verdict down, then move the alias: whoever resolves it finds a version that is whole and judged."""
    said = "promoted" if verdict.promote else "kept_back"
    registry.tag(config.model_name, version, {"verdict": said, "verdict_reason": verdict.reason[:1000]})
    if verdict.promote:
        registry.set_alias(config.model_name, config.alias, version)
    run.set_tags({"model_version": version, "verdict": said})


def _write_down(run: Any, result: TrainingResult, contract: Contract, config: TrainingConfig, rows: Split) -> None:
    run.log_params({**asdict(config), "contract": contract.name, "threshold": result.threshold})
    run.log_metrics({**result.metrics, "train_rows": result.train_rows, "holdout_rows": result.holdout_rows})
    run.set_tags({"contract": contract.name, "data_digest": result.data_digest})
    run.log_dict({"calibration": result.calibration}, "calibration.json")
    run.log_dict(result.profile, "profile.json")
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "reference_sample.parquet"
        rows.train.head(_SAMPLE_ROWS).to_parquet(sample, index=False)  # Rows stand in the order of a hash.
        run.log_artifact(str(sample))


def _champion(registry: Registry, contract: Contract, config: TrainingConfig, rows: Split) -> Champion | None:
    """The present holder of the alias, scored on the candidate's holdout."""
    version = registry.version_of_alias(config.model_name, config.alias)
    if version is None:
        return None
    try:
        model = registry.resolve(config.model_name, version, contract)
        found = registry.load(model).predict_proba(frame(rows.holdout_rows, model.inputs))[:, model.positive]
    except ModelError as error:
        return Champion(version, trouble=str(error), unusable=isinstance(error, UnusableModel))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # No text of the error: it may quote a customer's value.
        return Champion(version, trouble=f"it fails on customers of the holdout ({type(error).__name__}).")
    return Champion(version, metrics(rows.holdout_churned, np.asarray(found, dtype=float))["roc_auc"])


def _register(
    registry: Registry,
    result: TrainingResult,
    contract: Contract,
    rows: Split,
    config: TrainingConfig,
    estimator: Any,
    inputs: tuple[ModelInput, ...],
    run: Any,
) -> str:
    said = json.dumps(result.profile, sort_keys=True)
    return registry.register(
        config.model_name,
        estimator,
        inputs=inputs,
        example=rows.train.head(_EXAMPLE_ROWS),
        tags={
            "contract": contract.name,
            "data_digest": result.data_digest,
            "estimator": config.estimator,
            "positive_class": "1",
            "reference_share": repr(result.profile["scores"]["churn_share"]),
            "profile_digest": hashlib.sha256(said.encode()).hexdigest(),
            "threshold": repr(result.threshold),
        },
        description=f"{config.estimator.replace('_', ' ').capitalize()} on {result.train_rows:,} customers of contract "
        f"{contract.name}; ROC AUC {result.metrics['roc_auc']:.4f} on {result.holdout_rows:,} others.",
        run=run,
    )
