"""Whether tables say what the estimator says.

Belongs here: the customers on which they are compared, and the comparison. Does not: what follows from a difference
(`plan.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.errors import ModelError
from churn_pipeline.kernel.behind_steps import TablesBehind
from churn_pipeline.kernel.codes import TooManyValues
from churn_pipeline.kernel.evaluator import Surprise
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.front import quiet
from churn_pipeline.kernel.intervals import next_to
from churn_pipeline.kernel.material import Material
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.rows import changed, stacked
from churn_pipeline.kernel.tables import Tables

#: Probabilities may differ by this much: sums in another order, no more.
WITHIN = 1e-12

_GRID = 2_000

#: Customers that are asked about one at a time, and how many are at once, if only the same again.
_ALONE, _MANY = 8, 8_192
_SEED = 20_240_229


class RowsDependOnEachOther(ModelError):
    """The model's answer for a customer depends on which other customers it is asked about at the same time."""


@dataclass(frozen=True)
class Comparison:
    """What was compared.

    Attributes:
        rows: customers.
        difference: largest difference of two probabilities.
        labels_changed: customers whose label would have been another.
    """

    rows: int
    difference: float
    labels_changed: int

    @property
    def holds(self) -> bool:
        """Whether the tables may stand in for the estimator."""
        return self.difference <= WITHIN and self.labels_changed == 0

    def __add__(self, other: Comparison) -> Comparison:
        """Both."""
        return Comparison(
            self.rows + other.rows,
            max(self.difference, other.difference),
            self.labels_changed + other.labels_changed,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Comparison:
        """Read what `to_json` wrote."""
        return cls(**value)


def check_rows(model: ModelVersion, estimator: Any, sample: pa.RecordBatch) -> None:
    """Ask about the same customers in other company.

    Raises:
        RowsDependOnEachOther: an answer changed.
    """
    whole = _asked(model, estimator, sample)
    order = np.arange(sample.num_rows)
    alone = np.unique([*np.linspace(0, len(order) - 1, _ALONE).astype(int), *_with_gaps(sample)])
    companies = [order[::-1], *np.array_split(order, 2), np.resize(order, _MANY), *alone[:, None]]
    try:
        others = [_asked(model, estimator, sample.take(pa.array(places))) for places in companies]
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  the estimator is foreign code and may raise anything
        how = f"{type(error).__name__} in one, an answer in the other"
    else:
        difference = max(_difference(whole[places], other) for places, other in zip(companies, others, strict=True))
        if difference <= WITHIN:
            return
        how = f"by up to {difference:.2g}"
    raise RowsDependOnEachOther(
        f"{model} answers differently for the same customer in other company ({how}): "
        "something in it computes over all rows it is given, such as their mean. Its scores would depend on how a "
        "file is cut. Fit what it computes while training, and register the model again."
    )


def _with_gaps(sample: pa.RecordBatch) -> list[int]:
    """A customer for each of the first columns that lack values: one alone has nothing to fill them from."""
    lacking = [column for column in sample.columns if column.null_count]
    return [int(pc.index(column.is_null(), True).as_py()) for column in lacking[:_ALONE]]


def prove(model: ModelVersion, estimator: Any, tables: Tables | TablesBehind, material: Material) -> Comparison:
    """Compare tables and estimator on the sample, on recombined customers, and at every break point."""
    rows = stacked([material.sample, *_grid(material), *_neighbours(material, tables)])
    return compare(model, estimator, tables, rows)


def compare(model: ModelVersion, estimator: Any, tables: Tables | TablesBehind, rows: pa.RecordBatch) -> Comparison:
    """Compare on some customers; where the tables answer and the estimator raises, they differ without end."""
    failed = Comparison(rows.num_rows, np.inf, 0)
    with quiet():
        try:
            found = tables.answer(rows).probability
        except (Surprise, TooManyValues):
            return failed
        # What the tables leave to the estimator is right by itself.
        own = ~np.isnan(found)
        try:
            expected = _asked(model, estimator, rows if own.all() else rows.filter(pa.array(own)))
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  the estimator is foreign code and may raise anything
            return failed
    found = found[own]
    labels = (found >= model.threshold) != (expected >= model.threshold)
    return Comparison(rows.num_rows, _difference(found, expected), int(labels.sum()))


def _asked(model: ModelVersion, estimator: Any, rows: pa.RecordBatch) -> npt.NDArray[np.float64]:
    with quiet():
        answer = estimator.predict_proba(frame(rows, model.inputs))
    return np.asarray(answer, dtype=np.float64)[:, model.positive]


def _difference(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    if not len(one):
        return 0.0
    difference = np.abs(one - other).max()
    return float(difference) if np.isfinite(difference) else float("inf")


def _grid(material: Material) -> list[pa.RecordBatch]:
    """Customers recombined from the pools at random, after one for every value there is."""
    rng = np.random.default_rng(_SEED)
    columns = {}
    for name, pool in material.pools.items():
        every = np.arange(len(pool))
        places = np.concatenate([every, rng.integers(0, len(pool), max(0, _GRID - len(every)))])[:_GRID]
        columns[name] = pool.take(pa.array(rng.permutation(places)))
    return [pa.RecordBatch.from_arrays(list(columns.values()), schema=material.sample.schema)]


def _neighbours(material: Material, tables: Tables | TablesBehind) -> list[pa.RecordBatch]:
    """One customer with every break point of every column, and the numbers next to it, one column at a time."""
    found = []
    for column, points in tables.breaks().items():
        kind = material.sample.schema.field(column).type
        beside = partial(next_to, points, whole=pa.types.is_integer(kind))
        near = np.unique(np.concatenate([beside(-1), points, beside(1)]))
        if len(near):
            found.append(changed(material.base, {column: pc.cast(pa.array(near), kind)}))
    return found
