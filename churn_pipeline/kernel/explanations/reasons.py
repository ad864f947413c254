"""Reasons: which columns of a customer moved the model's answer most, and by how much.

Belongs here: the one function that says so for a record batch and a plan, and choosing the top. Does not: what columns
contribute (`linear_reasons.py`, `tree_reasons.py`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.errors import ScoringError
from churn_pipeline.kernel.behind_steps import TablesBehind
from churn_pipeline.kernel.codes import TooManyValues
from churn_pipeline.kernel.encoded import Encoded
from churn_pipeline.kernel.evaluator import Evaluator, Surprise
from churn_pipeline.kernel.explanations.explanation import Explanation, Floats, Unit
from churn_pipeline.kernel.explanations.linear_reasons import LinearReasons
from churn_pipeline.kernel.explanations.tree_reasons import TreeReasons
from churn_pipeline.kernel.forests.forest_tables import ForestTables
from churn_pipeline.kernel.linear_tables import LinearTables
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.tables import Tables

#: Customers that are explained at once: their contributions stay in a core's caches.
_ROWS = 8_192

_log = logging.getLogger(__name__)


class ReasonsUnavailable(ScoringError):
    """The model's answers are no sum of what columns contribute, or nothing here can say what they are."""


@dataclass(frozen=True)
class Contributions:
    """What columns contribute to the answers for n customers: base and contributions add up to the answer.

    Attributes:
        names: columns of the customer that the model looks at; several that it combines are one, `a & b`, and
            `(constant)` stands for what no column decides.
        values: (names, n); NaN for customers of whom the plan's tables cannot speak.
        base: what the contributions are added to: the mean answer over the plan's sample for a linear model, over the
            customers it was trained on for trees.
        unit: of base and values: `log-odds` of churn, or its `probability` where a forest averages those.
        exact: Shapley values. If not, they are Saabas' contributions, which add up too but slight columns that are
            asked at the top of large trees.
    """

    names: tuple[str, ...]
    values: Floats
    base: float
    unit: Unit
    exact: bool


@dataclass(frozen=True)
class Reasons:
    """The columns that raised the answer most, and those that lowered it most, largest first, for n customers.

    Attributes:
        names, base, unit, exact: see `Contributions`.
        up, down: (n, k) places in `names`; -1 where fewer columns raised (lowered) the answer.
        up_by, down_by: (n, k) their contributions, above (below) 0; 0 where there is none.
        known: (n,) False for customers of whom nothing can be said: those that only the estimator can score, and those
            that it refuses.
    """

    names: tuple[str, ...]
    up: npt.NDArray[np.int16]
    up_by: Floats
    down: npt.NDArray[np.int16]
    down_by: Floats
    known: npt.NDArray[np.bool_]
    base: float
    unit: Unit
    exact: bool


def reasons(batch: pa.RecordBatch, plan: Plan, k: int) -> Reasons:
    """The k columns that raised each customer's answer most, and the k that lowered it most.

    Args:
        batch: n customers; the columns of the model's signature and any others.

    Raises:
        ReasonsUnavailable: for this plan there are none.
    """
    tables, explanation = _explained(plan)
    up, down = np.full((2, k, batch.num_rows), -1, dtype=np.int16)
    up_by, down_by = np.zeros((2, k, batch.num_rows))
    known = np.zeros(batch.num_rows, dtype=bool)
    for start in range(0, batch.num_rows, _ROWS):
        values = _values(batch.slice(start, _ROWS), plan, tables, explanation)
        here = slice(start, start + values.shape[1])
        known[here] = np.isfinite(values.sum(axis=0))
        if not known[here].all():
            values[:, ~known[here]] = 0
        most, least = _pick(values, k)
        up[:, here], up_by[:, here] = _named(most, values)
        down[:, here], down_by[:, here] = _named(least, values)
    return Reasons(
        explanation.names, up.T, up_by.T, down.T, down_by.T, known,
        explanation.base, explanation.unit, explanation.exact,
    )  # fmt: skip


