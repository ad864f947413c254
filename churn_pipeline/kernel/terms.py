"""What the outputs of a front add to a classifier's margin, and what single columns of many numbers add.

Belongs here: margins that are sums of one term an output: of linear classifiers, and of naive Bayes. Does not: which
classifiers those are (`structure.py`), adding up (`linear_tables.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import far, largest
from churn_pipeline.kernel.front import Front
from churn_pipeline.kernel.rows import changed
from churn_pipeline.kernel.separable import Group

Floats = npt.NDArray[np.float64]

#: What an affine output or term may differ from the real one by, relative to its size.
_AFFINE_WITHIN = 1e-13

#: Squared distances from a mean, in variances, up to which rounding stays far below what may differ: 31 deviations.
_FAR_OFF = 1_000.0


class Column(ABC):
    """What columns of many numbers, mostly one, add to the margin, missing ones included.

    Attributes:
        columns: their names.
    """

    columns: tuple[str, ...]

    @abstractmethod
    def of(self, *found: Floats) -> Floats:
        """(n,) terms of numbers, (n,) of each column; NaN where only the estimator can say."""

    def one(self, *values: float | None) -> float:
        """The term of one customer's numbers, None for a missing one."""
        found = [np.array([np.nan if value is None else value], dtype=np.float64) for value in values]
        return float(self.of(*found)[0])


class Terms(ABC):
    """A margin that is `start` and one term an output.

    Attributes:
        start: what is left where there are no outputs.
    """

    start: float

    @abstractmethod
    def of(self, values: Floats, outputs: npt.NDArray[np.intp]) -> Floats:
        """(n,) sums of the terms of some outputs, for values (n, outputs); NaN where only the estimator can say."""

    def of_missing(self, front: Front, group: Group) -> float:
        """What a missing number in a group's one column adds; NaN where it is refused: the estimator says so itself."""
        try:
            answers = front.partial(changed(front.base, {group.columns[0]: [None]}), group.columns, group.outputs)
        except (TypeError, ValueError):
            return np.nan
        return float(self.of(answers, group.outputs)[0])

    @abstractmethod
    def column(self, front: Front, group: Group, seen: Floats) -> Column | None:
        """What a group of one column adds, if its outputs are affine functions of it wherever one looks.

        Args:
            seen: numbers of the column, the ends of its range among them.
        """


@dataclass(frozen=True)
class Affine(Column):
    """`slope * x + offset`, or `missing`.

    Attributes:
        most: of greater numbers only the estimator can say.
    """

    columns: tuple[str, ...]
    slope: float
    offset: float
    missing: float
    most: float

    @cached_property
    def stand_in(self) -> float:
        """The number that adds what a missing one adds; NaN where there is none."""
        found = (self.missing - self.offset) / self.slope if self.slope else 0.0
        same = abs(found * self.slope + self.offset - self.missing) <= _AFFINE_WITHIN * max(1, abs(self.missing))
        return found if same and abs(found) <= self.most else np.nan

    def of(self, *columns: Floats) -> Floats:
        (found,) = columns
        return self.settled(found * self.slope + self.offset, found)

    def settled(self, added: Floats, found: Floats) -> Floats:
        """Terms of numbers, with those of missing and of too large ones set in place."""
        added[np.isnan(found)] = self.missing
        added[np.abs(found) > self.most] = np.nan
        return added

    def one(self, *values: float | None) -> float:
        (value,) = values
        if value is None or value != value:
            return self.missing
        return value * self.slope + self.offset if abs(value) <= self.most else np.nan

    def add_to(self, margin: Floats, found: npt.NDArray[np.float64 | np.int64]) -> bool:
        """Add `slope * found`, and say whether all numbers are small enough; NaN is."""
        margin += found * self.slope
        return not bool(((found > self.most) | (found < -self.most)).any())  # the least whole number has no magnitude

    def add_compiled(self, margin: Floats, found: npt.NDArray[np.float64 | np.int64]) -> bool:
        """The same with numba."""
        from churn_pipeline.kernel.compiled_sums import add_scaled

        return bool(add_scaled(np.ascontiguousarray(found), self.slope, self.most, margin))


