"""Reasons on every scored row, where a setting or a request asks for them: from the model's plan to the tables."""

import csv
import json
from functools import partial

import dagster as dg
import numpy as np
import pytest
from sklearn.ensemble import VotingClassifier

from churn_pipeline import deployments, runs
from churn_pipeline.assets.predictions import LATER
from churn_pipeline.cli.examination import _LOOKS
from churn_pipeline.cli.findings import found_by
from churn_pipeline.contract.definition import Contract
from churn_pipeline.deployments import Deployment
from churn_pipeline.io_managers.base import Rows
from churn_pipeline.io_managers.current_scores import merge_newest
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.kernel.explanations.reason_columns import with_reasons
from churn_pipeline.kernel.explanations.reasons import ReasonsUnavailable, explanation_of
from churn_pipeline.kernel.frame import frame
from churn_pipeline.reference_sample import reference_sample
from churn_pipeline.resources.inference.plans import Plans
from churn_pipeline.resources.model_registry import InMemoryRegistry
from churn_pipeline.sample import sample
from churn_pipeline.training.estimators import pipeline, signature
from churn_pipeline_tests.builders import customer_file, instance_of, rows_of

CONTRACT = Contract.load("telco")
ROWS = 40


class Run:
    mlflow_run_id = "r"


@pytest.fixture(scope="module")
def registry() -> InMemoryRegistry:
    """A champion with reasons, and a challenger that has none, as it averages two models."""
    inputs = signature(CONTRACT)
    table = frame(reference_sample(CONTRACT, 600), inputs)
    churned = np.array(sample(CONTRACT, 600, seed=11, label=True)["Churn"].to_pylist()) == "Yes"
    champion = pipeline(CONTRACT).fit(table, churned.astype(int))
    several = VotingClassifier([("a", pipeline(CONTRACT)), ("b", pipeline(CONTRACT, seed=1))], voting="soft")
    registry = InMemoryRegistry()
    for alias, model in {"champion": champion, "challenger": several.fit(table, churned.astype(int))}.items():
        given = {"inputs": inputs, "example": table.head(3), "tags": {}, "description": "", "run": Run()}
        registry.set_alias("churn_model", alias, registry.register("churn_model", model, **given))
    return registry


class Home(Deployment):
    """A home of its own on a registry in memory."""

    def __init__(self, settings, registry):
        super().__init__(lambda: settings)
        self._registry = registry

    def model_registry(self):
        return self._registry

    def score(self, **request) -> runs.Outcome:
        with instance_of(self) as instance:
            return runs.score(self, runs.Request(**request), instance)


@pytest.fixture
def make_home(registry, tmp_path):
    def make(**settings) -> Home:
        source = customer_file(tmp_path / "customers.csv", ROWS)
        return Home(deployments.test(tmp_path / "home", source=str(source), **settings).settings, registry)

    return make


def plan_of(home):
    model = home.model_registry().resolve("churn_model", "champion", CONTRACT)
    return Plans(home.model_registry(), CONTRACT).of(model)


def metadata_of(home) -> dict:
    with instance_of(home) as instance:
        [record] = instance.fetch_materializations(dg.AssetKey("churn_predictions"), limit=1).records
        return {name: value.value for name, value in record.asset_materialization.metadata.items()}


def test_rows_the_newest_scores_the_export_and_the_ledger_have_what_the_kernel_says(make_home):
    home = make_home(reasons="2", export="csv")
    row = home.score().row
    [customers] = home.table_store().open("customers").stream()
    wanted = with_reasons(customers, plan_of(home), 2).select(["reasons_up", "reasons_down"]).to_pylist()
    found = [{name: row[name] for name in LATER} for row in rows_of(home, "churn_predictions")]
    assert found == wanted
    assert all(len(row["reasons_up"]) == len(row["reasons_down"]) == 2 for row in found)
    current = {row["customerID"]: row["reasons_up"] for row in rows_of(home, "current_churn_scores")}
    assert current == {r["customerID"]: r["reasons_up"] for r in rows_of(home, "churn_predictions")}
    [file] = (home.settings.folder / "exports" / "telco" / "exported_predictions").glob("*.csv")
    with file.open() as lines:
        assert [json.loads(line["reasons_up"]) for line in csv.DictReader(lines)] == [r["reasons_up"] for r in found]
    explanation = explanation_of(plan_of(home))
    assert row.kernel_proof["reasons"] == {
        "most": 2, "unit": "log-odds", "base": pytest.approx(explanation.base), "exact": True,
    }  # fmt: skip
    said = metadata_of(home)
    assert said["share_with_reasons"] == 1.0
    assert sum(share for name, share in said.items() if name.startswith("first_reason_")) == pytest.approx(1)
    assert len(said["first_reasons"]) < 1_000


