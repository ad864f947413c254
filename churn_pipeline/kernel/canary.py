"""The first customers of every batch, scored twice: by the plan's tables and by the estimator.

Belongs here: the comparison while running, for what no proof beforehand can know: a model object that was changed
since, customers unlike any that were made up. Does not: the proof beforehand (`proof.py`), what follows from it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from churn_pipeline.errors import ScoringError
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.proof import Comparison
from churn_pipeline.kernel.score import score

#: Customers of a batch that are scored twice.
CANARY_ROWS = 1_000


class PlanDisproved(ScoringError):
    """The model's tables and its estimator scored the same customers differently; nothing was written."""


def check(rows: pa.RecordBatch, plan: Plan) -> Comparison:
    """Score customers by the plan and by its estimator.

    A customer that one of them scores and the other does not is an infinite difference.
    """
    ours, theirs = score(rows, plan), score(rows, replace(plan, tables=None))
    one, other = (
        found.column("churn_probability").to_numpy(zero_copy_only=False).astype(np.float64) for found in (ours, theirs)
    )
    if (np.isnan(one) != np.isnan(other)).any():
        return Comparison(rows.num_rows, float("inf"), 0)
    labels = ours.column("prediction").fill_null(-1).to_numpy() != theirs.column("prediction").fill_null(-1).to_numpy()
    known = ~np.isnan(one)
    difference = float(np.abs(one - other)[known].max()) if known.any() else 0.0
    return Comparison(rows.num_rows, difference, int(labels.sum()))


def disproved(plan: Plan, found: Comparison) -> PlanDisproved:
    """The error for a difference."""
    return PlanDisproved(
        f"The {plan.tier} plan of {plan.model} and its estimator scored the first {found.rows:,} customers of this "
        f"batch differently (by up to {found.difference:.2g}, {found.labels_changed:,} labels). Nothing was written, "
        "and the version is now scored by its estimator alone: run the batch again. If the model was changed after it "
        "was loaded, restart the process; else report the kind of model."
    )
