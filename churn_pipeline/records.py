"""Records at hand, in whatever people have them: dicts, lists of dicts, data frames.

Belongs here: their forms on the way to the kernel. Does not: what is wrong with them (`contract/`), scoring.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from churn_pipeline.kernel.classes import class_names


def frame_of(features: Any) -> pd.DataFrame:
    """Records as a data frame.

    Raises:
        ValueError: they are none of the three.
    """
    if isinstance(features, pd.DataFrame):
        return features
    if isinstance(features, Mapping):
        return pd.DataFrame([dict(features)] if features else [])
    if isinstance(features, list) and all(isinstance(item, Mapping) for item in features):
        return pd.DataFrame([dict(item) for item in features])
    raise ValueError(f"Invalid features type: {type(features).__name__}. Give a dict, a list of dicts or a data frame.")


def in_model_order(frame: pd.DataFrame, entrance: Any) -> pd.DataFrame:
    """The columns the model was fitted with, in its order; all columns where it does not say."""
    names = class_names(getattr(entrance, "feature_names_in_", None))
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise ValueError(f"The features lack {', '.join(map(repr, missing))}, which the model was fitted with.")
    return frame[list(names)] if names else frame


def type_of(arrow: pa.DataType) -> str:
    """MLflow's name for a type of Arrow's."""
    if pa.types.is_integer(arrow):
        return "long"
    if pa.types.is_floating(arrow):
        return "double"
    return "boolean" if pa.types.is_boolean(arrow) else "string"


def record_batch(frame: pd.DataFrame) -> pa.RecordBatch:
    """A data frame as a record batch.

    Raises:
        ValueError: a column mixes kinds of values.
    """
    columns = {}
    for name in frame:
        try:
            columns[str(name)] = pa.array(frame[name], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise ValueError(f"Feature {name!r} mixes kinds of values; give numbers, or text, but not both.") from None
    return pa.RecordBatch.from_pydict(columns)