def test_without_a_setting_the_columns_are_there_and_empty_and_a_model_without_reasons_scores(make_home):
    home = make_home()
    row = home.score(model="challenger").row
    assert row.rows_scored == ROWS
    assert "reasons" not in row.kernel_proof
    for table in ("churn_predictions", "current_churn_scores"):
        assert {(r["reasons_up"], r["reasons_down"]) for r in rows_of(home, table)} == {(None, None)}
    assert not [name for name in metadata_of(home) if "reason" in name and name != "backend_reason"]


@pytest.mark.parametrize(
    ("setting", "request_"), [("3", {"model": "challenger"}), ("0", {"model": "challenger", "reasons": 1})]
)
def test_a_model_without_reasons_stops_the_run_before_a_customer_is_read(make_home, setting, request_):
    home = make_home(reasons=setting)
    with pytest.raises(ReasonsUnavailable, match=r"combines several classifiers.* Switch reasons off"):
        home.score(**request_)
    assert home.table_store().tables() == []
    with pytest.raises(ReasonsUnavailable):
        runs.plan_scoring(home, runs.Request(**request_))


def test_the_doctor_finds_a_setting_of_reasons_that_the_model_cannot_give(make_home):
    found = found_by("model", partial(_LOOKS["model"], make_home(reasons="1", alias="challenger")), [])
    assert found.status == "fault"
    assert "Switch reasons off" in found.fix
    assert found_by("model", partial(_LOOKS["model"], make_home(reasons="1")), []).status == "ok"


def test_a_request_wins_over_the_setting(make_home):
    home = make_home(reasons="3")
    asked = (None, 0, 1)
    told = [runs.plan_scoring(home, runs.Request(reasons=most)).reasons for most in asked]
    assert [reasons and reasons["most"] for reasons in told] == [3, None, 1]
    assert home.score(model="challenger", reasons=0).row.rows_scored == ROWS


@pytest.mark.slow
def test_a_batch_that_is_scored_again_with_reasons_has_one_copy_of_each_row_with_them(make_home):
    home = make_home()
    for reasons in (0, 2, 2):
        home.score(reasons=reasons)
    for table in ("churn_predictions", "current_churn_scores"):
        found = rows_of(home, table)
        assert len(found) == ROWS
        assert all(len(row["reasons_up"]) == 2 for row in found)


def without_reasons(home: Home, *tables: str) -> None:
    """Turn tables into those of a release that had no reasons."""
    store, batch = home.table_store(), Ledger(home.table_store()).newest().batch
    for name in tables:
        rows = store.open(name, batch).to_arrow()
        kept = rows.drop_columns([c for c in rows.schema.names if c in {*LATER, "batch_id", "batch_date", "id_bucket"}])
        old = Rows(batch, kept.schema, kept.to_batches())
        (home.settings.folder / "tables" / "telco" / name).rename(home.settings.folder / f"{name} of this release")
        if name == "current_churn_scores":
            merge_newest(store, name, old, "customerID", ["event_at"])
        else:
            store.write(name, old, "append")
        assert "reasons_up" not in store.open(name).schema.names


@pytest.mark.slow
@pytest.mark.parametrize("reasons", [0, 2])
def test_tables_of_a_release_without_reasons_go_on(make_home, tmp_path, reasons):
    home = make_home()
    home.score()
    without_reasons(home, "churn_predictions", "current_churn_scores")
    home.score(source=str(customer_file(tmp_path / "more.csv", 7, seed=5)), reasons=reasons)
    for table in ("churn_predictions", "current_churn_scores"):
        found = rows_of(home, table)
        assert sum(row["batch_id"].startswith("more-") for row in found) == 7
        assert {len(row["reasons_up"] or []) for row in found if row["batch_id"].startswith("more-")} == {reasons}
        assert {row["reasons_up"] for row in found if not row["batch_id"].startswith("more-")} == {None}
