"""The real fitted transformers before a classifier, asked for values: of whole rows, or of some columns only.

Belongs here: calling them. Does not: what they are (`structure.py`), which columns go together (`separable.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel import structure
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput

#: Types of the signature whose values nobody can list.
_NUMBERS = frozenset({"double", "float", "integer", "long"})


@dataclass(frozen=True)
class Made:
    """Outputs that are products of columns.

    Attributes:
        columns: of the customer.
        before: what is done to them before they are multiplied.
        powers: (outputs, columns).
        outputs: places of the products.
    """

    columns: tuple[str, ...]
    before: tuple[Any, ...]
    powers: npt.NDArray[np.intp]
    outputs: npt.NDArray[np.intp]


class Front:
    """Transformers in a row, from the signature's columns to a matrix of numbers.

    Args:
        chain: fitted transformers; none is the frame itself.
        inputs: the model's signature.
        base: one customer that they take; stands in for columns that are not asked for.
    """

    def __init__(self, chain: Sequence[Any], inputs: Sequence[ModelInput], base: pa.RecordBatch) -> None:
        self.chain = tuple(chain)
        self.inputs = tuple(inputs)
        self.base = base
        self._names = [item.name for item in inputs]
        self._blocks = structure.blocks(self.chain[0], self._names) if self.chain else None

    def raw(self, batch: pa.RecordBatch) -> Any:
        """What the classifier would be given for these customers, in the container the last transformer gives."""
        found = frame(batch, self.inputs)
        with quiet():
            for transformer in self.chain:
                found = transformer.transform(found)
        return found

    def matrix(self, batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
        """(n, outputs) as numbers.

        Raises:
            Exception: what the transformers raise, or ValueError for outputs that are no numbers.
        """
        return structure.dense(self.raw(batch)).astype(np.float64, copy=False)

    def with_gaps(self) -> Front:
        """The same, for a classifier that takes zeros of a sparse matrix for missing: they come out as NaN."""
        return _Gappy(self.chain, self.inputs, self.base)

    @property
    def sparse(self) -> bool:
        """Whether its answers are sparse matrices."""
        return hasattr(self.sample, "toarray")

    @cached_property
    def sample(self) -> Any:
        """Outputs of the base customer, as a container."""
        return self.raw(self.base)

    @cached_property
    def standing(self) -> npt.NDArray[np.float64]:
        """(1, outputs) of the base customer, as numbers."""
        return self.matrix(self.base)

    def contain(self, matrix: npt.NDArray[np.float64]) -> Any:
        """A matrix in the container and type of the last transformer's own answers, as the classifier knows them."""
        like = self.sample
        kinds = like.dtypes.to_dict() if hasattr(like, "columns") else like.dtype
        # A sparse one too: making it sparse again would cost more than the classifier saves, of the same numbers.
        return _contained(matrix, like).astype(kinds, copy=False)

    def together(self) -> list[tuple[str, ...]]:
        """Columns that some transformer may combine, as nobody knows that it does not; the others are each alone."""
        first = self._blocks
        if first is None:
            known = all(structure.columnwise(step) for step in self.chain)
            return [] if known else [tuple(self._names)]
        if not all(structure.columnwise(step) for step in self.chain[1:]):
            return [tuple(self._names)]
        return [block.columns for block in first if not structure.columnwise(block.transformer)]

    def foreign(self, columns: Sequence[str]) -> bool:
        """Whether code that nobody knows has a say in what becomes of these columns."""
        return any(not set(columns).isdisjoint(combined) for combined in self.together())

    def monotone(self, column: str) -> bool:
        """Whether every output that depends on a column is known to be a monotone function of it."""
        if not all(structure.monotone(step) for step in self.chain[1:]):
            return False
        if self._blocks is None:
            return not self.chain or structure.monotone(self.chain[0])
        return all(structure.monotone(block.transformer) for block in self._blocks if column in block.columns)

    def jumps(self, column: str) -> npt.NDArray[np.float64] | None:
        """The numbers from which on something changes that depends on a column; None if it may change elsewhere too."""
        if not self.chain or not all(structure.columnwise(step) for step in self.chain[1:]):
            return None
        blocks = self._blocks
        if blocks is None:
            blocks = [structure.Block(tuple(self._names), np.arange(0), self.chain[0])]
        touched = [block for block in blocks if column in block.columns]
        found = [structure.edges(block.transformer, block.columns.index(column)) for block in touched]
        known = [edges for edges in found if edges is not None]
        return np.unique(np.concatenate(known)) if known and len(known) == len(found) else None

    def bends(self, column: str) -> np.ufunc | None:
        """The universal function of NumPy of which all that depends on a column is an affine one; None if none is."""
        if self._blocks is None or not all(structure.columnwise(step) for step in self.chain[1:]):
            return None
        touched = [block for block in self._blocks if column in block.columns]
        return structure.bends(touched[0].transformer) if len(touched) == 1 else None

    def products(self, columns: Sequence[str]) -> Made | None:
        """What multiplies these columns, if it does nothing but that and scaling."""
        if self._blocks is None:
            found = structure.products(self.chain)
            return Made(tuple(self._names), *found, np.arange(len(found[1]))) if found else None
        touched = [block for block in self._blocks if not set(columns).isdisjoint(block.columns)]
        if len(touched) != 1 or isinstance(touched[0].transformer, str):
            return None
        found = structure.products(structure.transformers([("", touched[0].transformer)]) + self.chain[1:])
        return Made(touched[0].columns, *found, touched[0].outputs) if found else None

    def unsure(self) -> list[tuple[tuple[str, ...], npt.NDArray[np.intp]]]:
        """Columns that may decide some outputs although no probing shows it, and these outputs.

        A monotone function that is the same at both ends is so in between, and both sides of every jump are tried. Of
        any other function of numbers, and of whatever may combine columns, nobody can say what it does with what was
        not tried.
        """
        unknown = {name for columns in self.together() for name in columns}
        numbers = [item.name for item in self.inputs if item.type in _NUMBERS]
        unknown |= {name for name in numbers if not self.monotone(name) and self.jumps(name) is None}
        if self._blocks is None or (handed_on := self._handed_on) is None:
            # Which of the columns decides an output is not known either.
            return [(tuple(self._names), np.arange(self.standing.shape[1]))] if unknown else []
        parts = [(block.columns, np.flatnonzero(np.isin(handed_on, block.outputs))) for block in self._blocks]
        found = [(tuple(name for name in self._names if name in unknown & set(names)), out) for names, out in parts]
        return [(columns, outputs) for columns, outputs in found if columns]

    def needs(self, columns: Sequence[str]) -> list[str]:
        """Columns that must be at hand to compute what depends on `columns`."""
        if self._blocks is None:
            return self._names if self.chain else list(columns)
        wanted = set(columns)
        touched = [block.columns for block in self._blocks if wanted & set(block.columns)]
        return [name for name in self._names if any(name in columns for columns in touched)]

    def partial(
        self, batch: pa.RecordBatch, columns: Sequence[str], outputs: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        """(n, outputs) those outputs, which depend on `columns` only.

        Runs the real transformers of these columns, and no others where the first one sends columns to several.

        Args:
            batch: at least the columns of `needs(columns)`.
        """
        if self._blocks is None:
            return self.matrix(self._completed(batch))[:, outputs]
        wanted = set(columns)
        touched = [block for block in self._blocks if wanted & set(block.columns)]
        handed_on = self._handed_on
        if handed_on is not None:
            outputs = handed_on[outputs]
            touched = [block for block in touched if np.isin(outputs, block.outputs).any()]
        kept = [item for item in self.inputs if any(item.name in block.columns for block in touched)]
        found = frame(batch, kept)
        # Not quiet(): that is no business of one thread of several.
        with np.errstate(all="ignore"):
            if handed_on is not None:
                matrix = np.empty((batch.num_rows, len(outputs)))
                for block in touched:
                    own = np.isin(outputs, block.outputs)
                    matrix[:, own] = block.transform(found)[:, outputs[own] - block.outputs[0]]
                return matrix
            # Later steps need whole rows, by name if they were fitted so.
            rows = np.repeat(self._first_of_base, batch.num_rows, axis=0)
            for block in touched:
                rows[:, block.outputs] = block.transform(found)
            after = _contained(rows, self._first_answer)
            for transformer in self.chain[1:]:
                after = transformer.transform(after)
        return structure.dense(after)[:, outputs].astype(np.float64, copy=False)

    @cached_property
    def _first_answer(self) -> Any:
        with quiet():
            return self.chain[0].transform(frame(self.base, self.inputs))

    @cached_property
    def _first_of_base(self) -> npt.NDArray[np.float64]:
        return structure.dense(self._first_answer).astype(np.float64, copy=False)

    @cached_property
    def _handed_on(self) -> npt.NDArray[np.intp] | None:
        """Which output of the first transformer each output is; None where later ones do more than select."""
        places = np.arange(self._first_of_base.shape[1])
        if not all(structure.selects(step) for step in self.chain[1:]):
            return None
        found = _contained(places[None, :].astype(np.float64), self._first_answer)
        with quiet():
            for transformer in self.chain[1:]:
                found = transformer.transform(found)
        return structure.dense(found)[0].astype(np.intp)

    def _completed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with the base customer's values in the columns it lacks."""
        arrays = []
        for name in self._names:
            if name in batch.schema.names:
                arrays.append(batch.column(name))
            else:
                arrays.append(self.base.column(name).take(pa.array(np.zeros(batch.num_rows, np.int32))))
        return pa.RecordBatch.from_arrays(arrays, self._names)


class _Gappy(Front):
    def matrix(self, batch: pa.RecordBatch) -> npt.NDArray[np.float64]:
        found = super().matrix(batch)
        return np.where(found == 0, np.nan, found)

    def partial(
        self, batch: pa.RecordBatch, columns: Sequence[str], outputs: npt.NDArray[np.intp]
    ) -> npt.NDArray[np.float64]:
        found = super().partial(batch, columns, outputs)
        return np.where(found == 0, np.nan, found)


def _contained(matrix: npt.NDArray[np.float64], like: Any) -> Any:
    """The matrix as a frame with the columns of another answer, if that is one."""
    return type(like)(matrix, columns=like.columns) if hasattr(like, "columns") else matrix


@contextmanager
def quiet() -> Iterator[None]:
    """Silences what transformers say of unseen values and arithmetic: what comes of them is looked at instead."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
