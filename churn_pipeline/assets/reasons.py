"""Reasons of a batch: what its metadata says of them.

Belongs here: counting which column was the first reason how often. Does not: how many are asked for
(`scoring_step.py`), finding reasons (`kernel/explanations/`), the columns on a row (`prediction_rows.py`).
"""

from collections import Counter
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline import pictures
from churn_pipeline.kernel.explanations.explanation import Explanation

#: Columns in the picture: as many as the UI shows without a click.
_SHOWN = 5

#: Columns that are the first reason of a smaller share of customers have no key in the metadata: a wide model has
#: hundreds of them.
_WORTH_A_KEY = 0.01


def told(explanation: Explanation, most: int) -> dict[str, Any]:
    """What the numbers on the rows are, as plain values."""
    return {"most": most, "unit": explanation.unit, "base": explanation.base, "exact": explanation.exact}


class FirstReasons:
    """Which column was the first reason up, over a stream of prediction rows."""

    def __init__(self) -> None:
        self.rows = self.explained = 0
        self.counts = Counter[str]()

    def __add__(self, other: "FirstReasons") -> "FirstReasons":
        """Of both."""
        both = FirstReasons()
        both.rows, both.explained = self.rows + other.rows, self.explained + other.explained
        both.counts = self.counts + other.counts
        return both

    def add(self, reasons_up: pa.ListArray) -> None:
        """Count a column of `reasons_up`."""
        self.rows += len(reasons_up)
        self.explained += len(reasons_up) - reasons_up.null_count
        some = pc.greater(pc.list_value_length(reasons_up).fill_null(0), 0)
        firsts = reasons_up.offsets.slice(0, len(reasons_up)).filter(some)
        names = reasons_up.values.field("column").take(firsts).value_counts()
        self.counts.update({item["values"]: item["counts"] for item in names.to_pylist()})

    def metadata(self, explanation: Explanation, most: int) -> dict[str, Any]:
        """Unit, base, and how often each column comes first, as stable numeric keys and as a picture."""
        said: dict[str, Any] = {f"reasons_{name}": value for name, value in told(explanation, most).items()}
        if not self.rows:
            return said
        said["share_with_reasons"] = self.explained / self.rows
        shares = [(name, count / self.rows) for name, count in self.counts.most_common()]
        said |= {f"first_reason_{name}": share for name, share in shares if share >= _WORTH_A_KEY}
        return {**said, "first_reasons": dg.MetadataValue.md(_picture(shares[:_SHOWN]))}


def _picture(shares: list[tuple[str, float]]) -> str:
    alt = f"First reason up: most often {shares[0][0]}" if shares else "Nobody has a reason up"
    svg = pictures.shares(shares, title="First reason to leave, share of customers", alt=alt)
    return pictures.markdown(svg)
