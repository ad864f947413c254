"""The registry in MLflow: SQLite by default, a server or another database by its URI.

Belongs here: every call to MLflow's registry. Does not: what is checked of a version (`model_registry.py`), how its
files are judged and opened (`model_loading.py`).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from churn_pipeline.kernel.model_version import ModelInput, ModelVersion
from churn_pipeline.resources.mlflow_connection import (
    check_reachable,
    configure_mlflow,
    database_file,
    ensure_database,
    error_code,
    explained,
    redacted,
)
from churn_pipeline.resources.model_loading import (
    ModelCorrupted,
    StoredModel,
    TypeNotTrusted,
    is_trusted_class,
    stored_model,
)
from churn_pipeline.resources.model_registry import (
    ModelRegistry,
    Reference,
    RegisteredVersion,
    require_alias,
    require_model,
    unknown_version,
)
from churn_pipeline.spark.pipeline_models import PipelineClassifier
from churn_pipeline.spark.sessions import SparkSettings, open_session

if TYPE_CHECKING:
    import pandas as pd

_ABSENT = "RESOURCE_DOES_NOT_EXIST"

#: Estimators of this process, newest use last. A version never changes, so neither does its entry.
_loaded: OrderedDict[tuple[str, ...], Any] = OrderedDict()
_lock = RLock()
_KEPT = 4


class MlflowRegistry(ModelRegistry):
    """Registered models of an MLflow server or database.

    Args:
        tracking_uri: where runs and artifacts are.
        registry_uri: where registered models are; the same place unless said otherwise.
        timeout_seconds: longest wait to find out that nobody is there.
        spark: where Spark is, for versions that are Spark ML pipelines.
    """

    def __init__(
        self,
        tracking_uri: str,
        registry_uri: str | None = None,
        timeout_seconds: float = 10,
        spark: SparkSettings | None = None,
    ) -> None:
        self._spark = spark or SparkSettings()
        self.tracking_uri = tracking_uri
        self.registry_uri = registry_uri or tracking_uri
        self.timeout_seconds = timeout_seconds
        self.location = redacted(self.registry_uri)

    def load(self, version: ModelVersion) -> Any:
        key = (self.registry_uri, version.name, version.version, version.run_id)
        with _lock:
            if key in _loaded:
                _loaded.move_to_end(key)
                return _loaded[key]
        return super().load(version)

    def find(self, name: str, alias_or_version: str) -> RegisteredVersion:
        reference = Reference.parse(name, alias_or_version)
        self._check_reachable()
        registered = self._registered(reference.name)
        if registered is None:
            require_model(reference.name, self.names(), self.location)
        aliases = {alias: str(version) for alias, version in registered.aliases.items()}
        version = reference.version or require_alias(reference, aliases)
        found = self._version(registered, reference.name, version)
        return RegisteredVersion(
            reference.name,
            str(found.version),
            found.run_id or "",
            dict(found.tags),
            found.description or "",
            reference.alias,
        )

    def names(self) -> list[str]:
        """Names of the registered models, sorted; empty where there is no database yet."""
        if self._is_absent():
            return []
        self._check_reachable()
        with explained(self.registry_uri, "list its models"):
            return sorted(model.name for model in self._client.search_registered_models(max_results=1000))

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
    ) -> str:
        log = _log_pipeline if isinstance(estimator, PipelineClassifier) else _log_sklearn
        ensure_database(self.registry_uri)
        with explained(self.registry_uri, f"register {name}"):
            info = log(run, estimator, signature=_signature(inputs), input_example=example)
            self._create_model(name)
            made = self._client.create_model_version(
                name,
                source=info.model_uri,
                run_id=run.mlflow_run_id,
                tags=dict(tags),
                description=description,
                model_id=info.model_id,
            )
        return str(made.version)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        with explained(self.registry_uri, f"let {name}@{alias} stand for version {version}"):
            self._client.set_registered_model_alias(name, alias, version)

    def version_of_alias(self, name: str, alias: str) -> str | None:
        self._check_reachable()
        registered = self._registered(name)
        version = registered.aliases.get(alias) if registered else None
        return None if version is None else str(version)

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        with explained(self.registry_uri, f"tag version {version} of {name}"):
            for key, value in tags.items():
                self._client.set_model_version_tag(name, version, key, value)

    @cached_property
    def _client(self) -> Any:
        from mlflow import MlflowClient

        return MlflowClient(self.tracking_uri, self.registry_uri)

    def _is_absent(self) -> bool:
        # Asking MLflow would make the database, and looking must not write.
        file = database_file(self.registry_uri)
        return file is not None and not file.exists()

    def _check_reachable(self) -> None:
        configure_mlflow(self.timeout_seconds)
        check_reachable(self.registry_uri, self.timeout_seconds)

    def _registered(self, name: str) -> Any:
        """MLflow's record of a model; None if there is none."""
        if self._is_absent():
            return None
        from mlflow.exceptions import MlflowException

        with explained(self.registry_uri, f"look up model {name}"):
            try:
                return self._client.get_registered_model(name)
            except MlflowException as error:
                if error_code(error) == _ABSENT:
                    return None
                raise

    def _version(self, registered: Any, name: str, version: str) -> Any:
        from mlflow.exceptions import MlflowException

        with explained(self.registry_uri, f"look up version {version} of {name}"):
            try:
                return self._client.get_model_version(name, version)
            except MlflowException as error:
                if error_code(error) != _ABSENT:
                    raise
        newest = max((int(item.version) for item in registered.latest_versions), default=0)
        raise unknown_version(name, version, str(newest))

    def _create_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error_code(error) != "RESOURCE_ALREADY_EXISTS":
                raise

    def _key(self, found: RegisteredVersion) -> tuple[str, ...]:
        return self.registry_uri, found.name, found.version, found.run_id

    def _stored(self, found: RegisteredVersion) -> StoredModel:
        stored = stored_model(self._files(found), found.tags, str(found), self._pipeline)
        # A pipeline lives as long as its session, of which there may be another by the next call.
        once = stored.flavour != "spark"
        return replace(stored, open=lambda: _load_once(self._key(found), stored.open)) if once else stored

    def _pipeline(self, folder: str) -> PipelineClassifier:
        return PipelineClassifier.load(folder, lambda: open_session(self._spark).spark)

    def _files(self, found: RegisteredVersion) -> Path:
        """Folder of the version's files: where they are, if on this machine, else fetched once a process."""
        from mlflow.artifacts import download_artifacts
        from mlflow.exceptions import MlflowException

        with explained(self.registry_uri, f"say where the files of {found.name} version {found.version} are"):
            uri = self._client.get_model_version_download_uri(found.name, found.version)
        folder = _fetched_folder(self._key(found))
        if folder.exists():
            return folder
        try:
            if uri.startswith(("file:", "/")):
                return Path(download_artifacts(artifact_uri=uri))
            with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
                got = download_artifacts(
                    artifact_uri=uri, dst_path=draft, tracking_uri=self.tracking_uri, registry_uri=self.registry_uri
                )
                return Path(got).rename(folder)
        except (OSError, MlflowException) as error:
            raise ModelCorrupted(
                f"The files of {found} cannot be fetched from {redacted(uri)} ({type(error).__name__}). "
                "Check that the artifact store is there and readable, or train again."
            ) from None


