"""The yardstick: what a data scientist would write with pandas, Pandera and scikit-learn for the same work.

Belongs here: that script, as fast as its libraries make it. It reads one file, validates it, scores it with the
registered pipeline and writes customers and predictions to one Parquet file; or, to be compared with all that the job
does, also a quarantine and current scores. It holds everything in memory, and a kill leaves what it leaves.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.errors
import pandera.pandas as pa

from churn_pipeline.contract.definition import Contract, Feature

_DTYPES = {"number": "float64", "integer": "int64", "boolean": "bool"}


def schema_of(contract: Contract) -> pa.DataFrameSchema:
    """The contract as one writes it in Pandera: built-in, vectorised checks only."""
    columns = {feature.source or name: _column(feature) for name, feature in contract.features.items()}
    return pa.DataFrameSchema({contract.id.column: pa.Column(str), **columns})


def _column(feature: Feature) -> pa.Column:
    checks = [pa.Check.isin(list(feature.allowed))] if feature.allowed else []
    checks += [pa.Check.ge(feature.min)] if feature.min is not None else []
    checks += [pa.Check.le(feature.max)] if feature.max is not None else []
    return pa.Column(_DTYPES.get(feature.type, str), checks, nullable=feature.nullable)


@dataclass
class Script:
    """The script, ready to run.

    Attributes:
        model, features: the registered pipeline and its columns in order.
        folder: where it writes.
        keeps_tables: also do what the job's tables do: put broken rows aside, count ids that come twice, and keep the
            newest score of every customer.
    """

    schema: pa.DataFrameSchema
    model: Any
    features: list[str]
    folder: Path
    keeps_tables: bool = False

    def score(self, source: Path) -> dict[str, float]:
        """Do the work; returns seconds a stage."""
        clock = _Clock()
        customers = pd.read_csv(source) if source.suffix == ".csv" else pd.read_parquet(source)
        clock.stop("read")
        customers, rejected = self._validated(customers)
        clock.stop("validate")
        probability = self.model.predict_proba(customers[self.features])[:, 1]
        clock.stop("predict")
        scored = {"churn_probability": probability, "prediction": (probability >= 0.5).astype("int32")}
        if self.keeps_tables:
            self._write_tables(customers, rejected, scored)
        else:
            customers.assign(**scored).to_parquet(self.folder / "predictions.parquet")
        clock.stop("write")
        return clock.seconds

    def _validated(self, customers: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        try:
            return self.schema.validate(customers, lazy=True), customers.iloc[:0]
        except pandera.errors.SchemaErrors as error:
            broken = customers.index.isin(error.failure_cases["index"].dropna())
            return customers[~broken], customers[broken]

    def _write_tables(self, customers: pd.DataFrame, rejected: pd.DataFrame, scored: dict[str, Any]) -> None:
        id_ = customers.columns[0]
        predictions = customers[[id_]].assign(**scored, duplicate=customers[id_].duplicated())
        current, known = self.folder / "current.parquet", []
        if current.exists():
            known = [pd.read_parquet(current)]
        customers.to_parquet(self.folder / "customers.parquet")
        rejected.to_parquet(self.folder / "rejected.parquet")
        predictions.to_parquet(self.folder / "predictions.parquet")
        pd.concat([*known, predictions]).drop_duplicates(id_, keep="last").to_parquet(current)


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def stop(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage], self._last = now - self._last, now
