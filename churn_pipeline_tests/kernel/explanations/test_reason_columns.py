"""Reasons on rows: the kernel's own, rounded, as lists that every reader of the table opens."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline

from churn_pipeline.kernel.explanations.reason_columns import DIGITS, REASON_FIELDS, with_reasons
from churn_pipeline.kernel.explanations.reasons import Reasons, contributions, reasons
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.plan import Plan, make_plan
from churn_pipeline_tests.kernel.foreign_models import (
    EXTREMES,
    INPUTS,
    _boosted,
    _front,
    _logistic,
    fitted,
    labels,
    members,
    version,
)

TRAIN, SAMPLE, BATCH = members(1_500, seed=1), members(300, seed=9), members(300, seed=5)


def plan_of(estimator) -> Plan:
    return make_plan(version(positive=1), estimator.fit(frame(TRAIN, INPUTS), labels(TRAIN)), SAMPLE, EXTREMES)


@pytest.fixture(scope="module", params=["logistic", "boosted"])
def plan(request) -> Plan:
    return plan_of(make_pipeline(_front(), _logistic() if request.param == "logistic" else _boosted(max_depth=3)))


def lists(found: Reasons, places: np.ndarray, amounts: np.ndarray) -> list:
    """What should stand on the rows of `BATCH`, said the slow way."""
    texts = {name: BATCH.column(name).cast(pa.string()).to_pylist() for name in found.names}
    return [
        [
            {"column": name, "value": texts[name][row], "contribution": round(float(amount), DIGITS)}
            for name, amount in zip((found.names[place] for place in places[row]), amounts[row], strict=True)
            if round(float(amount), DIGITS)
        ]
        if found.known[row]
        else None
        for row in range(len(found.known))
    ]


def test_rows_have_the_kernels_reasons_rounded_and_keep_their_own_columns(plan):
    rows, found = with_reasons(BATCH, plan, 3), reasons(BATCH, plan, 3)
    assert rows.schema == pa.schema([*BATCH.schema, *REASON_FIELDS])
    assert rows.select(BATCH.schema.names).equals(BATCH)
    assert rows.column("reasons_up").to_pylist() == lists(found, found.up, found.up_by)
    assert rows.column("reasons_down").to_pylist() == lists(found, found.down, found.down_by)
    assert max(len(reasons_up) for reasons_up in rows.column("reasons_up").to_pylist()) == 3
    rows.validate(full=True)


def test_a_reason_tells_what_is_in_its_column_and_null_where_nothing_is(plan):
    told = [reason for name in ("reasons_up", "reasons_down")
            for row in with_reasons(BATCH, plan, 7).column(name).to_pylist() for reason in row]  # fmt: skip
    ages = {reason["value"] for reason in told if reason["column"] == "age"}
    assert None in ages
    assert all(float(age) > 0 for age in ages - {None})
    assert {reason["value"] for reason in told if reason["column"] == "member"} <= {"true", "false"}


def test_columns_that_contribute_together_tell_what_is_in_each():
    rows = with_reasons(BATCH, make_plan(version(positive=1), fitted("feature_class"), SAMPLE, EXTREMES), 9)
    told = rows.column("reasons_up").to_pylist()
    [together] = {r["column"] for row in told for r in row if "&" in r["column"]}
    row = next(n for n, found in enumerate(told) if any(r["column"] == together for r in found))
    value = next(r["value"] for r in told[row] if r["column"] == together)
    first, second = (BATCH.column(part).cast(pa.string())[row].as_py() or "" for part in together.split(" & "))
    assert value == f"{first} & {second}"


def test_a_row_of_which_nothing_can_be_said_has_null_in_both_and_the_others_have_theirs(plan):
    spend = pa.array([1e300, *BATCH.column("spend").to_pylist()[1:]])
    rows, whole = with_reasons(BATCH.set_column(5, "spend", spend), plan, 2), with_reasons(BATCH, plan, 2)
    for name in ("reasons_up", "reasons_down"):
        assert rows.column(name).null_count == 1
        assert rows.column(name)[0].as_py() is None
        assert rows.column(name).slice(1).equals(whole.column(name).slice(1))


def test_a_row_that_nothing_raised_has_an_empty_list():
    plan = plan_of(make_pipeline(ColumnTransformer([("n", "passthrough", ["visits"])]), _logistic()))
    rows = with_reasons(BATCH, plan, 3)
    up, down = (rows.column(name).to_pylist() for name in ("reasons_up", "reasons_down"))
    assert all(sorted((len(more), len(less))) in ([0, 1], [0, 0]) for more, less in zip(up, down, strict=True))
    assert [] in up
    assert [] in down


def test_more_reasons_than_there_are_columns_are_all_of_them(plan):
    rows, every = with_reasons(BATCH, plan, 1_000_000), contributions(BATCH, plan)
    wanted = (every.values.round(DIGITS) != 0).sum(axis=0)
    told = [len(up) + len(down) for up, down in zip(*(c.to_pylist() for c in rows.columns[-2:]), strict=True)]
    assert told == wanted.tolist()


def test_a_stretch_of_a_batch_has_the_reasons_of_its_rows(plan):
    assert with_reasons(BATCH.slice(100, 50), plan, 2).equals(with_reasons(BATCH, plan, 2).slice(100, 50))
    assert with_reasons(BATCH.slice(0, 0), plan, 2).num_rows == 0
