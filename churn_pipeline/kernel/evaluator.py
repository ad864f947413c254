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


#: Made-up customers that the transformers are asked about at once: of many new words each has a column of its own.
_AT_ONCE = 4_096


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
    """What the real front makes of each code's values.

    A code that the model refuses is NaN throughout; nobody looks at it, as its rows are refused too.

    Args:
        computed: whose outputs may change as they like.

    Returns:
        For each coordinate (codes from `start` on, outputs of its group).

    Raises:
        Surprise: a value changed an output that its columns were not known to decide, or says one thing in one company
            and another in another.
    """
    kept = [
        np.array([i for i in range(item.axis.size - start) if start + i not in item.axis.refused], np.intp)
        for item in coordinates
    ]
    found = [np.full((item.axis.size - start, len(item.group.outputs)), np.nan) for item in coordinates]
    if not any(len(places) for places in kept):
        return found
    made = [changed(front.base, item.axis.values(start)) for item in coordinates]
    whole = stacked([rows.take(pa.array(places)) for rows, places in zip(made, kept, strict=True)])
    owner = np.repeat(np.arange(len(kept)), [len(places) for places in kept])
    place = np.concatenate(kept)
    foreign = any(front.foreign(item.group.columns) for item in coordinates)
    for first in range(0, whole.num_rows, _AT_ONCE):
        answers = _asked(front, whole.slice(first, _AT_ONCE), foreign=foreign)
        here = slice(first, first + len(answers))
        for number in np.unique(owner[here]):
            group, own = coordinates[number].group, answers[owner[here] == number]
            found[number][place[here][owner[here] == number]] = own[:, group.outputs]
            others = np.setdiff1d(np.arange(own.shape[1]), [*group.outputs, *computed.outputs])
            standing = np.broadcast_to(front.standing[0, others], (len(own), len(others)))
            if not np.array_equal(own[:, others], standing, equal_nan=True):
                raise Surprise
    return found


def _asked(front: Front, rows: pa.RecordBatch, *, foreign: bool) -> npt.NDArray[np.float64]:
    """What the front makes of rows, in two companies if code that nobody knows has a say.

    Such code may take the form of all dates from the first one, and passed the proof as all dates were alike.
    """
    if not foreign:
        return front.matrix(rows)
    found = front.matrix(stacked([front.base, rows]))[1:]
    backwards = rows.take(pa.array(np.arange(rows.num_rows)[::-1]))
    if not np.array_equal(front.matrix(stacked([backwards, front.base]))[-2::-1], found, equal_nan=True):
        raise Surprise
    return found


class Evaluator(ABC):
    """One classifier behind its front, as tables.

    Attributes:
        tier: one of `TIERS`.
        axes: whose codes it takes.
        raw: columns whose numbers it takes as they are.
        front: what stands before the classifier.
        coded: groups whose values have codes.
        computed: groups for which the real transformers run.
    """

    tier: str
    axes: Sequence[Axis]
    raw: Sequence[str]
    computed: Computed
    front: Front
    coded: Sequence[Coordinate]

    @property
    def taken(self) -> Sequence[str]:
        """Columns that it looks at without codes, and says itself where it cannot answer."""
        return self.computed.columns

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
        for place, item in enumerate(self.coded):
            if item.axis is axis:
                (new,) = values_of(self.front, [item], self.computed, start)
                self._grow(place, new)

    @abstractmethod
    def _grow(self, place: int, values: npt.NDArray[np.float64]) -> None:
        """Append (new codes, outputs) to what is kept of a coordinate."""
