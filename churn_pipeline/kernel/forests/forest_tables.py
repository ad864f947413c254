"""Tree ensembles behind codes: which codes each group of columns gets, and who walks the trees.

Belongs here: joining codes and computed columns for an evaluator of trees. Does not: trees (`forest.py`), evaluating
them (`leaf_masks.py`, `tree_walk.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from churn_pipeline.kernel.cuts import Cuts
from churn_pipeline.kernel.encoded import Encoded
from churn_pipeline.kernel.evaluator import Computed, Coordinate, Evaluator, values_of
from churn_pipeline.kernel.forests import forest as trees
from churn_pipeline.kernel.forests.forest import Forest, GroupValues, NotReadable
from churn_pipeline.kernel.front import Front
from churn_pipeline.kernel.separable import Group

Takes = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.bool_]]
MakeEvaluator = Callable[[Forest, Sequence[GroupValues]], trees.Evaluator]


class ForestTables(Evaluator):
    """A tree ensemble behind its front.

    Args:
        tier: `masks` or `walk`.
        make: builds what evaluates the trees.
        coded: groups with codes of their own.
        computed: groups for which the real transformers run; each of their outputs is then cut at the thresholds.
        takes: whether the classifier takes a computed number: (n, outputs) → bool of the same shape; None if it takes
            any, so that no output has to be computed at which no tree looks.
    """

    def __init__(
        self,
        front: Front,
        forest: Forest,
        tier: str,
        make: MakeEvaluator,
        coded: Sequence[Coordinate],
        computed: Sequence[Group],
        takes: Takes | None = None,
    ) -> None:
        self.tier, self.forest = tier, forest
        self.front, self._takes = front, takes
        self._parts = list(coded), list(computed)
        used = set(forest.features)
        self.coded = [item for item in coded if used & set(item.group.outputs.tolist())]
        looked_at = [replace(g, outputs=np.array([p for p in g.outputs if p in used], np.intp)) for g in computed]
        self.computed = Computed(computed if takes else [group for group in looked_at if len(group.outputs)])
        outputs = [place for place in self.computed.outputs.tolist() if place in used]
        self._cuts = {place: Cuts(forest.thresholds(place)) for place in outputs}
        # Every column is an axis even if no tree looks at it: what the model refuses is refused all the same.
        self.axes = [item.axis for item in coded]
        self.raw = [name for item in coded for name in item.axis.columns if item.axis.continuous]
        self.raw += self.computed.columns
        fixed = self._fixed(used - {int(p) for item in coded for p in item.group.outputs} - set(outputs))
        tables = zip(self.coded, values_of(front, self.coded, self.computed), strict=True)
        values = [GroupValues(item.group.outputs, table) for item, table in tables]
        values += [GroupValues(np.array([place]), _between(cuts.breaks)) for place, cuts in self._cuts.items()]
        self._evaluator = make(forest, values + fixed)
        self._fixed_groups = len(fixed)

    def answer(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        found = self._evaluator.score(self.codes(encoded))
        if self._takes and self.computed.columns:
            taken = self._takes(self.computed.of(encoded, self.front)).all(axis=1)
            if not taken.all():
                found[~taken] = np.nan
        return found

    def codes(self, encoded: Encoded) -> list[npt.NDArray[np.uint16]]:
        """Codes of n customers for each group that `make` was given; of one nobody reads if there is none."""
        codes = [encoded.codes(item.axis) for item in self.coded]
        if self._cuts:
            found, places = self.computed.of(encoded, self.front), self.computed.outputs.tolist()
            codes += [cuts.codes(found[:, places.index(place)]) for place, cuts in self._cuts.items()]
        codes += [np.zeros(encoded.rows, dtype=np.uint16)] * self._fixed_groups
        return codes or [np.zeros(encoded.rows, dtype=np.uint16)]

    def remade(self, make: MakeEvaluator) -> ForestTables:
        """The same trees behind the same front, with something else to evaluate them."""
        return ForestTables(self.front, self.forest, self.tier, make, *self._parts, self._takes)

    def columns(self, feature: int) -> tuple[str, ...]:
        """Columns of the customer that decide a column of the classifier's matrix; none where nothing does."""
        coded, computed = self._parts
        groups = [*(item.group for item in coded), *computed]
        return next((group.columns for group in groups if feature in group.outputs), ())

    def one(self, record: Mapping[str, Any], codes: Mapping[int, int]) -> float | None:
        del record
        if self.computed.columns:
            return None
        found = [codes[id(item.axis)] for item in self.coded] + [0] * self._fixed_groups or [0]
        return float(self._evaluator.score(np.array(found, dtype=np.uint16).reshape(-1, 1))[0])

    def _grow(self, place: int, values: npt.NDArray[np.float64]) -> None:
        self._evaluator.extend(place, values)

    def _fixed(self, outputs: set[int]) -> list[GroupValues]:
        """Outputs that nothing decides, as a group of one code."""
        if not outputs:
            return []
        places = np.array(sorted(outputs))
        return [GroupValues(places, self.front.standing[:, places])]


def _between(cuts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(cuts + 2, 1) a number for each stretch that the cuts leave, and NaN for missing."""
    if len(cuts) + 2 > trees.MOST_CODES:
        raise NotReadable(f"a column is cut at {len(cuts):,} places, more than {trees.MOST_CODES:,}")
    above = np.nextafter(cuts[-1:], np.inf) if len(cuts) else np.zeros(1)
    return np.concatenate([cuts, above, [np.nan]]).reshape(-1, 1)
