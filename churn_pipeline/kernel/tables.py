"""A compiled model: evaluators for its classifiers, and how their answers become one probability.

Belongs here: answering for record batches, and growing when new values come up. Does not: compiling (`compile.py`),
evaluators (one file each), proving (`proof.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import Axis, TooManyValues, is_number, largest, out_of_reach
from churn_pipeline.kernel.encoded import Encoded
from churn_pipeline.kernel.evaluator import TIERS, Evaluator, Surprise
from churn_pipeline.kernel.explanations.explanation import Explanation, Floats
from churn_pipeline.kernel.foreign import Foreign
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.intervals import Intervals
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.node import Calibrated, Leaf, Mean, Node, Stacked
from churn_pipeline.kernel.rows import changed, stacked
from churn_pipeline.kernel.separable import refusals

#: How far two sums of a linear margin's terms may be apart, to a margin of 1, and how much a calibrator may make of it.
_ROUNDING, _STEP = 1e-14, 5e-13


@dataclass(frozen=True)
class Answer:
    """What the tables say of n customers.

    Attributes:
        probability: (n,) of churn; NaN where only the estimator can say, and for refused rows.
        refused: row → column, value and kind of error, for values that the model does not take.
    """

    probability: npt.NDArray[np.float64]
    refused: Mapping[int, tuple[str, str]]


class Tables:
    """A model's classifiers as tables. Safe to ask from several threads; they take turns.

    Args:
        sample: customers that the estimator scores.
        node: how the classifiers are combined.
        evaluators: of each leaf of `node`.
        unasked: codes that no evaluator asks for, of which some are refused.
        compiled: whether numba may be used.
    """

    def __init__(
        self,
        model: ModelVersion,
        estimator: Any,
        sample: pa.RecordBatch,
        node: Node,
        evaluators: Sequence[tuple[Leaf, Evaluator]],
        unasked: Sequence[Axis] = (),
        *,
        compiled: bool,
    ) -> None:
        self._model, self._estimator, self._sample, self._base = model, estimator, sample, sample.slice(0, 1)
        self._node, self._evaluators = node, list(evaluators)
        axes = [*(axis for _, item in evaluators for axis in item.axes), *unasked]
        self._axes: list[Axis] = list({id(axis): axis for axis in axes}.values())
        self._raw = list(dict.fromkeys(name for _, item in evaluators for name in item.raw))
        self._admitted = [axis.size for axis in self._axes]
        self._whole = True
        self._compiled = compiled
        self._explanation: Explanation | None = None
        self._lock = threading.Lock()
        self._foreign = Foreign(evaluator for _, evaluator in evaluators)

    @property
    def tier(self) -> str:
        """The slowest tier that any of the classifiers needs."""
        return max((item.tier for _, item in self._evaluators), key=TIERS.index)

    @property
    def runs_code(self) -> bool:
        """Whether real transformers or a real classifier run for every batch."""
        return self.tier == "matrix" or any(item.computed.columns for _, item in self._evaluators)

    def breaks(self) -> dict[str, npt.NDArray[np.float64]]:
        """Column → the numbers at which some tree changes its mind."""
        found: dict[str, list[npt.NDArray[np.float64]]] = {}
        for axis in self._axes:
            if isinstance(axis, Intervals):
                found.setdefault(axis.columns[0], []).append(axis.breaks)
        return {column: np.unique(np.concatenate(points)) for column, points in found.items()}

    def answer(self, batch: pa.RecordBatch) -> Answer:
        """Answer for n customers.

        Raises:
            TooManyValues, Surprise, pyarrow.ArrowInvalid: the estimator must answer for these customers.
            Exception: what the real transformers or the classifier raise, if any of them runs.
        """
        with self._lock:
            encoded = self._encoded(batch)
            with np.errstate(all="ignore"):
                probability = self._of(self._node, encoded)
        return Answer(probability, self._leave_out(encoded, probability))

    def explanation(self, make: Callable[[Evaluator, Encoded, bool], Explanation]) -> Explanation | None:
        """What explains the probability; None where it is no classifier's own answer, but several's or a calibrator's.

        Args:
            make: makes it of the classifier's evaluator, the customers it was compared on, and whether numba may be
                used; is called once.
        """
        with self._lock:
            if self._explanation is None and isinstance(self._node, Leaf):
                evaluator = self._evaluator(self._node)
                self._explanation = make(evaluator, self._encoded(self._sample), self._compiled)
            return self._explanation

    def contributions(self, batch: pa.RecordBatch, explanation: Explanation) -> Floats:
        """(columns, n) what the columns of n customers contribute; NaN for rows of which `answer` would say NaN.

        Raises:
            TooManyValues, Surprise: nothing can be said of these customers.
            Exception: what the real transformers raise, if any of them runs.
        """
        with self._lock:
            encoded = self._encoded(batch)
            with np.errstate(all="ignore"):
                found = explanation.contributions(encoded)
        self._leave_out(encoded, found)
        return found

    def _encoded(self, batch: pa.RecordBatch) -> Encoded:
        """Customers, all of whose values the evaluators know."""
        if not self._is_whole():
            raise Surprise
        encoded = Encoded(self._in_32_bits(batch))
        for place, axis in enumerate(self._axes):
            if axis.continuous:
                continue  # nothing is new to it, and perhaps nobody asks for its codes
            try:
                encoded.coded(axis)
            except TooManyValues:
                self._whole = False  # looking in vain would cost every batch to come
                raise
            if axis.size > self._admitted[place]:
                self._admit(place)
        return encoded

    def _in_32_bits(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with whole numbers as short as the model takes them; raises if one is too large."""
        for field in self._base.schema:
            place = batch.schema.get_field_index(field.name)
            if pa.types.is_int32(field.type) and batch.schema.field(place).type != field.type:
                batch = batch.set_column(place, field.name, batch.column(place).cast(field.type))
        return batch

    def _is_whole(self) -> bool:
        """Whether the tables know all codes, and foreign code still says of them what they know."""
        self._whole = self._whole and self._foreign.says_the_same()
        return self._whole

    def _leave_out(self, encoded: Encoded, found: Floats) -> dict[int, tuple[str, str]]:
        """Set NaN, along the last axis, where only the estimator can say, and for refused rows; returns those."""
        for name in self._raw:
            if any(encoded.is_small(axis) for axis in self._axes if axis.columns == (name,)):
                continue
            kind = self._base.schema.field(name).type
            if is_number(kind) and (far := out_of_reach(encoded.batch.column(name), largest(kind))) is not None:
                found[..., far] = np.nan
        refused = self._refused(encoded)
        if refused:
            found[..., list(refused)] = np.nan
        return refused

    def one(self, record: Mapping[str, Any]) -> float | None:
        """Probability for one customer; None if it takes the estimator, or a record batch, to say.

        Args:
            record: every column of the signature, in its type; None where a value is missing.
        """
        with self._lock:
            if not self._is_whole():
                return None
            codes: dict[int, int] = {}
            for axis in self._axes:
                code = axis.code(record)
                if code is None or code in axis.refused:
                    return None
                codes[id(axis)] = code
            return self._one(self._node, record, codes)

    def _one(self, node: Node, record: Mapping[str, Any], codes: Mapping[int, int]) -> float | None:
        if isinstance(node, Leaf):
            return self._evaluator(node).one(record, codes)
        parts = (node.part,) if isinstance(node, Calibrated) else node.parts
        answers = [self._one(part, record, codes) for part in parts]
        known = np.array([[answer] for answer in answers if answer is not None])
        if len(known) < len(answers):
            return None
        found = float(self._combined(node, known)[0])
        return None if np.isnan(found) else found

    def _admit(self, place: int) -> None:
        """Show new values of an axis to the estimator, once each, and take them into the tables."""
        axis = self._axes[place]
        start, self._admitted[place] = self._admitted[place], axis.size
        self._whole = False  # until every evaluator has them
        find_refused(self._estimator, self._model, self._base, [axis], start)
        for _, evaluator in self._evaluators:
            evaluator.extend(axis, start)
        self._whole = True
        if self._explanation is not None:
            self._explanation.extend(axis, start)

    def _refused(self, encoded: Encoded) -> dict[int, tuple[str, str]]:
        found: dict[int, tuple[str, str]] = {}
        for axis in self._axes:
            if not axis.refused:
                continue
            coded = encoded.coded(axis)
            if (rows := coded.has(np.array(list(axis.refused)))) is None:
                continue
            values = axis.values(0)
            for row in np.flatnonzero(rows).tolist():
                code = int(coded.table[coded.index[row]])
                said = ", ".join(f"{name} is {_shown(values[name][code])}" for name in axis.columns)
                found.setdefault(row, (axis.refused[code], f"the model does not take this customer: {said}"))
        return found

    def _evaluator(self, leaf: Leaf) -> Evaluator:
        return next(evaluator for known, evaluator in self._evaluators if known is leaf)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the lock: a copy in another process takes turns with nobody here."""
        with self._lock:
            return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _of(self, node: Node, encoded: Encoded) -> npt.NDArray[np.float64]:
        if isinstance(node, Leaf):
            return self._evaluator(node).answer(encoded)
        parts = (node.part,) if isinstance(node, Calibrated) else node.parts
        return self._combined(node, np.array([self._of(part, encoded) for part in parts]))

    def _combined(self, node: Mean | Calibrated | Stacked, found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """(n,) what the parts' answers (parts, n) come to; NaN where only the estimator can say."""
        answer = _combined(node, found)
        if isinstance(node, Calibrated) and isinstance(node.part, Leaf) and self._evaluator(node.part).tier == "linear":
            answer[_is_steep(node, found[0])] = np.nan
        return answer


