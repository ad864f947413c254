"""`score`, `plan`, `train`, `run` and `demo`, whole."""

import csv
import json
import signal
import time

import pytest
from adbc_driver_sqlite import dbapi
from deltalake import write_deltalake

from churn_pipeline import jobs
from churn_pipeline.contract.definition import Contract
from churn_pipeline.sample import sample
from churn_pipeline_tests.builders import customer_file
from churn_pipeline_tests.cli.conftest import Shop, tree


def test_train_prints_one_json_object(shop, tmp_path):
    training = customer_file(tmp_path / "training.csv", 600, seed=1, label=True)
    result = Shop(tmp_path, shop.customers).call("train", training, "--json")
    said = json.loads(result.stdout)
    assert result.exit_code == 0 and result.stderr == ""
    assert {"model_name", "model_version", "promoted", "metrics", "tracking_uri"} <= set(said)
    assert said["promoted"] is True and said["model_version"] == "1" and 0.5 < said["metrics"]["roc_auc"] < 1


def test_score_prints_one_json_object_and_nothing_else(scored):
    shop, result = scored
    said = json.loads(result.out)
    assert result.code == 0 and result.err == ""
    assert said["batch_id"].startswith("customers-")
    assert (said["rows_read"], said["rows_scored"], said["rows_rejected"], said["rows_unscored"]) == (200, 197, 3, 0)
    assert said["output_shape"] == [197, 3]
    assert (said["model_name"], said["model_version"], said["backend"]) == ("churn_model", "1", "sklearn")
    assert (said["kernel_tier"], said["fallback"]) == ("linear", None)
    assert set(said["tables"]) == set(jobs.TABLES)
    assert all(location.startswith(str(shop.home)) for location in said["tables"].values())


def test_the_output_file_holds_every_prediction(scored):
    shop, result = scored
    said = json.loads(result.out)
    with (shop.folder / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 197 and said["output"] == str(shop.folder / "scores.csv")
    assert sum(float(row["revenue_at_risk"]) for row in rows) == pytest.approx(said["revenue_at_risk"])


def test_the_numbers_of_a_plan_are_those_of_the_run(shop, tmp_path):
    lines = customer_file(tmp_path / "more.csv", 60, broken=2).read_text().splitlines()
    (tmp_path / "more.csv").write_text("\n".join([*lines, lines[5], "too,short"]) + "\n")
    arguments = (tmp_path / "more.csv", "--duplicates", "last", "--limit", 61, "--reject-limit", 10)
    planned, done = shop.value("plan", *arguments), shop.value("score", *arguments)
    shared = set(planned) & set(done)
    assert {"batch_id", "rows_read", "rows_rejected", "rows_duplicate", "cells_cleaned", "tables"} <= shared
    assert {name: planned[name] for name in shared} == {name: done[name] for name in shared}
    assert planned["rows_customers"] == done["rows_scored"] + done["rows_unscored"] == 58
    assert shop.value("plan", *arguments)["scored_before"] and not planned["scored_before"]


def test_a_delta_table_is_planned_scored_examined_and_held_against_the_contract(shop, tmp_path):
    table = tmp_path / "customers"
    for seed in (1, 2):
        write_deltalake(table, sample(Contract.load("telco"), 40, seed=seed), mode="append", partition_by=["Contract"])
    assert "80 of 80 rows keep it" in shop.call("contract", "check", "telco", "--data", table).stdout
    assert "Delta table" in shop.call("doctor", CHURN_SOURCE=str(table)).stdout
    planned, done = shop.value("plan", table), shop.value("score", table, "--limit", 70)
    assert (planned["version"], planned["rows_customers"], planned["scored_before"]) == (1, 80, False)
    assert done["rows_scored"] == 70 and done["batch_id"] != planned["batch_id"]
    write_deltalake(table, sample(Contract.load("telco"), 5, seed=3), mode="overwrite", partition_by=["Contract"])
    again = shop.value("rescore", done["batch_id"])
    assert again["rows_scored"] == 70 and again["batch_id"] != done["batch_id"]
    assert shop.value("score", table)["rows_scored"] == 5


def test_a_table_of_a_database_is_planned_scored_examined_and_scored_again(shop, tmp_path):
    rows = sample(Contract.load("telco"), 80, seed=4)
    with dbapi.connect(str(tmp_path / "shop.db")) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("customers", rows)
        connection.commit()
    settings = {"CHURN_DATABASE_URL": f"sqlite:///{tmp_path}/shop.db", "CHURN_HOME": str(tmp_path / "home")}
    looked = shop.call("doctor", CHURN_SOURCE="sql:customers", **settings).stdout
    assert "the database answers, with every column" in " ".join(looked.split())
    assert not (tmp_path / "home" / "snapshots").exists()
    said = shop.call("plan", "sql:customers", **settings).stdout
    assert "only the snapshot of what the database answered was written" in said and "snapshot, " in said
    query = "sql:select * from customers where tenure >= 0 order by tenure"
    assert "80 of 80 rows keep it" in shop.call("contract", "check", "telco", "--data", query, **settings).stdout
    planned, done = (shop.value(command, "sql:customers", **settings) for command in ("plan", "score"))
    assert planned["batch_id"] == done["batch_id"] and done["rows_scored"] == 80
    (tmp_path / "shop.db").unlink()
    again = shop.value("rescore", done["batch_id"], **settings)
    assert again["rows_scored"] == 80
    kept = [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert kept and not any(b"shop.db" in text for text in kept)


def test_reasons_are_planned_and_written_where_they_are_asked_for(shop, tmp_path):
    customers = customer_file(tmp_path / "why.csv", 20)
    planned = shop.value("plan", customers, "--reasons", 2)["reasons"]
    done = shop.value("score", customers, "--reasons", 2, "--output", tmp_path / "why.jsonl")
    assert done["reasons"] == planned
    assert (planned["most"], planned["unit"], planned["exact"]) == (2, "log-odds", True)
    rows = [json.loads(line) for line in (tmp_path / "why.jsonl").read_text().splitlines()]
    assert {len(row["reasons_up"]) for row in rows} == {2}
    assert (
        "Explained     2 reasons up and 2 down a row, exact, in log-odds"
        in shop.call("plan", customers, CHURN_REASONS="2").stdout
    )
    assert shop.call("score", customers, "--reasons", -1).exit_code == 2
    assert shop.call("score", customers, CHURN_REASONS="all").exit_code == 2


def test_a_plan_writes_nothing(shop, tmp_path):
    before = tree(shop.folder)
    result = shop.call("plan", shop.customers, "--output", tmp_path / "not" / "yet.csv")
    assert result.exit_code == 0 and "197 to score, 3 to reject" in result.stdout
    assert tree(shop.folder) == before and list(tmp_path.iterdir()) == []


def test_a_plan_on_an_empty_home_says_what_is_missing_and_makes_no_folder(shop, tmp_path):
    result = Shop(tmp_path, shop.customers).call("plan", shop.customers)
    assert result.exit_code == 5 and "There is no model yet" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_people_are_told_calmly_and_tables_go_to_the_folder_that_output_names(shop, tmp_path):
    result = shop.call("score", shop.customers, "--output", tmp_path / "elsewhere")
    assert result.exit_code == 0 and result.stderr == "" and "\x1b" not in result.stdout
    assert "Rows          200 read, 197 scored, 3 rejected, 0 unscored\n" in result.stdout
    assert "Alert         sent before, not again\n" in result.stdout
    assert f"Tables        {tmp_path}/elsewhere/telco (customers," in result.stdout
    assert (tmp_path / "elsewhere" / "telco" / "scored_batches" / "_delta_log").is_dir()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere.csv"], 3, "There is no file or folder"),
        (["CUSTOMERS", "--reject-limit", "0.001"], 4, "3 of 200 rows (1.5 %) broke the contract"),
        (["CUSTOMERS", "--model", "nobody"], 5, "Model churn_model has no alias 'nobody'"),
        (["CUSTOMERS", "--output", "CUSTOMERS/scores.csv"], 7, "is no folder"),
        (["CUSTOMERS", "--contract", "nobody"], 2, "No contract 'nobody'"),
    ],
)
def test_each_cause_has_its_exit_code_and_a_sentence(shop, arguments, code, said):
    given = [argument.replace("CUSTOMERS", str(shop.customers)) for argument in arguments]
    result = shop.call("score", *given, "--json")
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr and result.stderr.count("\n") == 1 and "Traceback" not in result.stderr


