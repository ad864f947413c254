"""Where a deployment's outside things are: settings, and the resources made of them.

Belongs here: the only names of environment variables and the only default paths in the project; role → resource.
Does not: what the roles do. Nothing here is read at import: settings are read when a run starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

import dagster as dg

from churn_pipeline.assets.defaults import RunDefaults
from churn_pipeline.contract.definition import Contract, nearest
from churn_pipeline.contract.validation import RejectLimit
from churn_pipeline.errors import UsageError
from churn_pipeline.io_managers.base import TableStore
from churn_pipeline.io_managers.csv_files import CsvFiles
from churn_pipeline.io_managers.current_scores_io import CurrentScoresIOManager
from churn_pipeline.io_managers.dagster_io import ModelVersionIOManager, TableIOManager
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.json_lines import JsonLinesFiles
from churn_pipeline.io_managers.parquet_files import ParquetFiles
from churn_pipeline.io_managers.run_values import RunValues
from churn_pipeline.progress import Progress
from churn_pipeline.resources.alert_channels import alert_channels
from churn_pipeline.resources.alert_log import AlertLog
from churn_pipeline.resources.alerting import Alerts
from churn_pipeline.resources.customer_sources.base import CustomerSource
from churn_pipeline.resources.customer_sources.duplicates import POLICIES
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline.resources.experiment_tracking import MlflowTracking
from churn_pipeline.resources.inference.choice import BACKENDS, Inference
from churn_pipeline.resources.inference.plans import Plans
from churn_pipeline.resources.mlflow_registry import MlflowRegistry

_EXPORTS: dict[str, Callable[[str], TableStore]] = {
    "csv": CsvFiles,
    "jsonl": JsonLinesFiles,
    "parquet": ParquetFiles,
}
_SECRET = "secret"


class SettingInvalid(UsageError):
    """An environment variable holds a value that its setting cannot have."""


def _setting(variable: str, default: Any, sentence: str, **more: Any) -> Any:
    return field(default=default, metadata={"variable": variable, "sentence": sentence, **more})


@dataclass(frozen=True)
class Settings:
    """Every setting, its environment variable and its sentence in the README."""

    home: str = _setting("CHURN_HOME", "data/local", "Folder of everything produced.")
    contract: str = _setting("CHURN_CONTRACT", "telco", "Contract: a shipped name or a YAML file.")
    source: str = _setting("CHURN_SOURCE", "data/sample/customers.csv", "Customers to score: file, folder or glob.")
    training_source: str = _setting(
        "CHURN_TRAINING_SOURCE", "data/sample/training_customers.csv", "Labelled customers to train on."
    )
    model: str = _setting("CHURN_MODEL", "churn_model", "Name of the registered model.")
    alias: str = _setting("CHURN_MODEL_ALIAS", "champion", "Alias or version that scores.")
    estimator: str = _setting("CHURN_ESTIMATOR", "logistic_regression", "Estimator that training uses.")
    backend: str = _setting("CHURN_BACKEND", "sklearn", f"What scores: {', '.join(BACKENDS)}.")
    reject_limit: str = _setting("CHURN_REJECT_LIMIT", "0.2", "Most rejected rows of a batch: a count or a share.")
    duplicates: str = _setting("CHURN_DUPLICATES", "keep", "Rows with an id seen before: keep, last or reject.")
    export: str = _setting("CHURN_EXPORT", "none", "Also write predictions as csv, jsonl or parquet files.")
    tables: str = _setting("CHURN_TABLES", "", "Folder or URI of the tables; empty: tables/ in CHURN_HOME.")
    tracking_uri: str = _setting("MLFLOW_TRACKING_URI", "", "MLflow server; empty: a SQLite file in CHURN_HOME.")
    alert_urls: str = _setting(
        "CHURN_ALERT_URLS", "", "Apprise URLs, one a line or space; empty: the log.", kind=_SECRET
    )
    dagster_url: str = _setting("CHURN_DAGSTER_URL", "http://localhost:3000", "Where alerts link to.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: str | None) -> Self:
        """Read settings; `overrides` (by field name) win over variables, variables over defaults.

        Raises:
            SettingInvalid: names the variable and what it may be.
        """
        given = os.environ if environment is None else environment
        values: dict[str, Any] = {f.name: given.get(f.metadata["variable"]) or f.default for f in fields(cls)}
        values.update({name: value for name, value in overrides.items() if value is not None})
        settings = cls(**values)
        settings._one_of("backend", BACKENDS)
        settings._one_of("duplicates", POLICIES)
        settings._one_of("export", ("none", *_EXPORTS))
        settings.limit()
        return settings

    @property
    def folder(self) -> Path:
        """`CHURN_HOME`, absolute."""
        return Path(self.home).expanduser().absolute()

    def limit(self) -> RejectLimit:
        """The limit of rejected rows."""
        try:
            return RejectLimit.parse(self.reject_limit)
        except ValueError:
            raise SettingInvalid(
                f"CHURN_REJECT_LIMIT is {self.reject_limit!r}. Write a count such as 100, or a share such as 0.05."
            ) from None

    def _one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            variable = next(f.metadata["variable"] for f in fields(self) if f.name == name)
            raise SettingInvalid(f"{variable} is {value!r}{nearest(value, allowed)}. Use one of {', '.join(allowed)}.")


class Deployment:
    """Settings, read when first needed, and the plain objects made of them."""

    def __init__(self, read: Callable[[], Settings] = Settings.from_environment) -> None:
        self._read = read

    @property
    def settings(self) -> Settings:
        """Read anew each time: importing definitions needs no environment."""
        return self._read()

    def contract(self) -> Contract:
        """The contract that customers are held against."""
        return Contract.load(self.settings.contract)

    def table_store(self) -> TableStore:
        """Delta tables of the contract."""
        settings = self.settings
        root = settings.tables or str(settings.folder / "tables")
        return DeltaTables(f"{root.rstrip('/')}/{self.contract().name}")

    def open_source(self, location: str) -> CustomerSource:
        """Customers at a file, folder or glob."""
        return FileSource(location)

    def inference(self) -> Inference:
        """Engines over the registry's models."""
        return Inference(Plans(self.model_registry(), self.contract()))

    def export_store(self) -> TableStore:
        """Files of the chosen format, or Parquet if none is chosen."""
        settings = self.settings
        make = _EXPORTS.get(settings.export, ParquetFiles)
        return make(str(settings.folder / "exports" / self.contract().name))

    def run_values(self) -> RunValues:
        """Hand-over values of runs."""
        return RunValues(self.settings.folder / "runs" / self.contract().name)

    def model_registry(self) -> MlflowRegistry:
        """MLflow's registry."""
        return MlflowRegistry(self._tracking_uri())

    def experiment_tracking(self) -> MlflowTracking:
        """MLflow's runs."""
        return MlflowTracking(self._tracking_uri())

    def alerts(self) -> Alerts:
        """Channels and the record of what was sent."""
        settings, at_risk = self.settings, self.contract().amount_at_risk
        channels = alert_channels(settings.alert_urls.split())
        unit = at_risk.unit if at_risk else ""
        return Alerts(AlertLog(settings.folder / "alerts"), channels, unit, settings.dagster_url)

    def defaults(self) -> RunDefaults:
        """What a run does when its configuration says nothing."""
        settings = self.settings
        return RunDefaults(
            source=settings.source,
            training_source=settings.training_source,
            model_name=settings.model,
            alias=settings.alias,
            backend=settings.backend,
            reject_limit=settings.limit(),
            duplicates=settings.duplicates,
            estimator=settings.estimator,
            export=settings.export != "none",
        )

    def resources(self) -> dict[str, Any]:
        """Role → resource. Each is only a factory of the plain object, which Dagster makes when a run starts."""
        contract, values = self.contract, self.run_values
        return {
            "alerts": _made_by(self.alerts),
            "contract": _made_by(contract),
            "current_scores": _io(lambda: CurrentScoresIOManager(self.table_store(), values(), contract())),
            "customer_source": _made_by(lambda: self.open_source),
            "defaults": _made_by(self.defaults),
            "experiment_tracking": _made_by(self.experiment_tracking),
            "exports": _io(lambda: TableIOManager(self.export_store(), values(), contract().name)),
            "inference": _made_by(self.inference),
            "model_registry": _made_by(self.model_registry),
            "model_versions": _io(lambda: ModelVersionIOManager(values())),
            "progress": _made_by(Progress),
            "run_values": _made_by(values),
            "table_store": _made_by(self.table_store),
            "tables": _io(lambda: TableIOManager(self.table_store(), values(), contract().name)),
        }

    def _tracking_uri(self) -> str:
        settings = self.settings
        return settings.tracking_uri or f"sqlite:///{settings.folder / 'mlflow' / 'mlflow.db'}"


def local() -> Deployment:
    """Everything embedded by default, and real by setting."""
    return Deployment()


def test(home: Path, **overrides: str) -> Deployment:
    """A home of its own; no environment variable matters."""
    settings = replace(Settings(), home=str(home), **overrides)
    return Deployment(lambda: settings)


def production() -> Deployment:
    """Nothing embedded: a service that is not named by its setting is an error before the run starts."""

    def read() -> Settings:
        settings = Settings.from_environment()
        needed = ("home", "source", "tracking_uri", "alert_urls")
        variables = [f.metadata["variable"] for f in fields(Settings) if f.name in needed]
        if missing := [name for name in variables if not os.environ.get(name)]:
            raise SettingInvalid(f"Production needs {', '.join(missing)}. Set them, or use the local deployment.")
        return settings

    return Deployment(read)


def _made_by(make: Callable[[], Any]) -> dg.ResourceDefinition:
    return dg.ResourceDefinition(resource_fn=lambda _: make())


def _io(make: Callable[[], dg.IOManager]) -> dg.IOManagerDefinition:
    return dg.IOManagerDefinition(resource_fn=lambda _: make())
