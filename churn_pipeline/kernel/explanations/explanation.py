"""What explains a classifier's answers in a plan.

Belongs here: the port. Does not: an explanation (`linear_reasons.py`, `tree_reasons.py`), what is told of one
(`reasons.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Literal

import numpy as np
import numpy.typing as npt

from churn_pipeline.kernel.codes import Axis
from churn_pipeline.kernel.encoded import Encoded

Floats = npt.NDArray[np.float64]
Unit = Literal["log-odds", "probability"]


class Explanation(ABC):
    """How a sum of contributions, one a column of the customer, makes a classifier's answer.

    Attributes:
        names: of the contributions: a column, or several that the model combines.
        base: what the contributions are added to.
        unit: of both.
        exact: contributions are Shapley values; if not, they only add up.
    """

    names: tuple[str, ...]
    base: float
    unit: Unit
    exact: bool

    @abstractmethod
    def contributions(self, encoded: Encoded) -> Floats:
        """(names, n) contributions of n customers; NaN where only the estimator can say."""

    @abstractmethod
    def extend(self, axis: Axis, start: int) -> None:
        """Take in the codes of an axis from `start` on, which the evaluator has taken in before."""


#: Between the names of columns that contribute together, and between their values.
AND = " & "


def joined(columns: tuple[str, ...]) -> str:
    """Name of what columns contribute together; some that no column decides is `(constant)`."""
    return AND.join(columns) or "(constant)"


def parts_of(name: str, columns: Collection[str]) -> list[str]:
    """Which of these columns contribute under a name that `joined` made."""
    return [name] if name in columns else [part for part in name.split(AND) if part in columns]
