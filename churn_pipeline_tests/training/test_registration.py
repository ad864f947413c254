from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import pytest

from churn_pipeline.contract.definition import ARROW_TYPES, Contract
from churn_pipeline.kernel.frame import frame
from churn_pipeline.resources.experiment_tracking import InMemoryTracking
from churn_pipeline.resources.model_registry import InMemoryRegistry
from churn_pipeline.training.fitting import TrainingDataUnfit
from churn_pipeline.training.registration import TrainingConfig, train
from churn_pipeline_tests.training.gym_members import GYM, members

pytestmark = pytest.mark.slow


TELCO_TABLE = Path(__file__).parents[3] / "shared" / "data" / "telco_customers.csv"


def trained(registry, tracking=None, table=None, contract=GYM, **config):
    table = members() if table is None else table
    return train(table, contract, TrainingConfig(**config), registry, tracking or InMemoryTracking(), run_id="r1")


def test_the_first_version_takes_the_alias_and_scores_as_it_was_measured():
    registry, tracking = InMemoryRegistry(), InMemoryTracking()
    result = trained(registry, tracking)
    model = registry.resolve("churn_model", "champion", GYM)
    assert (result.promoted, model.version, model.threshold) == (True, "1", result.threshold)
    assert (model.classes, model.positive) == (("0", "1"), 1)
    rows = frame(members().combine_chunks().to_batches()[0], model.inputs)
    scores = registry.load(model).predict_proba(rows)[:, model.positive]
    assert np.corrcoef(scores, members()["churned"].to_numpy())[0, 1] > 0.4
    assert tracking.runs[0].status == "FINISHED"
    assert tracking.runs[0].metrics["roc_auc"] == result.metrics["roc_auc"]
    assert tracking.runs[0].files.keys() == {"calibration.json", "profile.json", "reference_sample.parquet"}


def test_the_reference_sample_holds_features_and_nobodys_id():
    tracking = InMemoryTracking()
    trained(InMemoryRegistry(), tracking)
    sample = pa.parquet.read_table(pa.BufferReader(tracking.runs[0].files["reference_sample.parquet"]))
    assert sample.column_names == list(GYM.features)


def test_the_version_carries_threshold_class_digests_and_verdict():
    registry = InMemoryRegistry()
    result = trained(registry)
    tags = registry.find("churn_model", "1").tags
    assert tags["positive_class"] == "1"
    assert float(tags["threshold"]) == result.threshold
    assert tags["data_digest"] == result.data_digest
    assert (tags["contract"], tags["verdict"]) == ("gym", "promoted")


def test_a_worse_version_is_registered_and_the_alias_stays():
    registry = InMemoryRegistry()
    trained(registry)
    random = np.random.default_rng(9)
    noise = members().drop(["fee", "visits", "plan"])
    for name, column in (("fee", random.random(400)), ("visits", random.integers(0, 20, 400))):
        noise = noise.append_column(name, pa.array(column))
    worse = noise.append_column("plan", pa.array(["day"] * 400).dictionary_encode())
    result = trained(registry, table=worse)
    assert (result.model_version, result.promoted) == ("2", False)
    assert registry.version_of_alias("churn_model", "champion") == "1"
    assert registry.find("churn_model", "2").tags["verdict"] == "kept_back"


def test_a_champion_of_another_contract_is_replaced_because_it_can_score_nobody():
    registry = InMemoryRegistry()
    trained(registry)
    fewer = GYM.model_copy(update={"features": {k: v for k, v in GYM.features.items() if k != "city"}})
    result = trained(registry, contract=fewer)
    assert result.promoted
    assert "cannot score these customers" in result.verdict.reason


def test_the_same_customers_and_seed_give_the_same_result():
    first, again = trained(InMemoryRegistry()), trained(InMemoryRegistry())
    assert (first.metrics, first.threshold, first.profile) == (again.metrics, again.threshold, again.profile)
    assert trained(InMemoryRegistry(), estimator="random_forest", seed=1).metrics != first.metrics


def test_unfit_customers_leave_no_trace():
    registry, tracking = InMemoryRegistry(), InMemoryTracking()
    with pytest.raises(TrainingDataUnfit):
        trained(registry, tracking, table=members(10))
    assert tracking.runs == []


@pytest.mark.skipif(not TELCO_TABLE.is_file(), reason="the public Telco table is not beside the repository")
def test_the_default_reaches_an_auc_of_084_on_the_public_table():
    contract, table = Contract.load("telco"), pa.csv.read_csv(TELCO_TABLE)
    columns = {"customerID": table["customerID"], "churned": pc.equal(table["Churn"], "Yes")}
    for name, feature in contract.features.items():
        column = table[feature.source or name].cast(pa.string())
        if feature.type == "category":
            columns[name] = column.dictionary_encode()
        else:
            text = pc.utf8_trim_whitespace(column)
            columns[name] = pc.if_else(pc.equal(text, ""), None, text).cast(ARROW_TYPES[feature.type])
    result = trained(InMemoryRegistry(), table=pa.table(columns), contract=contract)
    assert result.metrics["roc_auc"] >= 0.84
    assert result.promoted