def _load_once(key: tuple[str, ...], read: Callable[[], Any]) -> Any:
    with _lock:
        if key not in _loaded:
            _loaded[key] = read()
        _loaded.move_to_end(key)
        while len(_loaded) > _KEPT:
            _loaded.popitem(last=False)
        return _loaded[key]


_fetched: list[tempfile.TemporaryDirectory[str]] = []


def _fetched_folder(key: tuple[str, ...]) -> Path:
    """Where a version's files are put in this process, whether they are there or not; removed when it ends."""
    with _lock:
        if not _fetched:
            _fetched.append(tempfile.TemporaryDirectory(prefix="churn-models-"))
    return Path(_fetched[0].name) / hashlib.sha256("\0".join(key).encode()).hexdigest()[:16]


def _signature(inputs: tuple[ModelInput, ...]) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    return ModelSignature(Schema([ColSpec(item.type, item.name, required=item.required) for item in inputs]))


def _log_sklearn(run: Any, estimator: Any, **options: Any) -> Any:
    return run.sklearn.log_model(
        estimator,
        name="model",
        serialization_format="skops",
        skops_trusted_types=_named_types(estimator),
        pip_requirements=_requirements("numpy", "pandas", "scikit-learn", "scipy", "skops"),
        **options,
    )


def _log_pipeline(run: Any, estimator: PipelineClassifier, **options: Any) -> Any:
    return run.spark.log_model(estimator.model, "model", pip_requirements=_requirements("pyspark"), **options)


def _named_types(estimator: Any) -> list[str]:
    """Types in the estimator that skops does not know and this project trusts; MLflow wants them named.

    Raises:
        TypeNotTrusted: it holds others, and would be refused when it is loaded.
    """
    import skops.io

    found: list[str] = skops.io.get_untrusted_types(data=skops.io.dumps(estimator))
    if refused := [name for name in found if not is_trusted_class(name)]:
        raise TypeNotTrusted(
            f"The model holds {', '.join(refused)} and would not be loaded again. Build it of scikit-learn's own parts."
        )
    return found


def _requirements(*names: str) -> list[str]:
    """Pinned packages a stored model needs; stated, because MLflow would try them out in a process of its own."""
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in names]
