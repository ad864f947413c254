"""The resources of a deployment: role → what plays it.

Belongs here: the plain objects made of settings, and handing them to Dagster. Does not: the settings (`settings.py`),
what the roles do. Nothing is read at import: settings are read when a run starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import dagster as dg

from churn_pipeline.assets.defaults import RunDefaults
from churn_pipeline.assets.published import Publication
from churn_pipeline.assets.scored_ahead import ScoredAhead
from churn_pipeline.batches import SQL_SCHEME, TOPIC_SCHEME
from churn_pipeline.contract.definition import Contract
from churn_pipeline.deployments.settings import Settings
from churn_pipeline.io_managers.base import TableStore
from churn_pipeline.io_managers.csv_files import CsvFiles
from churn_pipeline.io_managers.current_scores_io import CurrentScoresIOManager
from churn_pipeline.io_managers.dagster_io import ModelVersionIOManager, TableIOManager
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.json_lines import JsonLinesFiles
from churn_pipeline.io_managers.parquet_files import ParquetFiles
from churn_pipeline.io_managers.run_values import RunValues
from churn_pipeline.io_managers.topic_batches import CustomerTopic, TopicBatches
from churn_pipeline.progress import Progress
from churn_pipeline.resources.alert_channels import alert_channels
from churn_pipeline.resources.alert_log import AlertLog
from churn_pipeline.resources.alerting import Alerts
from churn_pipeline.resources.customer_sources.base import CustomerSource
from churn_pipeline.resources.customer_sources.databases import Database
from churn_pipeline.resources.customer_sources.delta_tables import DeltaSource
from churn_pipeline.resources.customer_sources.delta_versions import is_delta_table
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline.resources.customer_sources.query_snapshots import QuerySnapshots
from churn_pipeline.resources.customer_sources.sql_queries import SqlSource
from churn_pipeline.resources.customer_sources.topic_messages import TopicSource
from churn_pipeline.resources.experiment_tracking import MlflowTracking
from churn_pipeline.resources.inference.choice import Inference
from churn_pipeline.resources.inference.plans import Plans
from churn_pipeline.resources.mlflow_registry import MlflowRegistry
from churn_pipeline.resources.topics.kafka_publishing import KafkaPublisher
from churn_pipeline.resources.topics.kafka_reading import KafkaTopic
from churn_pipeline.spark.sessions import Fallback

_EXPORTS: dict[str, Callable[[str], TableStore]] = {
    "csv": CsvFiles,
    "jsonl": JsonLinesFiles,
    "parquet": ParquetFiles,
}


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
        """Customers in a file, folder or glob, a Delta table, a database (`sql:TABLE`), or a topic (`kafka:TOPIC`)."""
        if location.startswith(SQL_SCHEME):
            database = Database(self.settings.database_url)
            return SqlSource(location, database, self.contract(), self.query_snapshots())
        if not location.startswith(TOPIC_SCHEME):
            return DeltaSource(location) if is_delta_table(location) else FileSource(location)
        settings, batches = self.settings, self.topic_batches(location.removeprefix(TOPIC_SCHEME))
        # A schema registry has a door of its own.
        open_to_all = settings.kafka_format == "json" and settings.connection().is_open
        return TopicSource(batches.topic, batches, settings.message_format(), may_be_sent=open_to_all)

    def topic_batches(self, topic: str) -> TopicBatches:
        """What was planned of a topic, and what comes next."""
        settings = self.settings
        reader = KafkaTopic(settings.connection(), topic, settings.kafka_group)
        return TopicBatches(reader, self.table_store(), settings.planning_rules())

    def customer_topic(self) -> CustomerTopic:
        """The topic that is scored as messages come, if there is one."""
        settings = self.settings
        batches = self.topic_batches(settings.kafka_topic) if settings.kafka_topic else None
        return CustomerTopic(batches, settings.attempts())

    def publication(self) -> Publication:
        """Where the outcome of the topic's batches goes, if anywhere."""
        settings = self.settings
        predictions, dead_letters, group = settings.kafka_predictions, settings.kafka_dead_letters, settings.kafka_group
        if not (predictions or dead_letters):
            return Publication()
        connection = settings.connection()
        publisher = KafkaPublisher(connection, group)
        return Publication(
            publisher, predictions, dead_letters, group, lambda topic: KafkaTopic(connection, topic, group)
        )

    def inference(self) -> Inference:
        """Engines over the registry's models."""
        settings, plans = self.settings, Plans(self.model_registry(), self.contract())
        fallback = cast(Fallback, settings.spark_fallback)
        return Inference(plans, settings.spark(), fallback, settings.rows_for_spark())

    def export_store(self) -> TableStore:
        """Files of the chosen format, or Parquet if none is chosen."""
        settings = self.settings
        make = _EXPORTS.get(settings.export, ParquetFiles)
        return make(str(settings.folder / "exports" / self.contract().name))

    def run_values(self) -> RunValues:
        """Hand-over values of runs."""
        return RunValues(self.settings.folder / "runs" / self.contract().name)

    def query_snapshots(self) -> QuerySnapshots:
        """What databases answered."""
        return QuerySnapshots(self.settings.folder / "snapshots" / self.contract().name)

    def model_registry(self) -> MlflowRegistry:
        """MLflow's registry."""
        return MlflowRegistry(self._tracking_uri(), spark=self.settings.spark())

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
            reasons=settings.reasons_on_a_row(),
            reject_limit=settings.limit(),
            duplicates=settings.duplicates,
            estimator=settings.estimator,
            spark=settings.spark(),
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
            "customer_topic": _made_by(self.customer_topic),
            "defaults": _made_by(self.defaults),
            "experiment_tracking": _made_by(self.experiment_tracking),
            "exports": _io(lambda: TableIOManager(self.export_store(), values(), contract().name)),
            "inference": _made_by(self.inference),
            "model_registry": _made_by(self.model_registry),
            "model_versions": _io(lambda: ModelVersionIOManager(values())),
            "progress": _made_by(Progress),
            "publication": _made_by(self.publication),
            "query_snapshots": _made_by(self.query_snapshots),
            "run_values": _made_by(values),
            "scored_ahead": _made_by(ScoredAhead),
            "table_store": _made_by(self.table_store),
            "tables": _io(lambda: TableIOManager(self.table_store(), values(), contract().name)),
        }

    def _tracking_uri(self) -> str:
        settings = self.settings
        return settings.tracking_uri or f"sqlite:///{settings.folder / 'mlflow' / 'mlflow.db'}"


def _made_by(make: Callable[[], Any]) -> dg.ResourceDefinition:
    return dg.ResourceDefinition(resource_fn=lambda _: make())


def _io(make: Callable[[], dg.IOManager]) -> dg.IOManagerDefinition:
    return dg.IOManagerDefinition(resource_fn=lambda _: make())
