"""How one model version is evaluated: the fastest way that was proven to say what its estimator says.

Belongs here: the plan, and choosing it. Does not: loading the estimator (`resources/model_loading.py`), what a plan is
made of (`compile.py`), the proof itself (`proof.py`), running it on rows (`score.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from churn_pipeline.errors import ModelError
from churn_pipeline.kernel.compilation import available
from churn_pipeline.kernel.compile import NotCompiled, compile_tables
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.front import quiet
from churn_pipeline.kernel.material import Material, NothingToProbe, gather
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.proof import Comparison, check_rows, prove
from churn_pipeline.kernel.tables import Tables


class UnusableModel(ModelError):
    """The version can score no customer of this contract here; a newly trained one may take its alias uncompared."""


@dataclass(frozen=True)
class Plan:
    """One model version, ready to score.

    Attributes:
        estimator: anything whose `predict_proba` takes the frame of `frame.py` and gives a column a class.
        tables: what answers in its place; None if nothing does.
        proof: what the tables were compared on.
        why: why nothing faster answers; empty if nothing faster was looked for.
    """

    model: ModelVersion
    estimator: Any = field(repr=False)
    tables: Tables | None = field(default=None, repr=False)
    proof: Comparison | None = None
    why: str = ""

    @property
    def tier(self) -> str:
        """Which evaluation answers: one of `evaluator.TIERS`."""
        return self.tables.tier if self.tables else "reference"

    def __str__(self) -> str:
        """`linear tables, equal to the estimator on 4,012 customers` or `the estimator itself: …`."""
        if self.proof is None:
            return f"the estimator itself{f': {self.why}' if self.why else ''}"
        return f"{_SAID[self.tier]}, equal to the estimator on {self.proof.rows:,} customers"


#: Customers on which the matrix is timed, up to how often, and the share of the estimator's own time it may take each
#: time to be worth it. Fewer customers flatter it: the estimator's calls have a price of their own.
_TIMED, _ROUNDS, _WORTH = 32_768, 3, 0.75

_SAID = {
    "linear": "linear tables",
    "masks": "leaf masks",
    "walk": "tree walk",
    "matrix": "the estimator on a matrix from codes",
}


def make_plan(
    model: ModelVersion,
    estimator: Any,
    sample: pa.RecordBatch,
    extremes: Mapping[str, Sequence[Any]],
    *,
    compiled: bool | None = None,
) -> Plan:
    """Find the fastest plan for a model that passes the proof.

    Args:
        sample: customers, existing or made up, to probe and prove with; some thousands.
        extremes: column → values beyond the sample that may come: every category, an unseen one, the ends of the range.
        compiled: whether numba may be used; None if it is installed.

    Raises:
        RowsDependOnEachOther: the model cannot be trusted with any stream of customers.
    """
    from threadpoolctl import threadpool_limits

    # Many small questions: OpenMP's threads would take longer to meet than to answer, many times so on a busy machine.
    with threadpool_limits(1, user_api="openmp"):
        return _made(model, estimator, sample, extremes, available() if compiled is None else compiled)


def _made(
    model: ModelVersion,
    estimator: Any,
    sample: pa.RecordBatch,
    extremes: Mapping[str, Sequence[Any]],
    compiled: bool,
) -> Plan:
    try:
        material = gather(model, estimator, sample, extremes)
    except NothingToProbe:
        return Plan(model, estimator, why="it scores none of the customers made up to try it")
    check_rows(model, estimator, material.sample)
    why = ""
    for only_matrix in (False, True):
        try:
            tables = compile_tables(
                model,
                estimator,
                material,
                compiled=compiled,
                only_matrix=only_matrix,
            )
        except NotCompiled as reason:
            why = why or str(reason)
            continue
        proof = prove(model, estimator, tables, material)
        if proof.holds and tables.tier == "matrix" and not _pays(model, estimator, tables, material):
            why = why or "looking its matrix up would not be faster"
            break
        if proof.holds:
            return Plan(model, estimator, tables, proof, why)
        why = why or f"{_SAID[tables.tier]} differed from it by up to {proof.difference:.2g} when they were tried"
        if tables.tier == "matrix":
            break
    return Plan(model, estimator, why=why)


def _pays(model: ModelVersion, estimator: Any, tables: Tables, material: Material) -> bool:
    """Whether the estimator on a looked-up matrix is clearly faster than on the frame; it is the same estimator."""
    from threadpoolctl import threadpool_limits

    rows = material.sample.take(pa.array(np.resize(np.arange(material.sample.num_rows), _TIMED)))
    # One thread's time on a processor: the clock on the wall would mostly say what else the machine is doing.
    with quiet(), threadpool_limits(1):
        for _ in range(_ROUNDS):
            started = time.thread_time()
            tables.answer(rows)
            between = time.thread_time()
            estimator.predict_proba(frame(rows, model.inputs))
            if between - started > _WORTH * (time.thread_time() - between):
                return False  # in doubt the estimator, which is never slower than itself
    return True
