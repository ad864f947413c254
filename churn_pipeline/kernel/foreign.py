"""Code that nobody knows, asked again and again whether it still says what tables were made of.

Belongs here: functions and classes of the model's author, over values that have codes. Does not: such code over values
that have none, which runs for every batch (`Computed`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.evaluator import Coordinate, Evaluator
from churn_pipeline.kernel.front import Front
from churn_pipeline.kernel.rows import changed

#: Seconds between two times, and how many times as long as asking takes: a fiftieth of the time goes into it.
_SECONDS, _SHARE = 1.0, 50.0


class Foreign:
    """What foreign code said of each coded value: it may read a clock, or something else that changes."""

    def __init__(self, evaluators: Iterable[Evaluator]) -> None:
        self._asked = [
            (item.front, coordinate)
            for item in evaluators
            for coordinate in item.coded
            if item.front.foreign(coordinate.group.columns)
        ]
        self._said = [_said(front, coordinate) for front, coordinate in self._asked]
        self._next = time.monotonic() + _SECONDS

    def says_the_same(self) -> bool:
        """False if it says something else by now; asks at most once a second."""
        started = time.monotonic()
        if not self._asked or started < self._next:
            return True
        now = [_said(front, coordinate) for front, coordinate in self._asked]
        # Codes that have come since are at the end.
        same = all(
            len(one) <= len(other) and np.array_equal(one, other[: len(one)], equal_nan=True)
            for one, other in zip(self._said, now, strict=True)
        )
        self._said, ended = now, time.monotonic()
        self._next = ended + max(_SECONDS, _SHARE * (ended - started))
        return same

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Another process has another clock.
        self.__dict__.update(state, _next=0.0)


def _said(front: Front, coordinate: Coordinate) -> npt.NDArray[np.float64]:
    """(codes, outputs) what the front makes of each code's values; of those that the model refuses nothing."""
    axis = coordinate.axis
    kept = [code for code in range(axis.size) if code not in axis.refused]
    rows = changed(front.base, axis.values(0)).take(pa.array(kept, pa.int64()))
    found = np.full((axis.size, len(coordinate.group.outputs)), np.nan)
    if kept:
        columns = coordinate.group.columns
        found[kept] = front.partial(rows.select(front.needs(columns)), columns, coordinate.group.outputs)
    return found