def find_refused(
    estimator: Any, model: ModelVersion, base: pa.RecordBatch, axes: Sequence[Axis], start: int = 0
) -> None:
    """Note in each axis the codes from `start` on whose values the estimator does not take, with the kind of error."""
    if not axes:
        return
    rows = [changed(base, axis.values(start)) for axis in axes]
    # All axes in one question: a call of the estimator costs more than the rows in it.
    found = refusals(lambda some: estimator.predict_proba(frame(some, model.inputs)), stacked(rows))
    first = 0
    for axis, asked in zip(axes, rows, strict=True):
        own = range(first, first + asked.num_rows)
        axis.refused.update({start + row - first: kind for row, kind in found.items() if row in own})
        first += asked.num_rows


def _combined(node: Mean | Calibrated | Stacked, found: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) what the parts' answers (parts, n) come to; NaN where one of them is."""
    if isinstance(node, Mean):
        return np.average(found, axis=0, weights=node.weights)
    known = np.isfinite(found).all(axis=0)
    answer = np.full(found.shape[1], np.nan)
    if not known.any():
        return answer
    if isinstance(node, Stacked):
        answer[known] = node.final.predict_proba(found[:, known].T)[:, node.positive]
        return answer
    answer[known] = node.calibrator.predict(found[0, known])
    return 1 - answer if node.flip else answer


def _is_steep(node: Calibrated, margins: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(n,) where a calibrator makes more of a margin's rounding than may be: isotonic ones have steps."""
    rounding = _ROUNDING * np.maximum(1.0, np.abs(margins))
    steep = np.zeros(len(margins), dtype=bool)
    known = np.isfinite(margins)
    above, below = (node.calibrator.predict((margins + side * rounding)[known]) for side in (1, -1))
    steep[known] = np.abs(above - below) > _STEP
    return steep


def _shown(value: Any) -> str:
    return "missing" if value is None else repr(value)
