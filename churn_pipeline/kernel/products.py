"""Products of numbers in a linear margin: what polynomial features of degree two add, as one quadratic form.

Belongs here: finding its coefficients, and evaluating it. Does not: which transformers make products (`structure.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import numbers
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.front import Front, Made
from churn_pipeline.kernel.rows import changed
from churn_pipeline.kernel.separable import Group
from churn_pipeline.kernel.structure import dense
from churn_pipeline.kernel.terms import Column, Weights, is_within, line

Floats = npt.NDArray[np.float64]

#: Customers whose products are summed in one go: their numbers stay in a core's second cache.
_BLOCK = 4_096

#: Terms beyond this are the estimator's: rounding them would tell in a probability.
_LARGE = 500.0


@dataclass(frozen=True)
class Product(Column):
    """`sum(z[i] * (linear[i] + square[i] @ z)) + start`, where z are affine functions of the columns.

    Attributes:
        slopes, offsets, missing: (k,) of z.
        square: (k, k).
        linear: (k,).
    """

    columns: tuple[str, ...]
    slopes: Floats
    offsets: Floats
    missing: Floats
    square: Floats
    linear: Floats
    start: float

    def of(self, *found: Floats) -> Floats:
        added = np.empty(len(found[0]))
        for first in range(0, len(added), _BLOCK):
            here = slice(first, first + _BLOCK)
            z = np.empty((len(found), len(added[here])))
            for row, column, slope, offset, missing in zip(
                z, found, self.slopes, self.offsets, self.missing, strict=True
            ):
                np.multiply(column[here], slope, out=row)
                row += offset
                if np.isnan(row.sum()):
                    row[np.isnan(column[here])] = missing
            terms = self.square @ z
            terms += self.linear[:, None]
            terms *= z
            added[here] = terms.sum(axis=0)
            if max(terms.max(), -terms.min()) > _LARGE:
                added[here][(np.abs(terms) > _LARGE).any(axis=0)] = np.nan
        added += self.start
        return added


def product(front: Front, group: Group, weights: Weights, pools: Mapping[str, pa.Array]) -> Product | None:
    """What a group of several columns adds, if all its outputs are products of at most two affine functions of them.

    Args:
        pools: column → values that it may have.
    """
    made = front.products(group.columns)
    if made is None or set(made.columns) != set(group.columns) or not np.isin(group.outputs, made.outputs).all():
        return None
    tried = {name: _points(pools[name]) for name in made.columns}
    size = max(map(len, tried.values()))
    # All columns at once, each at its own pace: many products are tried that way.
    tried = {name: np.concatenate([points[:2], np.resize(points[2:], size)]) for name, points in tried.items()}
    rows = changed(front.base, {name: _typed(front, name, points) for name, points in tried.items()})
    z, points = _before(front, made, rows), np.column_stack(list(tried.values()))
    slopes, offsets = line(np.array([0.0, 1e6]), z[:2])
    if not is_within(points * slopes + offsets, z):
        return None
    powers = made.powers[np.isin(made.outputs, group.outputs)]
    monomials = np.prod(z[:, None, :] ** powers[None], axis=2)
    coefficients, start = _coefficients(monomials, front.partial(rows, made.columns, group.outputs), weights, group)
    if coefficients is None:
        return None
    square, linear = np.zeros((len(slopes), len(slopes))), np.zeros(len(slopes))
    for power, coefficient in zip(powers, coefficients, strict=True):
        factors = np.repeat(np.arange(len(power)), power)
        if len(factors) == 2:
            square[factors[0], factors[1]] += coefficient
        elif len(factors) == 1:
            linear[factors[0]] += coefficient
        else:
            start += coefficient
    return Product(made.columns, slopes, offsets, _missing(front, made), square, linear, start)


def _coefficients(monomials: Floats, answers: Floats, weights: Weights, group: Group) -> tuple[Floats | None, float]:
    """What a monomial (n, outputs) adds to the margin through its output, and what all of them add besides."""
    outputs, sizes = np.arange(monomials.shape[1]), np.abs(monomials)
    low, high = sizes.argmin(axis=0), sizes.argmax(axis=0)  # the nearest to 0 says most of what is added to it
    spread = monomials[high, outputs] - monomials[low, outputs]
    with np.errstate(all="ignore"):
        slopes = np.where(spread != 0, (answers[high, outputs] - answers[low, outputs]) / spread, 0.0)
    offsets = answers[low, outputs] - slopes * monomials[low, outputs]
    if not is_within(monomials * slopes + offsets, answers):
        return None, 0.0
    own = weights.weights[group.outputs]
    return own * slopes, float(own @ offsets)


def _points(pool: pa.Array) -> Floats:
    """0, a million, and the numbers of a pool."""
    found = numbers(pool.drop_null())
    return np.concatenate([[0.0, 1e6], np.unique(found[np.abs(found) <= 1e6])])


def _typed(front: Front, name: str, points: Floats) -> pa.Array:
    return pa.array(points).cast(front.base.schema.field(name).type, safe=False)


def _before(front: Front, made: Made, rows: pa.RecordBatch) -> Floats:
    """(n, columns) what is multiplied."""
    found = frame(rows, front.inputs)[list(made.columns)]
    for step in made.before:
        found = step.transform(found)
    return dense(found).astype(np.float64)


def _missing(front: Front, made: Made) -> Floats:
    """(columns,) what stands for missing numbers; NaN where they are refused."""
    try:
        return _before(front, made, changed(front.base, {name: [None] for name in made.columns}))[0]
    except (TypeError, ValueError):
        return np.full(len(made.columns), np.nan)
