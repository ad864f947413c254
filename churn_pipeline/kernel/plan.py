"""How one model version is evaluated: the fastest way that was proven to say what its estimator says.

Belongs here: the plan, and choosing it. Does not: loading the estimator (`resources/model_loading.py`), what a plan is
made of (`compile.py`), the proof itself (`proof.py`), running it on rows (`score.py`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.errors import ModelError
from churn_pipeline.kernel import structure
from churn_pipeline.kernel.behind_steps import MadeColumns, TablesBehind
from churn_pipeline.kernel.compilation import available
from churn_pipeline.kernel.compile import NotCompiled, compile_tables
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.front import quiet
from churn_pipeline.kernel.material import Material, NothingToProbe, gather
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.proof import Comparison, check_rows, prove
from churn_pipeline.kernel.rows import changed, stacked
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
    tables: Tables | TablesBehind | None = field(default=None, repr=False)
    proof: Comparison | None = None
    why: str = ""

    @property
    def tier(self) -> str:
        """Which evaluation answers: one of `evaluator.TIERS`."""
        return self.tables.tier if self.tables else "reference"

    def __str__(self) -> str:
        """`linear tables, equal to the estimator on 4,012 customers` or `the estimator itself: …`."""
        if self.tables is None or self.proof is None:
            return f"the estimator itself{f': {self.why}' if self.why else ''}"
        return f"{_said(self.tables)}, equal to the estimator on {self.proof.rows:,} customers"


#: Customers on which tables are timed, how often, the share of the estimator's own time that they may take to be worth
#: it, and the share that needs no second time. Fewer customers flatter them: the estimator's calls have a price of
#: their own.
_TIMED, _ROUNDS, _WORTH, _CLEARLY = 32_768, 3, 0.75, 0.4

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
    whys: list[str] = []
    only_matrix = partial(compile_tables, only_matrix=True)
    attempts: tuple[Callable[..., Tables | TablesBehind], ...] = (compile_tables, _tables_behind, only_matrix)
    for attempt in attempts:
        try:
            tables = attempt(model, estimator, material, compiled=compiled)
            proof = prove(model, estimator, tables, material)
        except NotCompiled as reason:
            whys.append(str(reason))
            continue
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  real transformers ran, and may raise anything
            whys.append(f"taking it apart raised {type(error).__name__}")
            continue
        if not proof.holds:
            whys.append(f"{_said(tables)} differed from it by up to {proof.difference:.2g} when they were tried")
        elif tables.runs_code and not _pays(model, estimator, tables, material):
            whys.append(f"{_said(tables)} would not be faster")
        else:
            return Plan(model, estimator, tables, proof, _joined(whys))
        if tables.tier == "matrix":
            break
    return Plan(model, estimator, why=_joined(whys))


def _said(tables: Tables | TablesBehind) -> str:
    return _SAID[tables.tier] + (f" {tables}" if isinstance(tables, TablesBehind) else "")


def _joined(whys: Sequence[str]) -> str:
    """Each reason once; of several the same is often said, and some attempts give none."""
    return "; ".join(dict.fromkeys(why for why in whys if why))


def _tables_behind(model: ModelVersion, estimator: Any, material: Material, *, compiled: bool) -> TablesBehind:
    """Tables for what stands behind transformers that nobody can look into: a model of what those make."""
    found = structure.leading(estimator)
    if found is None:
        raise NotCompiled
    steps, rest = found
    tried = stacked([changed(material.base, {name: pool}) for name, pool in material.pools.items()])
    made = MadeColumns(steps, model.inputs, stacked([material.sample, tried]))
    beyond = made.of(tried)
    ends = {name: pc.unique(beyond.column(name)).to_pylist() for name in beyond.schema.names}
    inner = _made(replace(model, inputs=made.inputs), rest, made.of(material.sample), ends, compiled)
    if not isinstance(inner.tables, Tables):
        raise NotCompiled(inner.why)
    return TablesBehind(made, inner.tables)


def _pays(model: ModelVersion, estimator: Any, tables: Tables | TablesBehind, material: Material) -> bool:
    """Whether tables beside which real code runs are clearly faster than the estimator on the frame."""
    from threadpoolctl import threadpool_limits

    # Not one after the other, again and again: processors would learn by heart which way the estimator's trees go.
    drawn = np.random.default_rng(0).integers(0, material.sample.num_rows, _TIMED)
    rows = material.sample.take(pa.array(drawn))
    # Time on processors, of all threads that the estimator may start: the clock on the wall would mostly say what else
    # the machine is doing.
    with quiet(), threadpool_limits(1):
        tables.answer(rows)  # the first time something may have to be compiled
        shares = []
        for _ in range(_ROUNDS):
            started = time.process_time()
            tables.answer(rows)
            between = time.process_time()
            estimator.predict_proba(frame(rows, model.inputs))
            shares.append((between - started) / (time.process_time() - between))
            if shares[-1] < _CLEARLY:
                return True
    return statistics.median(shares) <= _WORTH  # in doubt the estimator, which is never slower than itself
