"""Where a continuous column crosses the thresholds of a model's trees, in the column's own unit.

Belongs here: bisection through the real transformers. Does not: thresholds (`forest.py`), codes (`codes.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import LARGEST, of_rank, rank
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
    """The largest number of each column before each threshold is crossed, found among all doubles there are.

    All thresholds of all columns are bisected side by side: 64 calls of the transformers, whatever their number.

    Returns:
        Column → ascending break points, each once; none for a threshold that nothing crosses.
    """
    columns = np.concatenate([np.repeat(item.column, len(item.thresholds)) for item in crossings])
    outputs = np.concatenate([np.repeat(item.output, len(item.thresholds)) for item in crossings])
    thresholds = np.concatenate([item.thresholds for item in crossings])
    names = list(dict.fromkeys(item.column for item in crossings))

    def left(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        standing = {name: front.base.column(name).cast(pa.float64()).fill_null(0.0)[0].as_py() for name in names}
        rows = {name: np.where(columns == name, values, standing[name]) for name in names}
        batch = changed(front.base, {name: pa.array(found) for name, found in rows.items()})
        return front.partial(batch, names)[np.arange(len(values)), outputs] <= thresholds

    low = rank(np.full(len(thresholds), -LARGEST))
    high = rank(np.full(len(thresholds), LARGEST))
    start, end = left(of_rank(low)), left(of_rank(high))
    for _ in range(64):
        middle = low + (high - low) // np.uint64(2)
        same = left(of_rank(middle)) == start
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    found = of_rank(low)
    crossed = start != end
    return {name: np.unique(found[crossed & (columns == name)]) for name in names}
