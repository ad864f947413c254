"""Customers to probe and to prove with: none of them needs to exist.

Belongs here: putting them together, without those that the model refuses. Does not: making them from a contract
(`reference_sample.py`), what is done with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.kernel import structure
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.rows import as_signature, changed, stacked
from churn_pipeline.kernel.separable import refusals

#: Distinct values of a column that are kept.
_KEPT = 2_000


class NothingToProbe(Exception):
    """The model scores none of the customers there are to try it with."""


@dataclass(frozen=True)
class Material:
    """What plans are made and proven with.

    Attributes:
        sample: customers that the estimator scores, in the signature's columns and types.
        pools: column → distinct values that the estimator takes, null among them if it does: those of the sample, and
            the ends of what may come.
        refused: values that were left out, as (column, value).
    """

    sample: pa.RecordBatch
    pools: Mapping[str, pa.Array]
    refused: Sequence[tuple[str, Any]]

    @property
    def base(self) -> pa.RecordBatch:
        """One customer."""
        return self.sample.slice(0, 1)

    @property
    def bases(self) -> pa.RecordBatch:
        """Some customers, unlike each other as far as chance goes."""
        places = np.unique(np.linspace(0, self.sample.num_rows - 1, 4).astype(int))
        return self.sample.take(pa.array(places))

    def distinct(self, column: str) -> int:
        """How many different values the sample has."""
        return int(pc.count_distinct(self.sample.column(column)).as_py())


def gather(
    model: ModelVersion, estimator: Any, sample: pa.RecordBatch, extremes: Mapping[str, Sequence[Any]]
) -> Material:
    """Put material together.

    Args:
        sample: customers; those that the estimator refuses are left out.
        extremes: column → values beyond the sample that must be tried; None is a missing one.

    Raises:
        NothingToProbe
    """

    def ask(rows: pa.RecordBatch) -> Any:
        return estimator.predict_proba(frame(rows, model.inputs))

    sample = as_signature(sample, model.inputs)
    out = refusals(ask, sample)
    sample = sample.take(pa.array([i for i in range(sample.num_rows) if i not in out], pa.int64()))
    if not sample.num_rows:
        raise NothingToProbe
    base = sample.slice(0, 1)
    known = structure.categories(estimator, [item.name for item in model.inputs])
    found: dict[str, pa.Array] = {}
    for item in model.inputs:
        column = sample.column(item.name)
        more = _fitting([*extremes.get(item.name, ()), *known.get(item.name, ())], column.type)
        found[item.name] = pc.unique(pa.chunked_array([more, column])).slice(0, _KEPT)
    # All columns in one question: a call of the estimator costs more than the rows in it.
    bad = refusals(ask, stacked([changed(base, {name: values}) for name, values in found.items()]))
    pools: dict[str, pa.Array] = {}
    refused: list[tuple[str, Any]] = []
    first = 0
    for name, values in found.items():
        refused += [(name, values[i].as_py()) for i in range(len(values)) if first + i in bad]
        kept = [i for i in range(len(values)) if first + i not in bad]
        pools[name] = values.take(pa.array(kept, pa.int64()))
        first += len(values)
    return Material(sample, pools, refused)


def _fitting(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The values that a column of that type may have: an encoder behind a conversion knows others."""
    try:
        return pa.array(values, kind, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        if len(values) == 1:
            return pa.array([], kind)
        half = len(values) // 2
        return pa.concat_arrays([_fitting(values[:half], kind), _fitting(values[half:], kind)])
