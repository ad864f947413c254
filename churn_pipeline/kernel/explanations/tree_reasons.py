"""Contributions to the answer of a tree ensemble.

Belongs here: which contributions there are, what they are called and measured in. Does not: their values
(`tree_shares.py`), adding them up for rows (`tree_contributions.py`).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from churn_pipeline.kernel.codes import Axis
from churn_pipeline.kernel.encoded import Encoded
from churn_pipeline.kernel.explanations.explanation import Explanation, Floats, Unit, joined
from churn_pipeline.kernel.explanations.tree_contributions import (
    Destination,
    LeafContributions,
    PatternContributions,
    WalkContributions,
)
from churn_pipeline.kernel.explanations.tree_shares import MOST_DECISIONS, base
from churn_pipeline.kernel.forests.forest import Forest
from churn_pipeline.kernel.forests.forest_tables import ForestTables
from churn_pipeline.kernel.forests.links import BoosterSigmoid, Logistic, Mean


class TreeReasons(Explanation):
    """Shapley values (path-dependent) of an ensemble of small trees, Saabas' contributions of one of larger trees.

    Args:
        compiled: whether to use numba.
    """

    def __init__(self, evaluator: ForestTables, *, compiled: bool) -> None:
        forest = evaluator.forest
        factor, self.unit = _meaning(forest)
        names = {feature: joined(evaluator.columns(feature)) for feature in forest.features}
        self.names = tuple(dict.fromkeys(names.values())) or (joined(()),)
        owner = np.zeros(max(names, default=0) + 1, dtype=np.intp)
        owner[list(names)] = [self.names.index(name) for name in names.values()]
        self.exact = bool(forest.leaf_counts[forest.roots].max() <= MOST_DECISIONS + 1)
        self.base = factor * base(forest)
        kind = (
            PatternContributions
            if self.exact
            else LeafContributions
            if evaluator.tier == "masks"
            else WalkContributions
        )
        destination = Destination(owner, len(self.names), factor)
        self._tables = evaluator.remade(partial(kind, destination=destination, compiled=compiled))

    def contributions(self, encoded: Encoded) -> Floats:
        return self._tables.answer(encoded)

    def extend(self, axis: Axis, start: int) -> None:
        self._tables.extend(axis, start)


def _meaning(forest: Forest) -> tuple[float, Unit]:
    """What a margin is to be multiplied by, and what it then is."""
    link = forest.link
    if isinstance(link, Mean):
        return 1 / link.trees, "probability"
    assert isinstance(link, Logistic | BoosterSigmoid)
    scale = link.scale if isinstance(link, Logistic) else 1.0
    return (scale if link.positive else -scale), "log-odds"
