"""Where a continuous column crosses the thresholds of a model's trees, in the column's own unit.

Belongs here: bisection through the real transformers. Does not: thresholds (`forest.py`), codes (`codes.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import LARGEST_WHOLE, largest, numbers
from churn_pipeline.kernel.cuts import of_rank, rank
from churn_pipeline.kernel.front import Front
from churn_pipeline.kernel.rows import changed


@dataclass(frozen=True)
class Crossing:
    """Thresholds of one output, which one column alone decides, monotonously.

    Attributes:
        thresholds: what lies between two of them, the upper one included, is all the same to the trees.
    """

    column: str
    output: int
    thresholds: npt.NDArray[np.float64]


def breaks(front: Front, crossings: Sequence[Crossing]) -> dict[str, npt.NDArray[np.float64]]:
    """The largest number of each column before each threshold is crossed, found among all its type has.

    All thresholds of all columns are bisected side by side: 64 calls of the transformers, whatever their number.

    Returns:
        Column → ascending break points, each once; none for a threshold that nothing crosses.
    """
    columns = np.concatenate([np.repeat(item.column, len(item.thresholds)) for item in crossings])
    outputs = np.concatenate([np.repeat(item.output, len(item.thresholds)) for item in crossings])
    outputs, wanted = np.unique(outputs, return_inverse=True)
    thresholds = np.concatenate([item.thresholds for item in crossings])
    names = list(dict.fromkeys(item.column for item in crossings))
    kinds = {name: front.base.schema.field(name).type for name in names}
    whole = np.array([pa.types.is_integer(kinds[item.column]) for item in crossings])
    whole = np.repeat(whole, [len(item.thresholds) for item in crossings])
    standing = {name: numbers(front.base.column(name).fill_null(0))[0] for name in names}

    def number(places: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
        return np.where(whole, places.astype(np.int64) - LARGEST_WHOLE, of_rank(places))

    def place(points: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
        # Added as whole numbers: the sum is beyond those that doubles keep apart.
        from_lowest = np.where(whole, points, 0.0).astype(np.int64) + LARGEST_WHOLE
        return np.where(whole, from_lowest.astype(np.uint64), rank(points))

    def left(places: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        values = number(places)
        rows = {name: np.where(columns == name, values, standing[name]) for name in names}
        batch = changed(front.base, {name: pa.array(found).cast(kinds[name]) for name, found in rows.items()})
        return front.partial(batch, names, outputs)[np.arange(len(values)), wanted] <= thresholds

    most = np.array([largest(kinds[name]) for name in columns.tolist()], dtype=np.float64)
    low, high = place(-most), place(most)
    start, end = left(low), left(high)
    for _ in range(64):
        middle = low + (high - low) // np.uint64(2)
        same = left(middle) == start
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    found = number(low)
    crossed = start != end
    return {name: np.unique(found[crossed & (columns == name)]) for name in names}
