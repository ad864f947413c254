"""What stands for one classifier in a plan.

Belongs here: the port, and the parts of a customer it is given. Does not: an evaluator (one file each beside this).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import Axis
from churn_pipeline.kernel.encoded import Encoded
from churn_pipeline.kernel.front import Front
from churn_pipeline.kernel.rows import changed, stacked
from churn_pipeline.kernel.separable import Group

#: From the fastest to the one that is always right.
TIERS = ("linear", "masks", "walk", "matrix", "reference")


class Surprise(Exception):
    """A value does what no value before it did; the estimator answers from now on."""


@dataclass(frozen=True)
class Coordinate:
    """A group of columns as the codes of an axis.

    Attributes:
        group: what the front makes of them.
        axis: where their codes come from; shared with other classifiers of the same plan.
    """

    group: Group
    axis: Axis


class Computed:
    """Groups for which the real transformers run, all at once.

    Attributes:
        columns: of the customer.
        outputs: of the matrix, group by group.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)
        self.columns = list(dict.fromkeys(name for group in groups for name in group.columns))
        self.outputs = np.concatenate([np.empty(0, np.intp), *(group.outputs for group in groups)])

    def of(self, encoded: Encoded, front: Front) -> npt.NDArray[np.float64]:
        """(n, `outputs`)."""
        return encoded.computed(front, self.columns, self.outputs)


def values_of(
    front: Front, coordinates: Sequence[Coordinate], computed: Computed, start: int = 0
) -> list[npt.NDArray[np.float64]]:
    """What the real front makes of each code's values, in one call.

    A code that the model refuses is NaN throughout; nobody looks at it, as its rows are refused too.

    Args:
        computed: whose outputs may change as they like.

    Returns:
        For each coordinate (codes from `start` on, outputs of its group).

    Raises:
        Surprise: a value changed an output that its columns were not known to decide.
    """
    if not coordinates:
        return []
    rows, kept = [], []
    for item in coordinates:
        made = changed(front.base, item.axis.values(start))
        kept.append([i for i in range(made.num_rows) if start + i not in item.axis.refused])
        rows.append(made.take(pa.array(kept[-1], pa.int64())))
    whole = stacked(rows)
    answers = front.matrix(whole) if whole.num_rows else np.empty((0, 0))
    standing = front.standing[0]
    found, first = [], 0
    for item, places in zip(coordinates, kept, strict=True):
        table = np.full((item.axis.size - start, len(item.group.outputs)), np.nan)
        if places:
            own = answers[first : first + len(places)]
            table[places] = own[:, item.group.outputs]
            others = np.setdiff1d(np.arange(own.shape[1]), [*item.group.outputs, *computed.outputs])
            if not np.array_equal(own[:, others], np.broadcast_to(standing[others], (len(own), len(others))), True):
                raise Surprise
        first += len(places)
        found.append(table)
    return found


class Evaluator(ABC):
    """One classifier behind its front, as tables.

    Attributes:
        tier: one of `TIERS`.
        axes: whose codes it takes.
        raw: columns whose numbers it takes as they are.
    """

    tier: str
    axes: Sequence[Axis]
    raw: Sequence[str]
    _front: Front
    _coded: Sequence[Coordinate]
    _computed: Computed

    @abstractmethod
    def answer(self, encoded: Encoded) -> npt.NDArray[np.float64]:
        """(n,) probabilities, or margins where those are wanted; NaN where only the estimator can say."""

    def one(self, record: Mapping[str, Any], codes: Mapping[int, int]) -> float | None:
        """The answer for one customer; None if it takes a record batch to say.

        Args:
            codes: by `id` of the axis.
        """
        del record, codes
        return None

    def extend(self, axis: Axis, start: int) -> None:
        """Take in the codes of an axis from `start` on."""
        for place, item in enumerate(self._coded):
            if item.axis is axis:
                (new,) = values_of(self._front, [item], self._computed, start)
                self._grow(place, new)

    @abstractmethod
    def _grow(self, place: int, values: npt.NDArray[np.float64]) -> None:
        """Append (new codes, outputs) to what is kept of a coordinate."""
