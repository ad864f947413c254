"""Columns in which every row has the same value.

Belongs here: making them as cheaply as Arrow allows, which has no such column. Does not: whose values they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

#: Text that is stored once.
WORD = pa.dictionary(pa.int32(), pa.string())

#: Rows that most record batches have at most.
_STRETCH = 65_536


def constant(value: Any, count: int, kind: pa.DataType) -> pa.Array:
    """The same value again and again, cut from what was made before: a batch has hundreds of stretches."""
    return _of_a_stretch(value, kind).slice(0, count) if count <= _STRETCH else _repeated(value, count, kind)


@lru_cache(maxsize=16)  # columns of a run
def _of_a_stretch(value: Any, kind: pa.DataType) -> pa.Array:
    return _repeated(value, _STRETCH, kind)


def _repeated(value: Any, count: int, kind: pa.DataType) -> pa.Array:
    if value is None:
        return pa.nulls(count, kind)
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([value], kind.value_type))
    return pa.repeat(pa.scalar(value, kind), count)
