"""From the sum of the leaves to a probability.

Belongs here: the few functions that tree libraries use, each giving the library's own numbers. Does not: reading
ensembles (`forest_readers.py`, `booster_readers.py`). Each one can be pickled: plans travel to other processes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from churn_pipeline.kernel.forests.forest import Floats

Margins = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Logistic:
    """1 / (1 + exp(-scale * margin)), or what is missing from it to 1 where class 0 is the positive one."""

    positive: int = 1
    scale: float = 1.0

    def __call__(self, margins: Margins) -> Floats:
        # numpy's exponential is vectorised, scipy's expit is not; on some processors they differ in the last bit.
        with np.errstate(over="ignore"):
            found = np.exp(np.asarray(margins, dtype=np.float64) * -self.scale)
        found += 1
        np.reciprocal(found, out=found)
        return found if self.positive else 1 - found


@dataclass(frozen=True)
class Mean:
    """The mean of the trees' own probabilities."""

    trees: int

    def __call__(self, margins: Margins) -> Floats:
        return margins / np.float64(self.trees)


#: Rows up to which asking XGBoost costs more than working out what it would say.
FEW = 64


@dataclass(frozen=True)
class BoosterSigmoid:
    """XGBoost's own sigmoid, in float32.

    It uses the C library's float32 exponential, which numpy's differs from in the last bit on one row in four
    thousand or more, so the library itself is asked: a booster of one leaf of 0 that starts from the given margins.
    For a few rows, where a call is dear, only if the exponential in float64 lies so near the middle of two float32
    numbers that the C library might round it the other way.

    Attributes:
        model: such a booster with one column, as XGBoost's JSON.
    """

    model: bytes
    positive: int = 1
    _loaded: list[Any] = field(default_factory=list, repr=False, compare=False)

    def __call__(self, margins: Margins) -> Floats:
        booster, few = self._load()
        if few and len(margins) <= FEW:
            found, sure = _sigmoid(margins)
            if not sure.all():
                found[~sure] = _asked(booster, margins[~sure])
        else:
            found = _asked(booster, margins)
        return np.asarray(found if self.positive else 1 - found, dtype=np.float64)

    def start(self) -> float:
        """Margin of a row that no tree has seen."""
        return float(_asked(self._load()[0], None)[0])

    def _load(self) -> tuple[Any, bool]:
        """The booster, loaded once a process, and whether what is sure by arithmetic is what it says here."""
        if not self._loaded:
            import xgboost

            booster = xgboost.Booster({"nthread": 1}, model_file=bytearray(self.model))
            tried = np.linspace(-30, 30, 20_001, dtype=np.float32)
            found, sure = _sigmoid(tried)
            self._loaded.append((booster, bool((found == _asked(booster, tried))[sure].all())))
        return self._loaded[0]

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model, "positive": self.positive, "_loaded": []}


def _asked(booster: Any, margins: Margins | None) -> npt.NDArray[np.float32]:
    """What the booster makes of margins; without any its own first margin."""
    if margins is None:
        rows = np.zeros((1, 1), dtype=np.float32)
        return booster.inplace_predict(rows, predict_type="margin", validate_features=False)
    if not len(margins):
        return np.zeros(0, dtype=np.float32)
    rows = np.zeros((len(margins), 1), dtype=np.float32)
    return booster.inplace_predict(rows, base_margin=margins, validate_features=False)


def _sigmoid(margins: Margins) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """XGBoost's `common::Sigmoid` with a correctly rounded exponential, and where that is beyond doubt.

    The C library's is off by little more than half a unit in the last place, so that only numbers within 2 % of a
    unit around the middle are in doubt.
    """
    exact = np.exp(np.minimum(-margins, np.float32(88.7)).astype(np.float64))
    rounded = exact.astype(np.float32)
    sure = np.abs(exact - rounded) < 0.48 * np.spacing(rounded).astype(np.float64)
    return np.float32(1) / (rounded + np.float32(1) + np.float32(1e-16)), sure
