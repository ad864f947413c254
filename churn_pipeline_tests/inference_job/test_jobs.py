"""`InferenceJob`: the asset graph run by configuration, with services around it."""

import logging

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from adbc_driver_sqlite import dbapi
from deltalake import write_deltalake
from pydantic import PrivateAttr, ValidationError

from churn_pipeline.contract.validation import TooManyRejected
from churn_pipeline.deployments import SettingInvalid
from churn_pipeline.inference_job import (
    AlertsService,
    DeltaReader,
    FilesReader,
    InferenceJob,
    LoggerService,
    MemoryReader,
    MlflowService,
    SqlReader,
    TablesWriter,
)
from churn_pipeline.io_managers.table_errors import TableNotWritable
from churn_pipeline.kernel.frame import frame
from churn_pipeline.resources.customer_sources.base import SourceNotFound
from churn_pipeline.resources.mlflow_connection import RegistryUnreachable
from churn_pipeline.sample import sample
from churn_pipeline_tests.builders import customer_file, rows_of


def job(home, **more) -> InferenceJob:
    return InferenceJob(**{"inputs": FilesReader(path=home.settings.source), **more})


def alerts_of(home) -> list[str]:
    return [alert.level for alert in home.alerts().log.recent()]


def test_a_job_returns_its_results_by_name(home, tmp_path):
    file = tmp_path / "out" / "scores.parquet"
    found = job(home, outputs=TablesWriter(file=str(file)), alias_or_version=1).run()
    row = found["ledger_row"]
    assert found["shape"] == (200, 3) and found["batch"] == row.batch and found["model"].version == "1"
    assert found["inputs"].rows == found["outputs"].rows == row.rows_scored == 200
    probabilities = found["outputs"].to_pandas(["churn_probability"])["churn_probability"]
    assert probabilities.tolist() == pq.read_table(file)["churn_probability"].to_pylist()
    assert "Call list ready" in found["alert"].title and alerts_of(home) == ["done"]
    assert found["tables"]["churn_predictions"] == found["outputs"].location and found["file"] == str(file)


def test_a_job_that_asks_for_reasons_has_them_in_its_table_and_its_file(home, tmp_path):
    file = tmp_path / "scores.parquet"
    found = job(home, inputs=FilesReader(path=home.settings.source, limit=20), reasons=1,
                outputs=TablesWriter(file=str(file))).run()  # fmt: skip
    table = found["outputs"].to_arrow(["reasons_up"])["reasons_up"].to_pylist()
    assert {len(reasons) for reasons in table} == {1}
    assert pq.read_table(file)["reasons_up"].to_pylist() == table


def test_a_delta_table_is_scored(home, tmp_path):
    write_deltalake(tmp_path / "customers", sample(home.contract(), 30))
    found = job(home, inputs=DeltaReader(path=str(tmp_path / "customers"), limit=20)).run()
    assert found["shape"] == (20, 3) and found["batch"].version == 0


def test_a_query_is_scored_with_the_contract_of_the_job(home, tmp_path, monkeypatch):
    with dbapi.connect(str(tmp_path / "shop.db")) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("customers", sample(home.contract(), 30))
        connection.commit()
    monkeypatch.setenv("CHURN_DATABASE_URL", f"sqlite:///{tmp_path}/shop.db")
    found = job(home, inputs=SqlReader(query="select * from customers order by 1"), contract="telco").run()
    assert found["shape"] == (30, 3) and found["batch"].source == "sql:select * from customers order by 1"


def test_a_data_frame_given_in_python_is_scored_by_the_registered_estimator(home):
    records = pd.read_csv(home.settings.source)
    found = job(home, inputs=MemoryReader(records=records, name="call list")).run()
    assert found["batch"].id.startswith("call_list-")
    model, customers = found["model"], found["inputs"].to_arrow().combine_chunks().to_batches()[0]
    direct = home.model_registry().load(model).predict_proba(frame(customers, model.inputs))[:, model.positive]
    stored = found["outputs"].to_pandas(["churn_probability"])["churn_probability"]
    assert np.abs(stored - direct).max() <= 1e-12


def test_what_a_job_says_wins_over_the_settings(home, tmp_path, monkeypatch):
    monkeypatch.setenv("CHURN_ALERT_URLS", "json://localhost:9/nobody-listens")
    log = tmp_path / "job.log"
    found = job(
        home,
        inputs=FilesReader(path=home.settings.source, format="csv", limit=50),
        outputs=TablesWriter(tables=str(tmp_path / "elsewhere")),
        duplicates="last",
        reject_limit=0.5,
        alerts_service=AlertsService(enabled=False),
        logger_service=LoggerService(sink=str(log)),
    ).run()
    assert "Call list ready" in log.read_text()
    assert found["shape"] == (50, 3)
    assert found["outputs"].location == str(tmp_path / "elsewhere" / "telco" / "churn_predictions")
    assert home.table_store().tables() == []