def test_an_alert_that_is_not_delivered_is_exit_code_8_and_the_batch_is_done(shop, tmp_path):
    customers = customer_file(tmp_path / "untold.csv", 20)
    result = shop.call("score", customers, "--json", CHURN_ALERT_URLS="json://127.0.0.1:9/")
    assert result.exit_code == 8 and "could not be connected to" in result.stderr
    assert shop.value("batches")[0]["batch_id"].startswith("untold-")


def test_a_home_that_cannot_be_made_is_found_out_before_anything_is_read(shop):
    result = shop.call("score", shop.customers, CHURN_HOME=f"{shop.customers}/home")
    assert result.exit_code == 7 and "is no folder" in result.stderr


def test_a_job_file_is_run(shop, tmp_path):
    job = tmp_path / "job.yaml"
    job.write_text(f"inputs:\n  KIND: FilesReader\n  path: {shop.customers}\n")
    result = shop.call("run", job, "-e", "inputs.limit=10")
    assert result.exit_code == 0, result.stderr
    assert "10 read" in result.stdout
    assert shop.call("run", job, "-e", "inputs.limt=10").exit_code == 2
    assert shop.call("run").exit_code == 2
    assert json.loads(shop.call("run", "--schema").stdout)["title"] == "InferenceJob"


def test_the_demo_makes_samples_and_ends_with_a_summary(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = shop.call("demo", CHURN_SOURCE="", CHURN_TRAINING_SOURCE="")
    assert result.exit_code == 0, result.stderr
    made = sorted(path.name for path in (tmp_path / "data" / "sample").iterdir())
    assert made == ["customers.csv", "training_customers.csv"] and "Training" not in result.stderr
    for said in (
        "1,000 read, 993 scored, 7 rejected",
        "993 rows × 3 columns",
        "churn_model version 1",
        "The alert (sent)",
        "The 10 customers with most revenue at risk",
        "Call list ready",
        "Next",
    ):
        assert said in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["starting", "writing"])
def test_an_interrupted_run_says_so(shop, tmp_path, moment):
    customers = customer_file(tmp_path / "many.csv", 300_000)
    process = shop.program("score", customers)
    if moment == "starting":
        time.sleep(0.7)
    else:
        while process.poll() is None and not list(shop.home.rglob("*many-*.parquet")):
            time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert said == "Error: Interrupted. Nothing half-written counts; run it again.\n"
