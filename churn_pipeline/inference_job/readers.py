"""What a job reads, writes and loads, as configuration.

Belongs here: the models, each with its `KIND`, and the plain objects they stand for. Does not: reading and writing
(`resources/customer_sources/`, `io_managers/`).
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import pyarrow as pa
from pydantic import AfterValidator, Field, field_validator

from churn_pipeline.batches import SQL_SCHEME
from churn_pipeline.deployments import Deployment
from churn_pipeline.errors import UsageError
from churn_pipeline.inference_job.services import Configured
from churn_pipeline.io_managers.exports import format_of
from churn_pipeline.resources.customer_sources.base import CustomerSource, without_password
from churn_pipeline.resources.customer_sources.delta_tables import DeltaSource
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline.resources.customer_sources.memory import MemorySource

#: Where customers are; it stands in messages and in the ledger.
Location = Annotated[str, AfterValidator(without_password)]


class FilesReader(Configured):
    """Customer files: one, a folder, or a glob."""

    KIND: Literal["FilesReader"] = "FilesReader"
    path: Location = Field(description="File, folder or glob.")
    format: Literal["csv", "parquet", "jsonl"] | None = Field(
        default=None, description="By default the file's ending says it."
    )
    limit: int | None = Field(default=None, gt=0, description="Read only this many rows.")

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.path

    def open(self, deployment: Deployment) -> CustomerSource:  # noqa: ARG002  for those that need one
        """The source; nothing is read yet."""
        return FileSource(self.path, self.format)


class DeltaReader(Configured):
    """A Delta table, as its newest version is."""

    KIND: Literal["DeltaReader"] = "DeltaReader"
    path: Location = Field(description="Folder of the table, or a URI such as s3://bucket/customers.")
    limit: int | None = Field(default=None, gt=0, description="Read only this many rows.")

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.path

    def open(self, deployment: Deployment) -> CustomerSource:  # noqa: ARG002  for those that need one
        """The source; nothing is read yet."""
        return DeltaSource(self.path)


class SqlReader(Configured):
    """A table or a query of the database of the setting CHURN_DATABASE_URL, which is a secret and not said here."""

    KIND: Literal["SqlReader"] = "SqlReader"
    query: str = Field(min_length=1, description="Table, such as sales.customers, or query: SELECT …")
    limit: int | None = Field(default=None, gt=0, description="Read only this many rows.")

    @property
    def name(self) -> str:
        """What people know it by."""
        return f"{SQL_SCHEME}{self.query}"

    def open(self, deployment: Deployment) -> CustomerSource:
        """The source; nothing is asked yet."""
        return deployment.open_source(self.name)


class MemoryReader(Configured):
    """Customers that are at hand in Python: a pandas data frame or an Arrow table. It has no form in a file."""

    KIND: Literal["MemoryReader"] = "MemoryReader"
    records: Any = Field(description="pandas.DataFrame or pyarrow.Table.", repr=False)
    name: str = Field(default="memory", min_length=1, description="Stands at the beginning of the batch id.")
    limit: int | None = Field(default=None, gt=0, description="Read only this many rows.")

    @field_validator("records")
    @classmethod
    def _is_a_table(cls, value: object) -> object:
        if not isinstance(value, pd.DataFrame | pa.Table):
            raise ValueError("records are a pandas data frame or an Arrow table, given in Python")
        return value

    def open(self, deployment: Deployment) -> CustomerSource:  # noqa: ARG002  for those that need one
        """The source, as the records are now."""
        return MemorySource(self.records, self.name)


class TablesWriter(Configured):
    """Delta tables, and a file of the batch's predictions beside them where one is named."""

    KIND: Literal["TablesWriter"] = "TablesWriter"
    tables: str | None = Field(
        default=None, description="Folder or URI of the tables; by default the setting CHURN_TABLES."
    )
    file: str | None = Field(
        default=None, description="File to write the predictions to as well: .csv, .parquet, .jsonl."
    )

    @field_validator("file")
    @classmethod
    def _has_a_format(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                format_of(Path(value))
            except UsageError as error:
                raise ValueError(str(error)) from None
        return value


class RegistryLoader(Configured):
    """The registered model to load; where the registry is, `mlflow_service` says."""

    KIND: Literal["RegistryLoader"] = "RegistryLoader"
    model: str | None = Field(
        default=None, min_length=1, description="Registered name; by default the setting CHURN_MODEL."
    )
