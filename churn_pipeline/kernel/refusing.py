"""Columns that no evaluator looks at, and of which the model refuses some values all the same.

Such a column goes through a transformer, and a later one drops whatever becomes of it: a selector, most often.

Belongs here: finding these columns, and their codes. Does not: what a refused row becomes (`tables.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from churn_pipeline.kernel.codes import Axis, Words, is_number
from churn_pipeline.kernel.evaluator import Evaluator
from churn_pipeline.kernel.intervals import Intervals
from churn_pipeline.kernel.material import Material
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.tables import find_refused


def refusing(model: ModelVersion, estimator: Any, material: Material, evaluators: Sequence[Evaluator]) -> list[Axis]:
    """Codes of these columns, with what is refused of them.

    Args:
        material: what the model was tried with, and has refused.
    """
    asked = {name for item in evaluators for name in item.taken}
    asked |= {name for item in evaluators for axis in item.axes for name in axis.columns}
    refused = {name: [value for column, value in material.refused if column == name] for name, _ in material.refused}
    tried: list[Axis] = []
    for column, pool in material.pools.items():
        if column in asked:
            continue
        if is_number(pool.type):
            # Whether a missing one is refused is asked even if the contract lets none be missing.
            tried.append(Intervals(column, np.empty(0), pool.type))
        elif column in refused:
            tried.append(Words(column))
            for values in (pool, pa.array(refused[column], pool.type)):
                tried[-1].look(pa.RecordBatch.from_arrays([values], [column]))
    find_refused(estimator, model, material.base, tried)
    return [axis for axis in tried if axis.refused]
