"""What a batch says of its reasons, and rows of tables that are older than these."""

import pyarrow as pa
import pytest

from churn_pipeline.assets.prediction_rows import LATER, predictions_schema, stream_predictions
from churn_pipeline.assets.reasons import FirstReasons
from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.base import Rows
from churn_pipeline.io_managers.memory_tables import MemoryTables
from churn_pipeline.kernel.explanations.explanation import Explanation
from churn_pipeline.kernel.explanations.reason_columns import REASONS
from churn_pipeline_tests.io_managers.builders import batch


class Explained(Explanation):
    """What is said of a model; nothing is explained here."""

    names, base, unit, exact = ("plan", "city"), -1.25, "log-odds", True

    def contributions(self, encoded):
        raise NotImplementedError

    def extend(self, axis, start):
        raise NotImplementedError


def column(*firsts: str | None) -> pa.ListArray:
    """Rows with this first reason and a second one; `""`: no reason up; None: nothing can be said."""
    later = {"column": "later", "contribution": 0.1}
    rows = [None if name is None else [{"column": name, "contribution": 1.0}, later] if name else [] for name in firsts]
    return pa.array(rows, REASONS)


def test_the_first_reason_of_each_customer_is_counted_over_all_stretches():
    first = FirstReasons()
    first.add(column("plan", "city", None, ""))
    first.add(column("ignored", "plan", "plan", "ignored").slice(1, 2))
    first.add(column())
    said = first.metadata(Explained(), 3)
    assert said["first_reason_plan"] == pytest.approx(3 / 6)
    assert said["first_reason_city"] == pytest.approx(1 / 6)
    assert said["share_with_reasons"] == pytest.approx(5 / 6)
    assert {name for name in said if name.startswith("first_reason_")} == {"first_reason_plan", "first_reason_city"}
    assert (said["reasons_most"], said["reasons_unit"], said["reasons_base"], said["reasons_exact"]) == (
        3, "log-odds", -1.25, True,
    )  # fmt: skip
    assert "plan%2050%25" in said["first_reasons"].value


def test_a_column_that_is_hardly_ever_first_has_no_number_of_its_own():
    first = FirstReasons()
    first.add(column(*["plan"] * 199, "city"))
    assert "first_reason_city" not in first.metadata(Explained(), 1)


def test_a_batch_without_customers_has_a_unit_and_no_shares():
    assert set(FirstReasons().metadata(Explained(), 1)) == {
        "reasons_most", "reasons_unit", "reasons_base", "reasons_exact",
    }  # fmt: skip


def test_rows_of_a_table_that_is_older_than_reasons_have_null_in_their_place():
    contract = Contract.load("telco")
    wanted = predictions_schema(contract)
    old = pa.schema([field for field in wanted if field.name not in LATER])
    rows = pa.RecordBatch.from_pylist([{"customerID": "a", "churn_probability": 0.5}], old)
    handle = MemoryTables().write("churn_predictions", Rows(batch(), old, [rows]), "append")
    [found] = stream_predictions(handle, contract)
    assert found.schema == wanted
    assert found.to_pylist() == [{**dict.fromkeys(wanted.names), "customerID": "a", "churn_probability": 0.5}]
