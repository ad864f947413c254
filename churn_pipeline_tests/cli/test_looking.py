"""`batches`, `show`, `doctor`, `contract` and `sample`."""

import json
from datetime import UTC, datetime
from io import StringIO

import pyarrow as pa
import pyarrow.csv as pa_csv
from rich.console import Console

from churn_pipeline.assets.prediction_rows import LATER, predictions_schema
from churn_pipeline.batches import FileBatch
from churn_pipeline.cli.show import as_table, most_at_risk
from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.base import Rows
from churn_pipeline.io_managers.memory_tables import MemoryTables
from churn_pipeline_tests.cli.conftest import Shop, tree


def test_batches_tells_of_the_ledger(shop):
    rows = shop.value("batches")
    mine = next(row for row in rows if row["batch_id"].startswith("customers-") and row["rows_read"] == 200)
    assert mine["rows_scored"] == 197 and mine["model_version"] == "1"
    lines = shop.call("batches").stdout.splitlines()
    assert mine["batch_id"] in "\n".join(lines) and max(map(len, lines)) <= 80


def test_an_empty_home_has_no_batches_and_no_scores_and_says_how_to_start(shop, tmp_path):
    empty = Shop(tmp_path, shop.customers)
    assert (empty.value("batches"), empty.value("show")) == ([], [])
    for command in ("batches", "show"):
        assert "churn-pipeline score FILE" in empty.call(command).stdout
    assert list(tmp_path.iterdir()) == []


def test_show_puts_most_revenue_at_risk_first(shop):
    rows = shop.value("show", "--top", 5)
    at_risk = [row["revenue_at_risk"] for row in rows]
    assert len(rows) == 5 and at_risk == sorted(at_risk, reverse=True)
    assert rows[0]["customerID"] in shop.call("show").stdout


