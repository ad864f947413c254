"""A batch is scored while it is read, and nobody can tell but by the time."""

from pathlib import Path

import dagster as dg
import pytest

from churn_pipeline.definitions import build_defs
from churn_pipeline.io_managers.delta_files import active_files, open_delta
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.kernel.canary import PlanDisproved
from churn_pipeline_tests.builders import customer_file, instance_of, rows_of, score

SCORED = ["churn_probability", "prediction", "threshold", "revenue_at_risk", "model_version", "backend"]
TABLES = ["churn_predictions", "unscored_customers"]


@pytest.fixture
def read_again(monkeypatch):
    """Tables whose rows were read to score them, in this process."""
    tables = []

    def stream(self, handle, columns=None, since=None):
        if columns and "tenure" in columns and "event_at" in columns:
            tables.append(handle.table)
        return original(self, handle, columns, since)

    original = DeltaTables.stream
    monkeypatch.setattr(DeltaTables, "stream", stream)
    return tables


def strays(deployment):
    """Files of predictions that no commit shows."""
    location = deployment.table_store().location("churn_predictions")
    loaded = open_delta(location)
    shown = {file.path for file in active_files(loaded)} if loaded else set()
    files = (path.relative_to(location).as_posix() for path in Path(location).rglob("*.parquet"))
    return [file for file in files if file not in shown]


def without_what_was_scored_ahead(deployment):
    """Score the newest batch of the ledger once more, in a run that begins at the predictions."""
    job = build_defs(deployment).resolve_implicit_global_asset_job_def()
    with instance_of(deployment) as instance:
        job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(name) for name in TABLES])


def test_customers_are_not_read_again_to_score_them_and_scores_are_the_same(deployment, tmp_path, read_again):
    score(deployment, source=str(customer_file(tmp_path / "c.csv", 300, broken=9)))
    assert read_again == [] and strays(deployment) == []
    ahead = rows_of(deployment, "churn_predictions")
    without_what_was_scored_ahead(deployment)
    assert read_again == ["customers"]
    after = rows_of(deployment, "churn_predictions")
    assert len(ahead) == len(after) == 291
    assert [[row[name] for name in SCORED] for row in ahead] == [[row[name] for name in SCORED] for row in after]


def test_the_ledger_has_the_time_that_stands_on_the_rows(deployment):
    score(deployment)
    [row] = Ledger(deployment.table_store()).all()
    assert {p["scored_at"] for p in rows_of(deployment, "churn_predictions")} == {row.scored_at}


def test_a_batch_that_is_refused_leaves_no_prediction_on_the_disk(deployment, tmp_path):
    source = customer_file(tmp_path / "broken.csv", 50, broken=20)
    with pytest.raises(Exception, match="broke the contract"):
        score(deployment, source=str(source), reject_limit="0.1")
    assert strays(deployment) == []


def test_predictions_of_customers_that_a_check_finds_wrong_are_never_shown(deployment, monkeypatch):
    monkeypatch.setattr("churn_pipeline.checks._broken_cells", lambda *_: 1)
    with pytest.raises(Exception, match="customers_keep_the_contract"):
        score(deployment)
    assert deployment.table_store().tables() == ["customers", "rejected_customers"]


def test_what_stops_the_scorer_is_the_failure_of_the_step_that_scores(deployment, monkeypatch):
    def differ(*_):
        raise PlanDisproved("tables and estimator differ")

    monkeypatch.setattr("churn_pipeline.resources.inference.local.score", differ)
    with pytest.raises(PlanDisproved):
        score(deployment)
    [alert] = [alert for alert in deployment.alerts().log.recent() if alert.level == "failed"]
    assert "score_customers_of_batch" in alert.title
    # Customers were read to their end, and are there.
    assert len(rows_of(deployment, "customers")) == 200
    assert "churn_predictions" not in deployment.table_store().tables()
