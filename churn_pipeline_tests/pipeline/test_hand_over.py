"""What an asset reads: its own run's batch, a retried run's parent's, or alone the ledger's newest."""

import dagster as dg
import pytest

from churn_pipeline import runs
from churn_pipeline.definitions import build_defs
from churn_pipeline.deployments import local
from churn_pipeline.io_managers.dagster_io import NothingToRead
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline_tests.builders import customer_file, instance_of, rows_of, score


def alone(deployment, *assets):
    """Materialise some assets in a run of their own, as the UI's button does."""
    job = build_defs(deployment).resolve_implicit_global_asset_job_def()
    with instance_of(deployment) as instance:
        return job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(name) for name in assets])


def test_an_asset_materialised_alone_reads_the_newest_batch_of_the_ledger(deployment, tmp_path):
    score(deployment, source=str(customer_file(tmp_path / "first.csv", 10)))
    newest = score(deployment, source=str(customer_file(tmp_path / "second.csv", 20))).row.batch.id
    result = alone(deployment, "churn_predictions", "unscored_customers")
    events = {e.asset_key.path[-1]: e for e in result.asset_materializations_for_node("score_customers_of_batch")}
    event = events["churn_predictions"]
    assert event.metadata["batch"].value == newest and event.metadata["dagster/row_count"].value == 20
    assert len(rows_of(deployment, "churn_predictions")) == 30


def test_the_ledger_written_alone_says_the_same_of_the_batch(deployment):
    before = score(deployment).row
    alone(deployment, "scored_batches")
    [after] = Ledger(deployment.table_store()).all()
    same = ("rows_read", "rows_scored", "rows_churn", "rows_duplicate", "cells_cleaned", "model_version", "scored_at")
    assert {name: getattr(after, name) for name in same} == {name: getattr(before, name) for name in same}


def test_an_asset_materialised_alone_on_an_empty_home_says_what_to_do_first(deployment):
    with pytest.raises(NothingToRead, match="Materialise it first, or run the job score_customers"):
        alone(deployment, "current_churn_scores")


def score_job() -> dg.JobDefinition:
    """The job as a code location gives it, so that Dagster can build it again for a retry."""
    return build_defs(local()).resolve_job_def("score_customers")


def test_a_run_retried_from_its_failure_goes_on_with_the_batch_it_had(deployment, tmp_path, monkeypatch):
    settings = deployment.settings
    other = customer_file(tmp_path / "other.csv", 7)
    monkeypatch.setenv("CHURN_HOME", settings.home)
    monkeypatch.setenv("CHURN_SOURCE", str(settings.source))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", settings.tracking_uri)
    blocked = deployment.settings.folder / "tables" / "telco" / "scored_batches"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("a file where a folder should be")
    job = dg.reconstructable(score_job)
    with instance_of(deployment) as instance:
        first = dg.execute_job(job, instance=instance, raise_on_error=False)
        assert not first.success and rows_of(deployment, "customers")
        blocked.unlink()
        # Another batch in between must not be taken for this one.
        runs.score(deployment, runs.Request(source=str(other)), instance)
        options = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        again = dg.execute_job(job, instance=instance, reexecution_options=options)
        assert again.success
    ledger = {row.batch.source: row.rows_scored for row in Ledger(deployment.table_store()).all()}
    assert ledger == {settings.source: 200, str(other): 7}
