import dataclasses
from datetime import UTC, datetime

import pytest

from churn_pipeline.batches import FileBatch, FileBound
from churn_pipeline.ledger import ScoredBatch
from churn_pipeline.resources.alerts import (
    SensorTrouble,
    completion_alert,
    failure_alert,
    sensor_alert,
    sensor_recovery_alert,
)

AT = datetime(2026, 7, 1, 9, 30, tzinfo=UTC)
BATCH = FileBatch("/data/customers.csv", "csv", (FileBound("/data/customers.csv", 10, "ab" * 32, AT),))
DONE = ScoredBatch(
    batch=BATCH, contract="telco", bytes_read=70_000, rows_read=1000, rows_customers=1000, rows_rejected=0,
    rows_scored=1000, rows_unscored=0, rows_duplicate=0, rows_churn=265, cells_cleaned={}, mean_probability=0.27,
    revenue_at_risk=18214.4, model_name="churn_model", model_version="3", threshold=0.53, backend="sklearn",
    kernel_tier="reference", table_versions={}, stage_seconds={}, seconds=42.04, run_id="r1", scored_at=AT,
)  # fmt: skip
PART = dataclasses.replace(DONE, rows_read=1012, rows_customers=1002, rows_rejected=10, rows_unscored=2)
TROUBLE = SensorTrouble("customer_batches", "failing", AT)
LINK = "http://localhost:3000/runs/r1"


def test_the_first_line_of_a_finished_batch_says_whom_to_call_and_what_is_at_stake():
    assert completion_alert(DONE, LINK, "dollars a month").title == (
        "Call list ready: 265 of 1,000 customers are predicted to churn, 18,214 dollars a month at risk."
    )


def test_a_finished_batch_says_everything_a_person_needs():
    alert = completion_alert(PART, LINK, "dollars a month", reference_share=0.266)
    assert alert.text.splitlines()[1:] == [
        "",
        "Status: done",
        "Look at: rejected_customers (10 broke the contract), unscored_customers (2 the model could not score)",
        f"Batch: {BATCH.id} (/data/customers.csv)",
        "Output shape: 1,000 rows, 3 columns",
        "Rows: 1,012 read, 1,000 scored, 10 rejected, 2 unscored, 0 with an id seen before",
        "Predicted to churn: 265 (26.5 %; 26.6 % when the model was trained)",
        "Revenue at risk: 18,214 dollars a month (probability times amount, over all scored customers)",
        "Model: churn_model version 3, threshold 0.53",
        "Backend: sklearn (reference)",
        "Duration: 42.0 s",
        f"Run: {LINK}",
    ]


def test_a_contract_without_an_amount_says_nothing_of_money():
    alert = completion_alert(dataclasses.replace(DONE, revenue_at_risk=None), None, "")
    assert alert.title == "Call list ready: 265 of 1,000 customers are predicted to churn."
    assert "risk" not in alert.text
    assert "Run:" not in alert.text


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({"rows_read": 0, "rows_scored": 0}, "Check the source: /data/customers.csv holds no customers."),
        ({"rows_scored": 0, "rows_churn": 0}, "Repair the records: none of 1,000 rows could be scored."),
        ({"rows_churn": 0}, "No calls to make: none of 1,000 customers is predicted to churn, 18,214 at risk."),
        ({"rows_churn": 1}, "Call list ready: 1 of 1,000 customers is predicted to churn, 18,214 at risk."),
        ({"revenue_at_risk": 70.5}, "Call list ready: 265 of 1,000 customers are predicted to churn, 70.50 at risk."),
    ],
)  # fmt: skip
def test_the_first_line_fits_what_came_out(change, title):
    assert completion_alert(dataclasses.replace(DONE, **change), None, "").title == title


def test_it_is_a_warning_if_not_every_customer_was_scored():
    assert completion_alert(DONE, None, "").level == "done"
    assert completion_alert(PART, None, "").level == "warning"
    assert completion_alert(dataclasses.replace(DONE, rows_scored=0), None, "").level == "warning"


