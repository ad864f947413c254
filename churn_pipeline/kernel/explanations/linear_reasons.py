"""Contributions to a linear margin: what a value adds, less what it adds on average.

Belongs here: that difference. Does not: the tables it is read from (`linear_tables.py`).
"""

from __future__ import annotations

import numpy as np

from churn_pipeline.kernel.codes import Axis
from churn_pipeline.kernel.encoded import Encoded
from churn_pipeline.kernel.explanations.explanation import Explanation, Floats, joined
from churn_pipeline.kernel.linear_tables import LinearTables


class LinearReasons(Explanation):
    """Shapley values of a linear margin over independent columns (interventional, Lundberg and Lee 2017), exact.

    Args:
        background: customers whose average is the base.
    """

    unit = "log-odds"
    exact = True

    def __init__(self, evaluator: LinearTables, background: Encoded) -> None:
        self._evaluator = evaluator
        # The margin is of the second class, and the other one's is its negative.
        self._sign = float(evaluator.link)
        parts = list(evaluator.parts(background))
        self._means = [float(part.mean()) for _, part in parts]
        self.names = tuple(joined(columns) for columns, _ in parts)
        self.base = self._sign * (evaluator.start + sum(self._means))

    def contributions(self, encoded: Encoded) -> Floats:
        found = np.empty((len(self.names), encoded.rows))
        for row, (_, part), mean in zip(found, self._evaluator.parts(encoded), self._means, strict=True):
            np.subtract(part, mean, out=row)
        return found if self._sign == 1 else np.multiply(found, self._sign, out=found)

    def extend(self, axis: Axis, start: int) -> None:
        """Nothing: its tables are the evaluator's."""
