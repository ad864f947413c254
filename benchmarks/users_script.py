"""The yardstick: what a data scientist would write with pandas, Pandera and scikit-learn for the same work.

Belongs here: that script, as fast as its libraries make it. It reads one file, validates it, scores it with the
registered pipeline and writes customers and predictions to one Parquet file. It keeps no quarantine, no ledger and no
current scores, and holds everything in memory.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa

from churn_pipeline.contract.definition import Contract, Feature
from churn_pipeline.kernel.model_version import ModelVersion

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


def of(contract: Contract, version: ModelVersion, pipeline: Any, target: Path) -> "Script":
    """The script for a registered version."""
    return Script(schema_of(contract), pipeline, [item.name for item in version.inputs], target)


@dataclass
class Script:
    """The script, ready to run.

    Attributes:
        model, features: the registered pipeline and its columns in order.
        target: the Parquet file it writes.
    """

    schema: pa.DataFrameSchema
    model: Any
    features: list[str]
    target: Path

    def score(self, source: Path) -> dict[str, float]:
        """Do the work; returns seconds a stage."""
        marks = [time.perf_counter()]
        customers = pd.read_csv(source) if source.suffix == ".csv" else pd.read_parquet(source)
        marks.append(time.perf_counter())
        customers = self.schema.validate(customers, lazy=True)
        marks.append(time.perf_counter())
        probability = self.model.predict_proba(customers[self.features])[:, 1]
        marks.append(time.perf_counter())
        scored = customers.assign(churn_probability=probability, prediction=(probability >= 0.5).astype("int32"))
        scored.to_parquet(self.target)
        marks.append(time.perf_counter())
        stages = ("read", "validate", "predict", "write")
        return {name: end - start for name, start, end in zip(stages, marks, marks[1:], strict=False)}
