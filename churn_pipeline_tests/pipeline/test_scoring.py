"""The main job: a customer file becomes predictions, rejects and a ledger row."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from churn_pipeline import deployments
from churn_pipeline.contract.definition import MissingColumn
from churn_pipeline.contract.validation import TooManyRejected
from churn_pipeline.errors import explanations
from churn_pipeline.kernel.frame import frame
from churn_pipeline.resources.customer_sources.base import SourceNotFound
from churn_pipeline_tests.builders import TELCO, customer_file, rows_of, score, trained_home


def test_a_customer_file_becomes_predictions_that_add_up(deployment):
    outcome = score(deployment)
    row = outcome.row
    assert (row.rows_read, row.rows_scored, row.rows_rejected, row.rows_unscored) == (200, 200, 0, 0)
    predictions = rows_of(deployment, "churn_predictions")
    assert len(predictions) == 200
    assert {p["model_version"] for p in predictions} == {row.model_version} and {
        p["batch_id"] for p in predictions
    } == {row.batch.id}
    assert sum(p["prediction"] for p in predictions) == row.rows_churn
    assert row.revenue_at_risk == pytest.approx(sum(p["revenue_at_risk"] for p in predictions))
    assert [p["source_position"] for p in predictions] == list(range(1, 201))
    assert outcome.alert_sent and "Call list ready" in outcome.alert.title


def test_probabilities_equal_the_registered_estimators_own(deployment):
    score(deployment)
    customers = deployment.table_store().open("customers").to_arrow()
    registry = deployment.model_registry()
    model = registry.resolve("churn_model", "champion", deployment.contract())
    direct = registry.load(model).predict_proba(frame(customers.combine_chunks().to_batches()[0], model.inputs))[:, 1]
    stored = [p["churn_probability"] for p in rows_of(deployment, "churn_predictions")]
    assert np.abs(np.array(stored) - direct).max() <= 1e-12


def test_scoring_again_replaces_the_batch_and_alerts_no_second_time(deployment):
    first, second = score(deployment), score(deployment)
    assert first.row.batch.id == second.row.batch.id
    assert first.alert_sent and not second.alert_sent
    for table, rows in {
        "churn_predictions": 200,
        "customers": 200,
        "scored_batches": 1,
        "current_churn_scores": 200,
    }.items():
        assert len(rows_of(deployment, table)) == rows


def test_rows_that_break_the_contract_are_quarantined_with_every_rule(deployment, tmp_path):
    source = tmp_path / "mixed.csv"
    lines = customer_file(tmp_path / "c.csv", 40).read_text().splitlines()
    lines[3] = lines[3].rsplit(",", 1)[0]  # one field short
    cells = lines[5].split(",")
    tenure, gender = lines[0].replace('"', "").split(",").index("tenure"), 1
    cells[tenure], cells[gender] = "-4", '"Robot"'
    lines[5] = ",".join(cells)
    source.write_text("\n".join(lines) + "\n")
    row = score(deployment, source=str(source)).row
    assert (row.rows_read, row.rows_rejected, row.rows_scored) == (40, 2, 38)
    rejected = {r["source_position"]: r for r in rows_of(deployment, "rejected_customers")}
    assert rejected[3]["rules"] == ["wrong_width"]
    assert sorted(rejected[5]["rules"]) == ["below_minimum", "not_allowed"]
    assert {(f["column"], f["value"]) for f in rejected[5]["failures"]} == {("tenure", "-4"), ("gender", "Robot")}


def test_too_many_broken_rows_stop_the_run_before_anything_is_written(deployment, tmp_path):
    source = customer_file(tmp_path / "broken.csv", 50, broken=20)
    with pytest.raises(
        TooManyRejected, match=r"20 of 50 rows \(40 %\) broke the contract, more than the limit of 10 %"
    ):
        score(deployment, source=str(source), reject_limit="0.1")
    assert deployment.table_store().tables() == []
    failed = [alert for alert in deployment.alerts().log.recent() if alert.key.startswith("failed/")]
    assert len(failed) == 1


def test_a_missing_column_names_itself_and_the_nearest(deployment, tmp_path):
    source = customer_file(tmp_path / "c.csv", 5)
    source.write_text(source.read_text().replace("tenure", "Tenur", 1))
    with pytest.raises(MissingColumn, match=r"'tenure' \(nearest: 'Tenur'\)"):
        score(deployment, source=str(source))


def test_a_missing_file_is_an_error_that_alerts(deployment, tmp_path):
    with pytest.raises(SourceNotFound):
        score(deployment, source=str(tmp_path / "nowhere.csv"))
    assert [alert.level for alert in deployment.alerts().log.recent()] == ["failed"]


def test_a_file_that_is_missing_on_another_day_is_told_again(deployment, tmp_path, monkeypatch):
    class Tomorrow(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=1)

    for clock, told in ((datetime, 1), (datetime, 1), (Tomorrow, 2)):
        monkeypatch.setattr("churn_pipeline.resources.alerting.datetime", clock)
        with pytest.raises(SourceNotFound):
            score(deployment, source=str(tmp_path / "elsewhere.csv"))
        found = [alert for alert in deployment.alerts().log.recent() if "elsewhere" in str(alert)]
        assert len(found) == told


def test_an_alert_that_cannot_be_sent_does_not_hide_why_the_run_failed(deployment, tmp_path):
    deaf = deployments.test(deployment.settings.folder, alert_urls="json://127.0.0.1:9/")
    with pytest.raises(SourceNotFound) as raised:
        score(deaf, source=str(tmp_path / "not_there.csv"))
    found = [type(item).__name__ for item in explanations(raised.value)]
    assert found[0] == "SourceNotFound" and set(found[1:]) == {"AlertNotDelivered"}


def test_a_word_that_is_no_text_is_in_quarantine_and_its_column_is_written(deployment, tmp_path):
    source = customer_file(tmp_path / "c.csv", 40)
    lines = source.read_bytes().splitlines()
    lines[3] = lines[3].replace(b"Yes", b"Y\xff", 1).replace(b"No", b"N\xff", 1)
    source.write_bytes(b"\n".join(lines) + b"\n")
    row = score(deployment, source=str(source)).row
    assert (row.rows_scored, row.rows_rejected) == (39, 1)
    (rejected,) = [found for found in rows_of(deployment, "rejected_customers") if found["batch_id"] == row.batch.id]
    assert "not_utf8" in rejected["rules"]


def test_a_file_with_a_header_only_is_a_batch_of_nothing(deployment, tmp_path):
    source = customer_file(tmp_path / "c.csv", 3)
    source.write_text(source.read_text().splitlines()[0] + "\n")
    row = score(deployment, source=str(source)).row
    assert (row.rows_read, row.rows_scored, row.mean_probability) == (0, 0, None)
    assert len(rows_of(deployment, "scored_batches")) == 1


@pytest.mark.parametrize("policy, scored, rejected", [("keep", 12, 0), ("last", 10, 2), ("reject", 8, 4)])
def test_duplicate_ids_follow_the_policy(deployment, tmp_path, policy, scored, rejected):
    source = customer_file(tmp_path / "c.csv", 10)
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines, lines[2], lines[7]]) + "\n")
    row = score(deployment, source=str(source), duplicates=policy, reject_limit="1.0").row
    assert (row.rows_scored, row.rows_rejected) == (scored, rejected)
    assert row.rows_duplicate == (2 if policy != "reject" else 4)
    current = rows_of(deployment, "current_churn_scores")
    assert len(current) == len({c["customerID"] for c in current}) == (8 if policy == "reject" else 10)
    if policy == "last":
        assert {r["source_position"] for r in rows_of(deployment, "rejected_customers")} == {2, 7}


def test_the_newest_file_wins_in_the_current_scores(deployment, tmp_path):
    import os

    old, new = customer_file(tmp_path / "old.csv", 10), tmp_path / "new.csv"
    new.write_text(old.read_text().replace("0003-", "9999-"))
    os.utime(old, (1_700_000_000, 1_700_000_000))
    os.utime(new, (1_750_000_000, 1_750_000_000))
    score(deployment, source=str(new))
    score(deployment, source=str(old))
    current = {c["customerID"]: c["batch_id"].split("-")[0] for c in rows_of(deployment, "current_churn_scores")}
    assert len(current) == 11 and sorted(current.values()) == ["new"] * 10 + ["old"]


@pytest.mark.slow
def test_the_public_telco_table_is_scored_whole(tmp_path):
    deployment = trained_home(tmp_path, source=str(TELCO), training_source=str(TELCO))
    row = score(deployment).row
    assert (row.rows_read, row.rows_scored, row.rows_rejected) == (7043, 7043, 0)
    assert row.cells_cleaned == {"TotalCharges": 11}
    assert row.rows_duplicate == 0
    stored = rows_of(deployment, "churn_predictions")
    assert len(stored) == 7043


def test_a_limit_reads_only_so_many_rows_and_is_a_batch_of_its_own(deployment):
    whole, part = score(deployment), score(deployment, limit=50)
    assert part.row.rows_read == 50 and part.row.batch.id != whole.row.batch.id
    assert len(rows_of(deployment, "scored_batches")) == 2


def test_a_parquet_file_of_another_column_order_scores_the_same(deployment, tmp_path):
    import pyarrow.parquet as pq

    table = pa_csv.read_csv(deployment.settings.source)
    pq.write_table(
        table.select(table.column_names[::-1]).append_column("more", pa.array(range(200))), tmp_path / "c.parquet"
    )
    score(deployment)
    score(deployment, source=str(tmp_path / "c.parquet"))
    by_batch: dict[str, list[float]] = {}
    for p in rows_of(deployment, "churn_predictions"):
        by_batch.setdefault(p["batch_id"], []).append(p["churn_probability"])
    first, second = by_batch.values()
    assert first == second


def test_an_export_is_written_where_a_setting_asks_for_it(deployment):
    settings = deployment.settings
    exporting = deployments.test(
        settings.folder, source=settings.source, tracking_uri=settings.tracking_uri, export="csv"
    )
    score(exporting)
    handle = exporting.export_store().open("exported_predictions")
    assert handle is not None and handle.rows == 200