def predictions(ids: range, schema: pa.Schema) -> pa.RecordBatch:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    same = {"churn_probability": 0.5, "prediction": 1, "threshold": 0.5, "source_position": 1, "event_at": now}
    same |= {"model_name": "m", "model_version": str(ids[0]), "backend": "b", "source_partition": "p", "scored_at": now}
    rows = [
        {**same, "customerID": f"c{n:03d}", "revenue_at_risk": float(n * 7919 % 200 // 2) if n % 50 else None}
        for n in ids
    ]
    return pa.RecordBatch.from_pylist(rows, schema=schema)


def test_the_top_of_many_stretches_is_the_top_of_all():
    contract = Contract.load("telco")
    schema = predictions_schema(contract)
    stretches = [predictions(range(start, start + 50), schema) for start in (100, 0, 50, 150)]
    handle = MemoryTables().write("t", Rows(FileBatch("s", "csv", ()), schema, stretches), "append")
    every = [row for part in stretches for row in part.to_pylist()]
    every.sort(key=lambda row: (row["revenue_at_risk"] is None, -(row["revenue_at_risk"] or 0), row["customerID"]))
    found = most_at_risk(handle, contract, 120)
    assert [row["customerID"] for row in found] == [row["customerID"] for row in every[:120]]
    assert most_at_risk(handle, contract, 500)[-1]["revenue_at_risk"] is None


def handle_of(contract: Contract, *reasons_up: list[str] | None):
    """Scores of customers, one for each list of columns that raised theirs."""
    schema = predictions_schema(contract)
    [*rows] = predictions(range(1, 1 + len(reasons_up)), schema).to_pylist()
    for row, names in zip(rows, reasons_up, strict=True):
        row["reasons_up"] = (
            None if names is None else [{"column": n, "value": n[0], "contribution": 1.0} for n in names]
        )
    return MemoryTables().write(
        "t", Rows(FileBatch("s", "csv", ()), schema, [pa.RecordBatch.from_pylist(rows, schema)]), "append"
    )


def said_of(contract: Contract, handle) -> str:
    """The table of `show`, as it stands on a terminal of 80 columns."""
    console = Console(width=80, file=StringIO())
    console.print(as_table(most_at_risk(handle, contract, 9), contract))
    return console.file.getvalue()


def test_show_says_why_where_the_scores_have_reasons():
    contract = Contract.load("telco")
    said = said_of(contract, handle_of(contract, ["Contract", "tenure", "Partner"], None, []))
    assert "Why" in said
    assert "Contract: C" in said
    assert "tenure: t" in said
    assert "Partner" not in said
    assert max(map(len, said.splitlines())) <= 80


def test_show_has_no_room_for_reasons_that_nobody_asked_for():
    contract = Contract.load("telco")
    assert "Why" not in said_of(contract, handle_of(contract, None, None))


def test_show_reads_scores_of_a_release_without_reasons():
    contract = Contract.load("telco")
    old = pa.schema([field for field in predictions_schema(contract) if field.name not in LATER])
    rows = Rows(FileBatch("s", "csv", ()), old, [predictions(range(1, 4), old)])
    assert "Why" not in said_of(contract, MemoryTables().write("t", rows, "append"))


def test_the_doctor_finds_a_scored_home_well_and_writes_nothing(shop):
    before = tree(shop.folder)
    result = shop.call("doctor")
    assert result.exit_code == 0, result.stdout
    assert "Everything a run needs is there." in result.stdout and max(map(len, result.stdout.splitlines())) <= 80
    assert tree(shop.folder) == before


def test_the_doctor_names_faults_and_what_to_do_and_writes_nothing(tmp_path):
    nowhere = tmp_path / "nowhere.csv"
    result = Shop(tmp_path, nowhere).call("doctor", "--json", CHURN_TRAINING_SOURCE=str(nowhere))
    findings = {finding["subject"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert result.exit_code == 9
    assert [name for name, finding in findings.items() if finding["status"] == "fault"] == ["model", "source"]
    assert "churn-pipeline train FILE" in findings["model"]["fix"]
    assert findings["training source"]["status"] == "look"
    assert list(tmp_path.iterdir()) == []


def test_who_scores_a_topic_needs_no_file_to_score(tmp_path):
    result = Shop(tmp_path, tmp_path / "nowhere.csv").call("doctor", "--json", CHURN_KAFKA_TOPIC="customers")
    findings = {finding["subject"]: finding for finding in json.loads(result.stdout)["findings"]}
    assert findings["source"]["status"] == "look" and "nowhere.csv" in findings["source"]["fix"]


def test_the_doctor_tells_no_secret(shop):
    result = shop.call(
        "doctor", "--json", CHURN_ALERT_URLS="mailtos://user:hunter2@mail.example.com json://me:pw9@hook.example/tok"
    )
    assert "mail.example.com" in result.stdout
    assert not any(secret in result.stdout + result.stderr for secret in ("hunter2", "pw9"))
    wrong = shop.call("doctor", CHURN_ALERT_URLS="nonsense://user:hunter2@x")
    assert wrong.exit_code == 9 and "hunter2" not in wrong.stdout


def test_a_wrong_setting_is_a_fault_of_its_own(shop):
    result = shop.call("doctor", "--json", CHURN_BACKEND="sklern")
    assert result.exit_code == 9 and "CHURN_BACKEND" in json.loads(result.stdout)["findings"][-1]["fix"]


def test_a_contract_is_checked_alone_and_against_data(shop):
    alone = shop.call("contract", "check", "telco")
    assert alone.exit_code == 0 and "The contract telco is sound." in alone.stdout
    held = shop.call("contract", "check", "telco", "--data", shop.customers)
    assert "197 of 200 rows keep it, 3 do not" in held.stdout and "below minimum (3)" in held.stdout


def test_the_json_schema_of_a_contract_is_printed(shop):
    assert json.loads(shop.call("contract", "json-schema", "telco").stdout)["title"] == "telco"
    assert shop.call("contract", "json-schema").exit_code == 0


def test_samples_are_the_same_for_the_same_seed_and_have_as_many_broken_rows(shop, tmp_path):
    for name in ("a.csv", "b.csv"):
        assert shop.call("sample", tmp_path / name, "--rows", 30, "--seed", 4, "--label", "--broken", 2).exit_code == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    table = pa_csv.read_csv(tmp_path / "a.csv")
    assert table.num_rows == 30 and "Churn" in table.column_names
    assert "2 do not" in shop.call("contract", "check", "telco", "--data", tmp_path / "a.csv").stdout


def test_a_sample_of_an_unknown_format_or_too_many_broken_rows_is_wrong_usage(shop, tmp_path):
    assert shop.call("sample", tmp_path / "a.doc").exit_code == 2
    assert shop.call("sample", tmp_path / "a.csv", "--rows", 3, "--broken", 4).exit_code == 2
