"""Each check finds what it is there for, in tables that somebody has spoilt."""

from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from churn_pipeline import checks
from churn_pipeline.assets.prediction_rows import predictions_schema, unscored_schema
from churn_pipeline.batches import FileBatch, FileBound
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.validation import customers_schema, rejected_schema, validate
from churn_pipeline.io_managers.base import Rows, TableHandle
from churn_pipeline.io_managers.memory_tables import MemoryTables
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.resources.customer_sources.memory import MemorySource
from churn_pipeline.sample import sample

TELCO = Contract.load("telco")
AT = datetime(2026, 1, 2, tzinfo=UTC)
BATCH = FileBatch("c.csv", "csv", (FileBound("/c.csv", 1, "0", AT),))
MODEL = ModelVersion("m", "1", "models:/m/1", "", "sklearn", (), 0.5, ("0", "1"), 1)
CUSTOMERS, REJECTED = customers_schema(TELCO), rejected_schema(TELCO)
PREDICTIONS, UNSCORED = predictions_schema(TELCO), unscored_schema(TELCO)


class Registry:
    """What the check asks of a registry."""

    def __init__(self, share):
        self.share = share

    def reference_share(self, version):
        return self.share


@pytest.fixture
def customers() -> pa.RecordBatch:
    source = MemorySource(sample(TELCO, 10))
    [found] = source.read(source.plan(), TELCO)
    return validate(found, TELCO, AT).customers


@pytest.fixture
def write():
    store = MemoryTables()

    def written(table: str, rows: pa.RecordBatch | pa.Table, schema: pa.Schema) -> TableHandle:
        batches = rows.to_batches() if isinstance(rows, pa.Table) else [rows]
        return store.write(table, Rows(BATCH, schema, batches), "replace_all")

    return written


def predictions_of(customers: pa.RecordBatch, probability: float = 0.25) -> pa.RecordBatch:
    n = customers.num_rows
    given = {
        "churn_probability": pa.array([probability] * n),
        "prediction": pa.array([int(probability >= 0.5)] * n, pa.int32()),
        "threshold": pa.array([0.5] * n),
    }
    columns = []
    for field in PREDICTIONS:
        known = field.name in customers.schema.names
        columns.append(given.get(field.name, customers.column(field.name) if known else pa.nulls(n, field.type)))
    return pa.RecordBatch.from_arrays(columns, schema=PREDICTIONS)


def replaced(rows: pa.RecordBatch, name: str, values: list) -> pa.RecordBatch:
    field = rows.schema.field(name)
    return rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))


def verdicts(results) -> dict[str, bool]:
    return {result.check_name: result.passed for result in results}


def of_reading(write, customers, rejected=None, rows_read=10) -> dict[str, bool]:
    kept = replace(write("customers", customers, CUSTOMERS), notes={"rows_read": rows_read})
    left = write("rejected_customers", rejected or REJECTED.empty_table(), REJECTED)
    return verdicts(checks.customers_and_rejected_customers(kept, left, contract=TELCO))


def counted(predictions) -> dict:
    """What the scorer says of these predictions."""
    probability, revenue = predictions.column("churn_probability"), predictions.column("revenue_at_risk")
    return {
        "rows_churn": pc.sum(predictions.column("prediction")).as_py(),
        "mean_probability": pc.mean(probability).as_py(),
        "revenue_at_risk": pc.sum(revenue).as_py() or 0.0,
    }


def of_scoring(write, customers, predictions, unscored=None, share=None, notes=None) -> dict[str, bool]:
    tables = [
        replace(write("churn_predictions", predictions, PREDICTIONS), notes=notes or counted(predictions)),
        write("unscored_customers", unscored or UNSCORED.empty_table(), UNSCORED),
        write("customers", customers, CUSTOMERS),
    ]
    found = checks.churn_predictions_and_unscored_customers(
        *tables, MODEL, contract=TELCO, model_registry=Registry(share)
    )
    return verdicts(found)


