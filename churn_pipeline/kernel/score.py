"""The kernel: record batch in, scored record batch out.

Belongs here: the one function every engine calls (the local stream, `predict()`, later Spark and Kafka), and what
happens to rows the estimator cannot score. Does not: reading, writing, choosing a model.
"""

import logging
from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.errors import ScoringError
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan

#: Columns the kernel adds to those it is given.
SCORE_FIELDS = (
    pa.field("churn_probability", pa.float64()),
    pa.field("prediction", pa.int32()),
    pa.field("error_type", pa.string()),
    pa.field("error", pa.string()),
)

#: Isolating a guilty row costs up to 17 calls of the estimator. Past this many in one record batch the model,
#: not the rows, is at fault.
MOST_UNSCORED = 1_000


_log = logging.getLogger(__name__)


class ModelCannotScore(ScoringError):
    """The estimator fails on so many customers, or answers so oddly, that the model is at fault."""


def scored_schema(customers: pa.Schema) -> pa.Schema:
    """Schema of what `score` returns for batches of `customers`."""
    return pa.schema([*customers, *SCORE_FIELDS])


def score(batch: pa.RecordBatch, plan: Plan) -> pa.RecordBatch:
    """Score customers.

    Args:
        batch: n customers; the columns of the model's signature and any others.
        plan: the model version, its estimator, and the tables that were proven to say the same.

    Returns:
        The same n rows in the same order, with `churn_probability` (float64, the estimator's own) and `prediction`
        (1 from the model version's threshold on, else 0). A row that the estimator cannot score has both null, and
        `error_type` and `error` instead.

    Raises:
        ModelCannotScore: more than `MOST_UNSCORED` rows fail, or the answer has not one probability a row and class.
    """
    probability = np.full(batch.num_rows, np.nan)
    errors: dict[int, tuple[str, str]] = {}
    left = _by_tables(batch, plan, probability, errors)
    if left is None and batch.num_rows:
        _fill(batch, plan, 0, probability, errors)
    elif left is not None and len(left):
        _fill_some(batch, plan, left, probability, errors)
    return scored(batch, plan.model, probability, errors)


def scored(
    batch: pa.RecordBatch,
    model: ModelVersion,
    probability: npt.NDArray[np.float64],
    errors: Mapping[int, tuple[str, str]],
) -> pa.RecordBatch:
    """Customers with what is known of them; see `score`.

    Args:
        probability: (n,) NaN for rows that were not scored.
        errors: such a row → its `error_type` and `error`.
    """
    unscored = np.isnan(probability)
    # Without a mask pyarrow takes numpy's memory as it is.
    mask = unscored if unscored.any() else None
    prediction = (probability >= model.threshold).astype(np.int32)
    found = [errors.get(int(i)) for i in np.flatnonzero(unscored)]
    columns = [
        pa.array(probability, mask=mask),
        pa.array(prediction, mask=mask),
        _at(unscored, [error[0] if error else None for error in found]),
        _at(unscored, [error[1] if error else None for error in found]),
    ]
    return pa.RecordBatch.from_arrays([*batch.columns, *columns], schema=scored_schema(batch.schema))


def _by_tables(
    batch: pa.RecordBatch, plan: Plan, probability: npt.NDArray[np.float64], errors: dict[int, tuple[str, str]]
) -> npt.NDArray[np.intp] | None:
    """Score what the plan's tables can; returns the rows they leave to the estimator, None for all of them."""
    if plan.tables is None:
        return None
    try:
        answer = plan.tables.answer(batch)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  real transformers ran, and may raise anything
        _log.info("%s: its %s plan raised %s, so the estimator scores.", plan.model, plan.tier, type(error).__name__)
        return None
    for row, (kind, words) in answer.refused.items():
        _blame(errors, row, kind, words, plan)
    found = answer.probability
    if not len(found) or (found.min() >= 0 and found.max() <= 1):  # NaN is neither
        probability[:] = found
        return np.empty(0, np.intp)
    probability[:] = np.where((found >= 0) & (found <= 1), found, np.nan)
    left = np.flatnonzero(np.isnan(probability))
    return left[~np.isin(left, list(errors))]


def _fill_some(
    batch: pa.RecordBatch,
    plan: Plan,
    rows: npt.NDArray[np.intp],
    probability: npt.NDArray[np.float64],
    errors: dict[int, tuple[str, str]],
) -> None:
    """Let the estimator score some rows."""
    found, blamed = np.full(len(rows), np.nan), dict[int, tuple[str, str]]()
    _fill(batch.take(pa.array(rows)), plan, 0, found, blamed)
    probability[rows] = found
    for place, (kind, words) in blamed.items():
        _blame(errors, int(rows[place]), kind, words, plan)


def _fill(
    batch: pa.RecordBatch,
    plan: Plan,
    start: int,
    probability: npt.NDArray[np.float64],
    errors: dict[int, tuple[str, str]],
) -> None:
    """Score a stretch; if it raises, halve it until only the guilty rows are left."""
    try:
        answer = plan.estimator.predict_proba(frame(batch, plan.model.inputs))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  the estimator is foreign code and may raise anything
        if batch.num_rows == 1:
            _blame(errors, start, type(error).__name__, str(error)[:500], plan)
            return
        half = batch.num_rows // 2
        _fill(batch.slice(0, half), plan, start, probability, errors)
        _fill(batch.slice(half), plan, start + half, probability, errors)
        return
    found = _churn_column(answer, batch.num_rows, plan)
    fits = (found >= 0) & (found <= 1)  # NaN fits nothing
    probability[start : start + batch.num_rows] = found if fits.all() else np.where(fits, found, np.nan)
    for i in np.flatnonzero(~fits):
        _blame(errors, start + int(i), "InvalidProbability", "the model's probability is not between 0 and 1", plan)


def _blame(errors: dict[int, tuple[str, str]], row: int, kind: str, words: str, plan: Plan) -> None:
    errors[row] = (kind, words)
    if len(errors) > MOST_UNSCORED:
        kinds = ", ".join(f"{name} ({n:,})" for name, n in Counter(kind for kind, _ in errors.values()).most_common(5))
        raise ModelCannotScore(
            f"{plan.model} failed on more than {MOST_UNSCORED:,} customers at once: {kinds}. Nothing was written. "
            "Score a few of these customers by hand, mend the model and register it again."
        )


def _churn_column(answer: object, rows: int, plan: Plan) -> npt.NDArray[np.float64]:
    table = np.asarray(answer, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != rows or table.shape[1] <= plan.model.positive:
        raise ModelCannotScore(
            f"predict_proba of {plan.model} answered with shape {table.shape} for {rows:,} customers; expected "
            f"({rows}, classes) with churn in column {plan.model.positive}. Register a classifier with predict_proba."
        )
    return table[:, plan.model.positive]


def _at(mask: npt.NDArray[np.bool_], values: list[str | None]) -> pa.Array:
    """Text at the rows of `mask`, null elsewhere."""
    if not values:
        return pa.nulls(len(mask), pa.string())
    places = np.where(mask, np.cumsum(mask) - 1, 0)
    return pa.array(values, pa.string()).take(pa.array(places, mask=~mask))