@dataclass(frozen=True)
class Bent(Column):
    """An affine function of what a universal function of NumPy makes of numbers."""

    columns: tuple[str, ...]
    bend: np.ufunc
    line: Affine

    def of(self, *columns: Floats) -> Floats:
        (found,) = columns
        with np.errstate(all="ignore"):
            added: Floats = self.bend(found) * self.line.slope + self.line.offset
        return self.line.settled(added, found)


@dataclass(frozen=True)
class Weights(Terms):
    """Of a linear classifier.

    Attributes:
        weights: of the outputs.
    """

    weights: Floats
    start: float

    def of(self, values: Floats, outputs: npt.NDArray[np.intp]) -> Floats:
        return np.asarray(values @ self.weights[outputs])

    def column(self, front: Front, group: Group, seen: Floats) -> Affine | None:
        points, answers = _tried(front, group, seen)
        real = self.of(answers, group.outputs)
        slope, offset = (float(found[0]) for found in line(points, real[:, None]))
        found = Affine(group.columns, slope, offset, self.of_missing(front, group), _most(front, group))
        return found if is_within(found.of(points), real) else None

    def bent_column(self, front: Front, group: Group, seen: Floats, bend: np.ufunc) -> Bent | None:
        """The same for outputs that are affine functions of what a universal function makes of the column."""
        points, answers = _tried(front, group, seen, bend)
        real = self.of(answers, group.outputs)
        with np.errstate(all="ignore"):
            made = np.asarray(bend(points), dtype=np.float64)
        known = np.isfinite(made) & np.isfinite(real)
        if not np.array_equal(np.isnan(made), np.isnan(real)) or len(np.unique(made[known])) < 2:
            return None
        made, real = made[known], real[known]
        low, high = made.argmin(), made.argmax()
        slope = float((real[high] - real[low]) / (made[high] - made[low]))
        nearest = np.abs(made).argmin()
        offset = float(real[nearest] - slope * made[nearest])
        if not is_within(made * slope + offset, real):
            return None
        straight = Affine(group.columns, slope, offset, self.of_missing(front, group), _most(front, group))
        return Bent(group.columns, bend, straight)


@dataclass(frozen=True)
class Ratio:
    """The logarithm of a normal density of class 1, less that of class 0, of an affine function of a number.

    It is `(square * t + straight) * t + constant` with `t = x - middle`.

    Attributes:
        least, most: of lesser and greater numbers only the estimator can say.
    """

    middle: float
    square: float
    straight: float
    constant: float
    least: float
    most: float

    def of(self, found: Floats) -> Floats:
        """(n,) of numbers; NaN where only the estimator can say, and for a missing one."""
        apart = found - self.middle
        added = apart * self.square
        added += self.straight
        added *= apart
        added += self.constant
        # NaN is neither.
        if len(found) and not (found.min() >= self.least and found.max() <= self.most):
            added[~((found >= self.least) & (found <= self.most))] = np.nan
        return added


@dataclass(frozen=True)
class Bells(Column):
    """What outputs add that are affine functions of one column.

    Attributes:
        missing: what is added where a number is missing.
    """

    columns: tuple[str, ...]
    ratios: tuple[Ratio, ...]
    missing: float

    def of(self, *columns: Floats) -> Floats:
        (found,) = columns
        added, *others = (ratio.of(found) for ratio in self.ratios)
        for term in others:
            added += term
        if np.isnan(added.sum()):
            added[np.isnan(found)] = self.missing
        return added