def test_services_start_before_the_first_read_and_stop_in_reverse_also_on_failure(home, tmp_path):
    events: list[str] = []

    class Log(LoggerService):
        def start(self):
            super().start()
            events.append("log starts")

        def stop(self):
            super().stop()
            events.append("log stops")

    class Mlflow(MlflowService):
        def start(self):
            super().start()
            events.append("mlflow starts")

        def stop(self):
            events.append("mlflow stops")

    class Reader(FilesReader):
        def open(self, deployment):
            events.append("reads")
            return super().open(deployment)

    services = {"logger_service": Log(), "mlflow_service": Mlflow()}
    with pytest.raises(SourceNotFound):
        job(home, inputs=Reader(path=str(tmp_path / "nowhere.csv")), **services).run()
    assert events == ["log starts", "mlflow starts", "reads", "mlflow stops", "log stops"]


def test_a_job_as_context_keeps_its_services_over_several_runs(home, tmp_path):
    class Counted(MlflowService):
        _starts: list[int] = PrivateAttr(default_factory=list)

        def start(self):
            self._starts.append(1)

    service, log = Counted(), tmp_path / "job.log"
    missing = FilesReader(path=str(tmp_path / "nowhere.csv"))
    with job(home, inputs=missing, mlflow_service=service, logger_service=LoggerService(sink=str(log))) as running:
        for _ in range(2):
            with pytest.raises(SourceNotFound):
                running.run()
    assert len(service._starts) == 1
    assert log.read_text().count("Stopped at scoring: There is no file or folder") == 2
    assert not logging.getLogger("churn_pipeline").handlers


@pytest.mark.parametrize("again", [1, 2])
def test_a_registry_that_is_down_is_told_before_anything_is_read(home, tmp_path, again):
    log = tmp_path / "job.log"
    down = MlflowService(tracking_uri="http://localhost:9", timeout_seconds=0.5)
    for _ in range(again):
        with pytest.raises(RegistryUnreachable):
            job(home, mlflow_service=down, logger_service=LoggerService(sink=str(log))).run()
    # A fault that is back another day is told again.
    assert alerts_of(home) == ["failed"] * again
    assert home.table_store().tables() == []
    assert "ERROR Stopped at services: The MLflow server at http://localhost:9" in log.read_text()


def test_a_wrong_setting_is_told_once(home, monkeypatch):
    configured = job(home)
    monkeypatch.setenv("CHURN_DUPLICATES", "kep")
    with pytest.raises(SettingInvalid, match="nearest: 'keep'"):
        configured.run()
    monkeypatch.delenv("CHURN_DUPLICATES")
    assert alerts_of(home) == ["failed"]


def test_a_contract_that_is_not_there_is_told_once(home):
    with pytest.raises(ValueError, match="No contract 'telko'"):
        job(home, contract="telko").run()
    assert alerts_of(home) == ["failed"]


def test_what_stops_the_run_is_told_once_and_logged_without_a_customers_values(home, tmp_path):
    log, source = tmp_path / "job.log", customer_file(tmp_path / "broken.csv", 50, broken=20)
    with pytest.raises(TooManyRejected):
        reader = FilesReader(path=str(source))
        job(home, inputs=reader, reject_limit=5, logger_service=LoggerService(sink=str(log))).run()
    assert alerts_of(home) == ["failed"]
    stopped = [line for line in log.read_text().splitlines() if "Stopped" in line]
    assert len(stopped) == 1 and "20 of 50 rows" in stopped[0]
    ids = pd.read_csv(source)["customerID"]
    assert not any(id_ in log.read_text() for id_ in ids)


def test_an_output_file_that_cannot_be_written_is_told_after_the_tables_are_there(home, tmp_path):
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(TableNotWritable):
        job(home, outputs=TablesWriter(file=str(tmp_path / "scores.csv"))).run()
    assert sorted(alerts_of(home)) == ["done", "failed"]
    assert len(rows_of(home, "churn_predictions")) == 200


def test_a_job_cannot_be_changed_and_guesses_no_types(home):
    found = job(home)
    with pytest.raises(ValidationError, match="frozen"):
        found.backend = "auto"
    with pytest.raises(ValidationError, match="integer"):
        FilesReader(path="x.csv", limit="10")
    with pytest.raises(ValidationError, match="data frame"):
        MemoryReader(records=[{"customerID": "1"}])