def test_tables_as_they_should_be_pass(write, customers):
    assert all(of_reading(write, customers).values())
    assert all(of_scoring(write, customers, predictions_of(customers)).values())


def test_a_customer_that_breaks_the_contract_is_found(write, customers):
    spoilt = replaced(customers, "tenure", [*range(9), -1])
    assert of_reading(write, spoilt) == {
        "customers_keep_the_contract": False,
        "rejected_customers_and_customers_are_all_rows_read": True,
    }


def test_a_row_that_was_read_and_is_nowhere_is_found(write, customers):
    assert not of_reading(write, customers.slice(1))["rejected_customers_and_customers_are_all_rows_read"]


def test_a_rejected_row_without_a_rule_is_found(write, customers):
    silent = pa.RecordBatch.from_pylist([{"customerID": "x", "rules": []}], REJECTED)
    assert not of_reading(write, customers, silent, 11)["rejected_customers_and_customers_are_all_rows_read"]


@pytest.mark.parametrize("probability", [float("nan"), float("inf"), -0.1, 1.1])
def test_what_is_no_probability_is_found(write, customers, probability):
    spoilt = replaced(predictions_of(customers), "churn_probability", [0.25] * 9 + [probability])
    assert not of_scoring(write, customers, spoilt)["churn_predictions_are_probabilities"]


@pytest.mark.parametrize("name", ["rows_churn", "mean_probability", "revenue_at_risk"])
def test_a_sum_that_is_not_in_the_table_is_found(write, customers, name):
    predictions = predictions_of(customers)
    notes = {**counted(predictions), name: 1}
    assert not of_scoring(write, customers, predictions, notes=notes)["churn_predictions_are_probabilities"]


def test_a_prediction_that_does_not_follow_from_its_threshold_is_found(write, customers):
    spoilt = replaced(predictions_of(customers), "prediction", [0] * 9 + [1])
    assert not of_scoring(write, customers, spoilt)["churn_predictions_are_probabilities"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows.slice(1),
        lambda rows: pa.Table.from_batches([rows.slice(1), rows.slice(1, 1)]),
        lambda rows: replaced(rows, "customerID", ["stranger", *rows["customerID"].to_pylist()[1:]]),
        lambda rows: replaced(rows, "source_position", [2, *rows["source_position"].to_pylist()[1:]]),
    ],
    ids=["lost", "lost and doubled", "another id", "another place"],
)
def test_customers_that_were_not_scored_one_for_one_are_found(write, customers, spoil):
    found = of_scoring(write, customers, spoil(predictions_of(customers)))
    assert not found["unscored_customers_and_predictions_are_all_customers"]


def test_an_unscored_customer_counts_if_it_has_its_error(write, customers):
    def left(error_type):
        row = {name: customers[name][0].as_py() for name in UNSCORED.names if name in customers.schema.names}
        return pa.RecordBatch.from_pylist([{**row, "error_type": error_type}], UNSCORED)

    scored, name = predictions_of(customers.slice(1)), "unscored_customers_and_predictions_are_all_customers"
    assert of_scoring(write, customers, scored, left("ValueError"))[name]
    assert not of_scoring(write, customers, scored, left(None))[name]


@pytest.mark.parametrize("reference, near", [(None, True), (0.05, True), (0.4, False)])
def test_a_share_far_from_training_is_a_warning(write, customers, reference, near):
    found = of_scoring(write, customers, predictions_of(customers), share=reference)
    assert found["churn_predictions_share_is_near_training"] is near


def test_a_customer_with_two_current_scores_is_found(write, customers):
    once, twice = predictions_of(customers), pa.Table.from_batches([predictions_of(customers)] * 2)
    for rows, passed in ((once, True), (twice, False)):
        handle = write("current_churn_scores", rows, PREDICTIONS)
        found = checks.current_churn_scores_hold_each_customer_once(handle, table_store=handle.store, contract=TELCO)
        assert found.passed is passed
        assert found.metadata["more_than_once"].value == (0 if passed else 10)