def contributions(batch: pa.RecordBatch, plan: Plan) -> Contributions:
    """What every column contributes to each customer's answer.

    Args:
        batch: n customers; the columns of the model's signature and any others.

    Raises:
        ReasonsUnavailable: for this plan there are none.
    """
    tables, explanation = _explained(plan)
    values = _values(batch, plan, tables, explanation)
    return Contributions(explanation.names, values, explanation.base, explanation.unit, explanation.exact)


def explanation_of(plan: Plan) -> Explanation:
    """What explains the answers of a plan, made when it is first asked for: names, base, unit, and whether it is exact.

    Raises:
        ReasonsUnavailable: for this plan there are none.
    """
    return _explained(plan)[1]


def _explained(plan: Plan) -> tuple[Tables, Explanation]:
    why = plan.why or "nothing takes its classifier apart"
    if isinstance(plan.tables, TablesBehind):
        why = f"its tables stand {plan.tables}, which makes columns of its own"
    elif plan.tables is not None and plan.tier != "matrix":
        try:
            if (found := plan.tables.explanation(_make)) is not None:
                return plan.tables, found
            why = "it combines several classifiers or calibrates one, and what moved the result is no sum of parts"
        except (Surprise, TooManyValues):
            why = "a customer had a value that does what no value did when it was tried"
    raise ReasonsUnavailable(
        f"{plan.model} has no reasons: {why}. Switch reasons off for it, or register a model that is one linear "
        "classifier or one ensemble of trees."
    )


def _make(evaluator: Evaluator, background: Encoded, compiled: bool) -> Explanation:
    if isinstance(evaluator, LinearTables):
        return LinearReasons(evaluator, background)
    assert isinstance(evaluator, ForestTables)
    return TreeReasons(evaluator, compiled=compiled)


def _values(batch: pa.RecordBatch, plan: Plan, tables: Tables, explanation: Explanation) -> Floats:
    try:
        return tables.contributions(batch, explanation)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  real transformers ran, and may raise anything
        _log.info(
            "%s: customers have no reasons, as its %s plan raised %s.", plan.model, plan.tier, type(error).__name__
        )
        return np.full((len(explanation.names), batch.num_rows), np.nan)


def _pick(values: Floats, k: int) -> tuple[Floats, Floats]:
    """The k largest and the k smallest numbers of each customer, by running maxima and minima; 0 where there are fewer.

    A number carries its place in its last bits, which no maximum loses, so that nothing has to be sorted, or compiled.

    Args:
        values: (names, n).

    Returns:
        Numbers with their places in their last `_bits`, (k, n) above or at 0 and (k, n) below or at it.
    """
    most, least = np.zeros((2, k, values.shape[1]))
    key, *spare = np.empty((3, values.shape[1]))
    bits = key.view(np.int64)
    for place, row in enumerate(values):
        np.bitwise_and(row.view(np.int64), -1 << _bits(values), out=bits)
        np.bitwise_or(bits, place, out=bits)
        for best, ahead, behind in ((most, np.maximum, np.minimum), (least, np.minimum, np.maximum)):
            left = key
            for rank in range(min(place + 1, k)):
                if rank < min(place, k - 1):
                    behind(best[rank], left, out=spare[rank % 2])
                ahead(best[rank], left, out=best[rank])
                left = spare[rank % 2]
    return most, least


def _named(best: Floats, values: Floats) -> tuple[npt.NDArray[np.int16], Floats]:
    """Places, -1 where nothing is left of a number, and the numbers at these places."""
    places = (best.view(np.int64) & ~(-1 << _bits(values))).astype(np.int16)
    found = values.ravel().take(np.arange(values.shape[1]) + places * np.int64(values.shape[1]))
    nothing = found * best <= 0
    places[nothing], found[nothing] = -1, 0
    return places, found


def _bits(values: Floats) -> int:
    """Bits that a place takes."""
    return (len(values) - 1).bit_length()
