"""Made-up customers: any contract, the same for the same seed, and no real person."""

import pytest

from churn_pipeline.contract.definition import Contract
from churn_pipeline.sample import sample
from churn_pipeline_tests.contract.test_validation import GYM

TELCO = Contract.load("telco")


def test_the_same_seed_gives_the_same_customers_and_another_seed_others():
    assert sample(TELCO, 50, seed=3).equals(sample(TELCO, 50, seed=3))
    assert not sample(TELCO, 50, seed=3).equals(sample(TELCO, 50, seed=4))


@pytest.mark.parametrize("contract", [TELCO, GYM], ids=lambda c: c.name)
def test_any_contract_gets_its_columns_in_order(contract):
    assert sample(contract, 5, label=True).column_names == contract.columns(with_label=True)
    assert sample(contract, 5).column_names == contract.columns()


def test_about_a_quarter_of_the_labelled_customers_churn():
    labels = sample(TELCO, 4_000, label=True)["Churn"].to_pylist()
    assert 0.24 < labels.count("Yes") / len(labels) < 0.30


def test_as_many_rows_are_broken_as_were_asked_for():
    assert sum(value == -1 for value in sample(TELCO, 100, broken=9)["SeniorCitizen"].to_pylist()) == 9
