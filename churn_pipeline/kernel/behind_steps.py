"""Tables behind transformers that nobody can look into: those run for every batch, and what they make is looked up.

Belongs here: from customers to the frame that such transformers make of them, and on to a record batch. Does not:
which transformers those are (`structure.py`), the tables behind them (`tables.py`), the proof (`proof.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.compile import NotCompiled
from churn_pipeline.kernel.evaluator import Surprise
from churn_pipeline.kernel.frame import frame, repeats
from churn_pipeline.kernel.model_version import ModelInput
from churn_pipeline.kernel.rows import ARROW_TYPES
from churn_pipeline.kernel.tables import Answer, Tables

if TYPE_CHECKING:
    import pandas as pd

#: pandas' type → the signature's. Of others a record batch would make another type, and what comes after might tell.
_KINDS = {
    "category": "string", "bool": "boolean", "float32": "float", "float64": "double", "int32": "integer",
    "int64": "long",
}  # fmt: skip

#: Of how many rows' texts there are no more objects than this share, mostly the same few are meant.
_SHARED = 0.25


class MadeColumns:
    """What a model's first transformers make of customers, as columns of a record batch.

    Args:
        steps: fitted transformers in a row, from a frame to a frame.
        inputs: the model's signature.
        sample: customers that they take.

    Attributes:
        inputs: the columns they make, as a signature.

    Raises:
        NotCompiled: they make no frame, or one that a record batch cannot hold.
    """

    def __init__(self, steps: Sequence[Any], inputs: Sequence[ModelInput], sample: pa.RecordBatch) -> None:
        self._steps, self._taken = tuple(steps), tuple(inputs)
        made = self._run(frame(sample, inputs))
        names = list(getattr(made, "columns", ()))
        if not names or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            raise NotCompiled(f"{self} makes no frame with a name for each column")
        kinds = {name: _kind(made[name]) for name in names}
        if unknown := next((name for name, kind in kinds.items() if not kind), None):
            raise NotCompiled(f"{self} makes a column of type {made[unknown].dtype}")
        self.inputs = tuple(ModelInput(name, kind, required=False) for name, kind in kinds.items())

    def of(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """What n customers become.

        Raises:
            Surprise: another frame than that of the sample.
            Exception: what the transformers raise.
        """
        batch = _with_dictionaries(batch)  # once: the frame is made of them, and so are the codes
        before = frame(batch, self._taken)
        # A copy, as a transformer may write into what it is given; it also keeps every text where it is.
        texts = {item.name: before[item.name].to_numpy().copy() for item in self._taken if item.type == "string"}
        made = self._run(before)
        if list(made.columns) != [item.name for item in self.inputs] or len(made) != batch.num_rows:
            raise Surprise
        arrays = []
        for item in self.inputs:
            column = made[item.name]
            if item.name in texts and item.type == "string" and _is_same(column.to_numpy(), texts[item.name]):
                arrays.append(batch.column(item.name))
            else:
                arrays.append(_array(column, item.type))
        return pa.RecordBatch.from_arrays(arrays, [item.name for item in self.inputs])

    def _run(self, customers: pd.DataFrame) -> Any:
        for step in self._steps:
            customers = step.transform(customers)
        return customers

    def __str__(self) -> str:
        return " and ".join(type(step).__name__ for step in self._steps)


class TablesBehind:
    """Tables that answer for what `MadeColumns` makes; where `Tables` may stand, this may."""

    def __init__(self, made: MadeColumns, tables: Tables) -> None:
        self._made, self._tables = made, tables

    @property
    def tier(self) -> str:
        """That of the tables."""
        return self._tables.tier

    @property
    def runs_code(self) -> bool:
        """Always: the first transformers."""
        return True

    def answer(self, batch: pa.RecordBatch) -> Answer:
        """Answer for n customers: see `Tables.answer`."""
        return self._tables.answer(self._made.of(batch))

    def one(self, record: Mapping[str, Any]) -> float | None:
        """None: it takes a frame to say."""
        del record
        return None

    def breaks(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """None of a column of the customer is known."""
        return {}

    def __str__(self) -> str:
        return f"behind {self._made}"


def _with_dictionaries(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with all text of few words as dictionaries."""
    columns = [c.dictionary_encode() if pa.types.is_string(c.type) and repeats(c) else c for c in batch.columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def _kind(column: pd.Series) -> str:
    """Type in the signature; empty if there is none."""
    if column.dtype == object:
        kinds = {type(value) for value in column.dropna().unique()}
        if all(issubclass(kind, str) for kind in kinds):
            return "string"
        return "boolean" if all(issubclass(kind, bool | np.bool_) for kind in kinds) else ""
    return _KINDS.get(str(column.dtype), "")


def _array(column: pd.Series, kind: str) -> pa.Array:
    # A column of whole numbers is one of doubles as soon as a number is missing, one of truth values one of objects.
    found = kind if column.dtype == object else _KINDS.get(str(column.dtype), "")
    if found != kind and not (kind == "double" and found in ("integer", "long")):
        raise Surprise
    if kind == "string":
        return _text(column)
    try:
        return pa.array(column.to_numpy(), from_pandas=True).cast(ARROW_TYPES[kind])
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        raise Surprise from None


def _text(column: pd.Series) -> pa.DictionaryArray:
    """Text as a dictionary; what is missing has to be NaN, as in every frame that is made of a record batch."""
    codes, words = _factorized(column)
    missing = codes < 0
    if not all(isinstance(word, str) for word in words):
        raise Surprise
    if missing.any() and not all(isinstance(item, float) for item in column.to_numpy()[missing]):
        raise Surprise
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32), mask=missing), pa.array(list(words), pa.string())
    )


def _factorized(column: pd.Series) -> tuple[npt.NDArray[np.intp], Any]:
    """Codes and words, by where the words are if that says enough: what they are takes ten times as long."""
    if column.dtype != object:
        return column.factorize()
    objects = column.to_numpy()
    found = pa.array(_addresses(objects)).dictionary_encode()
    if len(found.dictionary) > len(objects) * _SHARED:
        return column.factorize()
    rows = np.empty(len(found.dictionary), np.intp)
    places = found.indices.to_numpy()
    rows[places] = np.arange(len(places))  # one in which each of them stands
    codes, words = column.iloc[rows].factorize()
    return codes[places], words


def _is_same(made: npt.NDArray[np.object_], before: npt.NDArray[np.object_]) -> bool:
    """Whether two columns hold the very same objects, by where they are: what they are takes thirty times as long."""
    return made.dtype == object and np.array_equal(_addresses(made), _addresses(before))


def _addresses(objects: npt.NDArray[np.object_]) -> npt.NDArray[np.intp]:
    found = objects.__array_interface__
    return np.asarray(_Memory({name: found[name] for name in ("shape", "strides", "data", "version")}))


class _Memory:
    """Somebody else's memory, read as whole numbers; NumPy has no view of objects."""

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = {**interface, "typestr": np.dtype(np.intp).str}
