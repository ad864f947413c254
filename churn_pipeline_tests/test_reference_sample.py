"""Customers made up to try models on."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from churn_pipeline.contract.definition import Contract
from churn_pipeline.reference_sample import reference_sample


@pytest.mark.parametrize("name", ["tenure", "MonthlyCharges"])
def test_customers_that_try_a_model_reach_over_the_whole_range_that_the_contract_allows(name):
    contract = Contract.load("telco")
    feature, wide = contract.features[name], reference_sample(contract, whole_range=True)
    found = wide.column(name)
    assert feature.min is not None and feature.max is not None
    assert pc.min(found).as_py() >= feature.min and pc.max(found).as_py() <= feature.max
    assert pc.max(found).as_py() > 0.9 * feature.max > pc.max(reference_sample(contract).column(name)).as_py()


def test_every_other_customer_is_as_customers_are_and_all_are_the_same_each_time():
    contract = Contract.load("telco")
    wide, usual = reference_sample(contract, whole_range=True), reference_sample(contract)
    every_other = pa.array(range(0, wide.num_rows, 2))
    assert wide.num_rows == usual.num_rows and wide.take(every_other).equals(usual.take(every_other))
    assert wide.equals(reference_sample(contract, whole_range=True))
