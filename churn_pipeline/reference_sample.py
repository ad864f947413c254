"""Customers made up from the contract, to try models on before any customer is read.

Belongs here: the sample and the ends of what the contract allows. Does not: making rows (`sample.py`), judging them
(`contract/`), what they are used for (`kernel/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from churn_pipeline.contract.definition import Contract, Feature
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.contract.validation import validate

_ROWS = 2_000
_SEED = 11
_UNSEEN = "a value nobody has seen"


def reference_sample(contract: Contract, rows: int = _ROWS) -> pa.RecordBatch:
    """Customers that keep the contract, as the validator hands them on; the same ones each time."""
    # Not above: the definitions reach this module, and making rows takes pandas, a fifth of their import.
    from churn_pipeline.sample import sample

    table = sample(contract, rows, seed=_SEED).combine_chunks()
    found = SourceRows(table.to_batches()[0], "made up", pa.array(range(1, rows + 1), pa.int64()))
    return validate(found, contract, datetime(2026, 1, 1, tzinfo=UTC)).customers


def extremes(contract: Contract) -> dict[str, Sequence[Any]]:
    """Feature → values at the ends of what may come, and beyond: every category, an unseen one, a missing one."""
    return {name: [None, *_ends(feature)] for name, feature in contract.features.items()}


def _ends(feature: Feature) -> Sequence[Any]:
    if feature.type == "boolean":
        return (False, True)
    if feature.type in ("category", "text"):
        return (*(feature.allowed or ()), _UNSEEN, "")
    ends = [end for end in (feature.min, feature.max) if end is not None]
    return [int(end) for end in ends] if feature.type == "integer" else ends
