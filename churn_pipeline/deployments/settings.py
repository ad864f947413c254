"""Every setting: the only names of environment variables and the only default paths in the project.

Belongs here: settings and reading them. Does not: settings of topics (`kafka_settings.py`) and of Spark
(`spark_settings.py`), what is made of settings (`deployment.py`). Nothing is read at import.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from churn_pipeline.contract.definition import nearest
from churn_pipeline.contract.validation import RejectLimit
from churn_pipeline.deployments.fields import SECRET, SettingInvalid, setting
from churn_pipeline.deployments.kafka_settings import KafkaSettings
from churn_pipeline.deployments.spark_settings import ClusterSettings
from churn_pipeline.resources.customer_sources.base import without_password
from churn_pipeline.resources.customer_sources.duplicates import POLICIES
from churn_pipeline.resources.inference.choice import BACKENDS
from churn_pipeline.spark.sessions import FALLBACKS

#: Formats in which predictions can also be written.
EXPORTS = ("csv", "jsonl", "parquet")


@dataclass(frozen=True)
class Settings(ClusterSettings, KafkaSettings):
    """Every setting, its environment variable and its sentence in the README."""

    home: str = setting("CHURN_HOME", "data/local", "Folder of everything produced.")
    contract: str = setting("CHURN_CONTRACT", "telco", "Contract: a shipped name or a YAML file.")
    source: str = setting(
        "CHURN_SOURCE",
        "data/sample/customers.csv",
        "Customers: file, folder, glob, Delta table, sql:TABLE or kafka:TOPIC.",
    )
    database_url: str = setting(
        "CHURN_DATABASE_URL", "", "Database of sql: sources: postgresql://… or sqlite:///PATH.", kind=SECRET
    )
    training_source: str = setting(
        "CHURN_TRAINING_SOURCE", "data/sample/training_customers.csv", "Labelled customers to train on."
    )
    model: str = setting("CHURN_MODEL", "churn_model", "Name of the registered model.")
    alias: str = setting("CHURN_MODEL_ALIAS", "champion", "Alias or version that scores.")
    estimator: str = setting("CHURN_ESTIMATOR", "logistic_regression", "Estimator that training uses.")
    backend: str = setting("CHURN_BACKEND", "sklearn", f"What scores: {', '.join(BACKENDS)}.")
    reasons: str = setting("CHURN_REASONS", "0", "Reasons on each scored row: this many up, and down; 0: none.")
    reject_limit: str = setting("CHURN_REJECT_LIMIT", "0.2", "Most rejected rows of a batch: a count or a share.")
    duplicates: str = setting("CHURN_DUPLICATES", "keep", "Rows with an id seen before: keep, last or reject.")
    export: str = setting("CHURN_EXPORT", "none", "Also write predictions as csv, jsonl or parquet files.")
    tables: str = setting("CHURN_TABLES", "", "Folder or URI of the tables; empty: tables/ in CHURN_HOME.")
    tracking_uri: str = setting("MLFLOW_TRACKING_URI", "", "MLflow server; empty: a SQLite file in CHURN_HOME.")
    alert_urls: str = setting("CHURN_ALERT_URLS", "", "Apprise URLs, one a line or space; empty: the log.", kind=SECRET)
    dagster_url: str = setting("CHURN_DAGSTER_URL", "http://localhost:3000", "Where alerts link to.")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None, **overrides: str | None) -> Self:
        """Read settings; `overrides` (by field name) win over variables, variables over defaults.

        Raises:
            SettingInvalid: names the variable and what it may be.
            SecretInLocation: a source holds a password.
        """
        given = os.environ if environment is None else environment
        values: dict[str, Any] = {f.name: given.get(f.metadata["variable"]) or f.default for f in fields(cls)}
        values.update({name: value for name, value in overrides.items() if value is not None})
        settings = cls(**values)
        settings._one_of("backend", BACKENDS)
        settings._one_of("duplicates", POLICIES)
        settings._one_of("export", ("none", *EXPORTS))
        settings._one_of("spark_fallback", FALLBACKS)
        settings.limit()
        settings.reasons_on_a_row()
        without_password(settings.source, "CHURN_SOURCE")
        without_password(settings.training_source, "CHURN_TRAINING_SOURCE")
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

    def reasons_on_a_row(self) -> int:
        """How many reasons up, and how many down."""
        if not (self.reasons.isascii() and self.reasons.isdigit()):
            raise SettingInvalid(
                f"CHURN_REASONS is {self.reasons!r}. Write how many reasons a row shall have, such as 3, or 0 for none."
            )
        return int(self.reasons)

    def _one_of(self, name: str, allowed: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            variable = next(f.metadata["variable"] for f in fields(self) if f.name == name)
            raise SettingInvalid(f"{variable} is {value!r}{nearest(value, allowed)}. Use one of {', '.join(allowed)}.")
