"""Which columns of a customer decide which columns of the matrix: found by changing one at a time.

What probing does not show may be there all the same, where a function does something between two numbers that were
tried; whoever may do that is computed.

Belongs here: probing, without any knowledge of what is probed. Does not: transformers (`front.py`), the proof that
what was found holds (`proof.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from churn_pipeline.kernel.codes import far, few_whole, is_number
from churn_pipeline.kernel.front import Front, quiet
from churn_pipeline.kernel.rows import changed, stacked

#: Values that are tried in customers after the first one, in which all are.
_TRIED = 40


@dataclass(frozen=True)
class Group:
    """Columns that decide some columns of the matrix, and nothing else does.

    Attributes:
        columns: of the customer, in the signature's order.
        outputs: of the matrix.
        seen: whether probing has shown that they do; else they only may, and what they do has no codes.
    """

    columns: tuple[str, ...]
    outputs: npt.NDArray[np.intp]
    seen: bool = True


def places(outputs: npt.NDArray[np.intp]) -> slice | npt.NDArray[np.intp]:
    """Outputs as a slice where they stand side by side: NumPy moves those many times as fast."""
    if len(outputs) and np.array_equal(outputs, np.arange(outputs[0], outputs[0] + len(outputs))):
        return slice(int(outputs[0]), int(outputs[0]) + len(outputs))
    return outputs


def groups(front: Front, bases: pa.RecordBatch, pools: Mapping[str, pa.Array]) -> list[Group]:
    """Split the columns into groups that have nothing to do with each other.

    Args:
        bases: customers that the front takes.
        pools: column → values that it takes.

    Returns:
        Groups with at least one output. Outputs that nothing decides are in none. Columns may be in two: what they
        might decide together, although no probing shows it, is apart from what each decides.
    """
    names = list(bases.schema.names)
    decides = _decides(front, bases, pools)
    together = [set(columns) for columns in front.together()]
    together += [{names[i] for i in np.flatnonzero(column)} for column in decides.T]
    parts: list[set[str]] = [{name} for name in names]
    for linked in together:
        touched = [part for part in parts if part & linked]
        if len(touched) > 1:
            parts = [part for part in parts if part not in touched] + [set[str]().union(*touched)]
    found = []
    for part in sorted(parts, key=lambda part: min(map(names.index, part))):
        outputs = np.flatnonzero(decides[[names.index(name) for name in part]].any(axis=0))
        if len(outputs):
            found.append(Group(tuple(name for name in names if name in part), outputs))
    free = np.setdiff1d(np.arange(decides.shape[1]), np.concatenate([np.arange(0), *(g.outputs for g in found)]))
    for columns, outputs in front.unsure():
        if len(hidden := np.intersect1d(outputs, free)):
            _own(found, columns, hidden)
    return found


def _own(found: list[Group], columns: tuple[str, ...], outputs: npt.NDArray[np.intp]) -> None:
    """Let a group of these columns have the outputs too."""
    for place, group in enumerate(found):
        if set(columns) <= set(group.columns):
            found[place] = replace(group, outputs=np.union1d(group.outputs, outputs))
            return
    found.append(Group(columns, outputs, seen=False))


def _decides(front: Front, bases: pa.RecordBatch, pools: Mapping[str, pa.Array]) -> npt.NDArray[np.bool_]:
    """(columns, outputs): whether changing the column changed the output, for any base and value."""
    standing = front.matrix(bases)
    found = np.zeros((len(pools), standing.shape[1]), dtype=bool)
    rows, changes = [], []
    for place, (name, values) in enumerate(pools.items()):
        some = values.take(pa.array(np.linspace(0, len(values) - 1, min(_TRIED, len(values))).astype(int)))
        for base in range(bases.num_rows):
            rows.append(changed(bases.slice(base, 1), {name: some if base else values}))
            changes.append((place, base, rows[-1].num_rows))
    answers, first = front.matrix(stacked(rows)), 0
    for place, base, count in changes:
        found[place] |= _differs(answers[first : first + count], standing[base])
        first += count
    # What is beyond the pools may be refused; then the rows that have it are the estimator's, whatever it decides.
    beyond = [changed(bases.slice(0, 1), {name: _beyond(values)}) for name, values in pools.items()]
    refused = refusals(front.matrix, stacked(beyond))
    kept = np.setdiff1d(np.arange(sum(rows.num_rows for rows in beyond)), list(refused))
    columns = np.repeat(np.arange(len(pools)), [rows.num_rows for rows in beyond])[kept]
    answers = front.matrix(stacked(beyond).take(pa.array(kept))) if len(kept) else standing[:0]
    for place in range(len(pools)):
        found[place] |= _differs(answers[columns == place], standing[0])
    return found


def _differs(answers: npt.NDArray[np.float64], before: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(outputs,) whether any of the answers (n, outputs) is another."""
    differs: npt.NDArray[np.bool_] = ~((answers == before) | (np.isnan(answers) & np.isnan(before))).all(axis=0)
    return differs


def _beyond(values: pa.Array) -> pa.Array:
    """Values that a column may have and its pool perhaps does not: missing, between, and far away."""
    kind = values.type
    if not is_number(kind):
        return pa.nulls(1, kind)
    between = few_whole(values)
    points = far(kind) if between is None else np.concatenate([far(kind), between])
    return pa.concat_arrays([pa.nulls(1, kind), pa.array(points).cast(kind)])


def refusals(ask: Callable[[pa.RecordBatch], Any], rows: pa.RecordBatch) -> dict[int, str]:
    """Which rows the model refuses, found by halving: row → kind of error.

    Args:
        ask: raises if it refuses any of the rows it is given.
    """
    if not rows.num_rows:
        return {}
    try:
        with quiet():
            ask(rows)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  the model is foreign code and may raise anything
        if rows.num_rows == 1:
            return {0: type(error).__name__}
        half = rows.num_rows // 2
        after = refusals(ask, rows.slice(half))
        return {**refusals(ask, rows.slice(0, half)), **{half + row: words for row, words in after.items()}}
    return {}