def test_attempts_at_one_batch_are_one_alert_and_another_model_version_is_another():
    again = dataclasses.replace(DONE, seconds=3.0, run_id="r2")
    other = dataclasses.replace(DONE, model_version="4")
    assert completion_alert(again, "elsewhere", "").key == completion_alert(DONE, LINK, "").key
    assert completion_alert(other, LINK, "").key != completion_alert(DONE, LINK, "").key
    assert failure_alert("customers", "a.", "b-1", "x").key == failure_alert("model", "b.", "b-1", "y").key


def test_failures_before_the_batch_is_known_are_one_alert_a_run():
    first = failure_alert("customers", "No such file.", None, "runs/1", source="/data/customers.csv")
    assert first.key == failure_alert("customers", "No such file.", None, "runs/1", source="/data/customers.csv").key
    assert first.key != failure_alert("customers", "No such file.", None, "runs/2", source="/data/customers.csv").key
    assert failure_alert("a", "b.", None, None, run_id="1").key != failure_alert("a", "b.", None, None, run_id="2").key
    assert "Batch: not known yet (/data/customers.csv)" in first.lines


def test_a_failure_says_what_to_do_where_and_why():
    alert = failure_alert(
        "customers",
        "customers.csv has no column 'tenure'.\nRename it, or map it.",
        "b-1",
        LINK,
        "churn_model version 3",
    )
    assert alert.level == "failed"
    assert alert.text.splitlines() == [
        "Fix and run again (scoring stopped at customers): customers.csv has no column 'tenure'.",
        "",
        "Status: failed",
        "Stage: customers",
        "Cause: customers.csv has no column 'tenure'. Rename it, or map it.",
        "Batch: b-1",
        "Model: churn_model version 3",
        "What this batch has written so far does not count; the next attempt replaces it.",
        f"Run: {LINK}",
    ]


def test_a_long_cause_is_cut_and_the_first_line_stays_one_line():
    alert = failure_alert("customers", "word\n" * 1000, "b-1", None)
    assert "\n" not in alert.title
    assert len(alert.title) < 260
    assert len(alert.text) < 1500


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (59.9, "59.9 s"), (192, "3 min 12 s"), (3840, "1 h 4 min")]
)
def test_durations_are_said_as_people_say_them(seconds, said):
    assert f"Duration: {said}" in completion_alert(dataclasses.replace(DONE, seconds=seconds), None, "").lines


def test_one_trouble_of_a_sensor_is_one_alert_whatever_its_cause_and_its_end_is_another():
    first = sensor_alert(TROUBLE, "No broker.", "Ask for batches.", None)
    assert first.key == sensor_alert(TROUBLE, "No topic.", "Ask for batches.", LINK).key
    later = dataclasses.replace(TROUBLE, since=datetime(2026, 7, 2, tzinfo=UTC))
    silent = dataclasses.replace(TROUBLE, kind="silent")
    over = sensor_recovery_alert(TROUBLE, "Ask for batches.", None)
    keys = {first.key, over.key, *(sensor_alert(other, "", "", None).key for other in (later, silent))}
    assert len(keys) == 4


def test_the_first_line_about_a_sensor_says_what_to_do():
    said = "Broker a:9 does not answer. Start it."
    assert sensor_alert(TROUBLE, said, "", None).title == (
        "Repair what sensor customer_batches needs (each of its last ticks failed): Broker a:9 does not answer."
    )
    assert sensor_alert(dataclasses.replace(TROUBLE, kind="silent"), "", "", None).title == (
        "Look at Dagster's daemon: sensor customer_batches is on and has not ticked since 2026-07-01 09:30 UTC."
    )


def test_an_alert_about_a_sensor_names_its_page_as_one_of_a_sensor():
    assert sensor_alert(TROUBLE, "No broker.", "Ask for batches.", "http://x/s").text.endswith("\nSensor: http://x/s")
    assert "http" not in sensor_alert(TROUBLE, "No broker.", "Ask for batches.", None).text