@dataclass(frozen=True)
class Densities(Terms):
    """Of naive Bayes with normal densities (Zhang 2004), as scikit-learn's: outputs are independent within a class.

    Attributes:
        means, variances: (2, outputs) of each class.
    """

    means: Floats
    variances: Floats
    start: float

    def ratio(self, output: int, slope: float = 1.0, offset: float = 0.0) -> Ratio:
        """What an output adds that is `slope * x + offset`, as a function of x.

        Seen from the mean of the class that varies less, so that no part of the sum is much larger than the densities'
        own exponents, which are small near both means; farther off rounding would tell.
        """
        narrow, wide = (0, 1) if self.variances[0, output] <= self.variances[1, output] else (1, 0)
        mean, other = self.means[narrow, output], self.means[wide, output]
        least_variance, variance = self.variances[narrow, output], self.variances[wide, output]
        apart, sign = other - mean, 0.5 if narrow == 0 else -0.5
        square = sign * (1 / least_variance - 1 / variance)
        straight = sign * 2 * apart / variance
        constant = sign * (np.log(least_variance / variance) - apart**2 / variance)
        one, two = np.sqrt(_FAR_OFF * least_variance), np.sqrt(_FAR_OFF * variance)
        least, most = max(-one, apart - two), min(one, apart + two)
        if slope == 0:
            there = offset - mean
            known = least <= there <= most
            found = (square * there + straight) * there + constant if known else np.nan
            return Ratio(0.0, 0.0, 0.0, float(found), -np.inf, np.inf)
        middle = (mean - offset) / slope
        if slope < 0:
            least, most = most, least
        ends = middle + least / slope, middle + most / slope
        return Ratio(middle, square * slope**2, straight * slope, constant, *ends)

    def of(self, values: Floats, outputs: npt.NDArray[np.intp]) -> Floats:
        added = np.zeros(len(values))
        for column, output in zip(values.T, outputs, strict=True):
            added += self.ratio(int(output)).of(column)
        return added

    def column(self, front: Front, group: Group, seen: Floats) -> Bells | None:
        points, answers = _tried(front, group, seen)
        slopes, offsets = line(points, answers)
        if not is_within(points[:, None] * slopes + offsets, answers):
            return None
        most = _most(front, group)
        made = zip(group.outputs.tolist(), slopes.tolist(), offsets.tolist(), strict=True)
        ratios = [self.ratio(*found) for found in made]
        ratios = [replace(item, least=max(item.least, -most), most=min(item.most, most)) for item in ratios]
        return Bells(group.columns, tuple(ratios), self.of_missing(front, group))


def _tried(front: Front, group: Group, seen: Floats, bend: np.ufunc = np.positive) -> tuple[Floats, Floats]:
    """(n,) numbers of a group's one column, far ones among them, and (n, outputs) what becomes of them.

    Args:
        bend: numbers of which this makes infinite ones are left out: transformers refuse those.
    """
    kind = front.base.schema.field(group.columns[0]).type
    points = np.unique(np.concatenate([seen[~np.isnan(seen)], far(kind)]))
    with np.errstate(all="ignore"):
        points = points[~np.isinf(bend(points))]
    rows = changed(front.base, {group.columns[0]: pa.array(points).cast(kind)})
    return points, front.partial(rows, group.columns, group.outputs)


def line(points: Floats, answers: Floats) -> tuple[Floats, Floats]:
    """(outputs,) slopes and offsets of the lines through two of the answers (n, outputs)."""
    (zero,), (unit,) = np.flatnonzero(points == 0), np.flatnonzero(points == 1e6)
    return (answers[unit] - answers[zero]) / 1e6, answers[zero]


def is_within(found: Floats, real: Floats) -> bool:
    """Whether numbers are the real ones but for roundings."""
    return bool((np.abs(found - real) <= _AFFINE_WITHIN * np.maximum(1, np.abs(real))).all())


def _most(front: Front, group: Group) -> float:
    return largest(front.base.schema.field(group.columns[0]).type)
