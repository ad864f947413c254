"""One process and Spark's workers say the same of the same customers, row by row, in order, rejected ones included."""

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from adbc_driver_sqlite import dbapi
from deltalake import write_deltalake

from churn_pipeline import deployments, runs
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.validation import TooManyRejected
from churn_pipeline.kernel.frame import frame
from churn_pipeline.reference_sample import reference_sample
from churn_pipeline.sample import sample
from churn_pipeline.training.estimators import ESTIMATORS, signature
from churn_pipeline_tests.builders import customer_file, instance_of, rows_of, score
from churn_pipeline_tests.spark.strict_models import register_strict

TABLES = ("customers", "rejected_customers", "churn_predictions", "unscored_customers")


def on(deployment, spark, folder, **more):
    """The same registry, other tables, with Spark."""
    settings = deployment.settings
    return deployments.test(
        folder, tracking_uri=settings.tracking_uri, backend="spark", spark_master=spark.master, **more
    )


def found(deployment, table):
    """All rows, but for what differs between two runs."""
    rows = deployment.table_store().open(table).to_arrow()
    return rows.drop_columns([name for name in ("backend", "scored_at") if name in rows.column_names]).to_pylist()


def same_tables(one, other):
    for table in TABLES:
        assert found(one, table) == found(other, table), table


def broken_csv(path, rows, seed):
    """Sample customers, every 50th of which breaks the contract, and some of which come twice."""
    lines = customer_file(path, rows, seed=seed).read_text().splitlines()
    for i in range(7, len(lines), 50):
        lines[i] = lines[i].replace("Month-to-month", "whenever").replace("One year", "").replace("Two year", "")
    lines[20] += ",surplus"
    path.write_text("\n".join([*lines, *lines[30:33]]) + "\n")
    return path


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_says_the_same_on_workers(deployment, spark, tmp_path, estimator):
    with instance_of(deployment) as instance:
        version = runs.train(deployment, None, estimator, instance).model_version
    folder = tmp_path / "in"
    for part in range(3):
        broken_csv(folder / f"{part}.csv", 400, seed=part)
    request = {"source": str(folder), "model": version, "reject_limit": "0.5"}
    here = score(deployment, **request).row
    there_deployment = on(deployment, spark, tmp_path / "spark")
    there = score(there_deployment, **request).row
    assert (here.backend, there.backend) == ("sklearn", "spark")
    assert here.rows_rejected > 20 and here.rows_duplicate == 9
    counts = ("rows_read", "rows_customers", "rows_rejected", "rows_scored", "rows_duplicate", "rows_churn",
              "cells_cleaned", "kernel_tier", "bytes_read")  # fmt: skip
    assert [getattr(here, name) for name in counts] == [getattr(there, name) for name in counts]
    assert there.kernel_proof["canary"]["rows"] > 1_000
    same_tables(deployment, there_deployment)


def test_row_groups_of_one_file_are_read_by_several_workers_in_its_order(deployment, spark, tmp_path):
    file = tmp_path / "c.parquet"
    pq.write_table(sample(Contract.load("telco"), 5_000, seed=3), file, row_group_size=700)
    there = on(deployment, spark, tmp_path / "spark")
    score(deployment, source=str(file))
    score(there, source=str(file))
    same_tables(deployment, there)
    positions = [row["source_position"] for row in rows_of(there, "churn_predictions")]
    assert positions == list(range(1, 5_001))


def test_a_delta_table_is_read_by_workers_as_it_was_when_it_was_planned(deployment, spark, tmp_path):
    table = tmp_path / "shops"
    for seed in (1, 2):
        rows = sample(Contract.load("telco"), 600, seed=seed)
        odd = pa.array(["whenever" if n % 50 == 7 else "One year" for n in range(600)])
        rows = rows.set_column(rows.column_names.index("Contract"), "Contract", odd)
        write_deltalake(table, rows, mode="append", partition_by=["gender"])
    there = on(deployment, spark, tmp_path / "spark")
    planned = deployment.open_source(str(table)).plan()
    write_deltalake(table, sample(Contract.load("telco"), 9), mode="overwrite", partition_by=["gender"])
    here = score(deployment, batch=planned, reject_limit="0.5").row
    row = score(there, batch=planned, reject_limit="0.5").row
    assert (row.backend, row.rows_read, row.rows_rejected, row.bytes_read) == ("spark", 1_200, 24, here.bytes_read)
    same_tables(deployment, there)


def test_the_snapshot_of_a_query_is_read_by_workers_that_know_of_no_database(deployment, spark, tmp_path):
    with dbapi.connect(str(tmp_path / "shop.db")) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("customers", sample(Contract.load("telco"), 600, seed=3))
        connection.commit()
    there = on(deployment, spark, tmp_path / "spark", database_url=f"sqlite:///{tmp_path}/shop.db")
    planned = there.open_source("sql:customers").plan()
    (tmp_path / "shop.db").unlink()
    score(deployment, batch=planned)
    assert score(there, batch=planned).row.backend == "spark"
    same_tables(deployment, there)
    assert rows_of(there, "customers")


def test_a_batch_that_is_scored_again_replaces_what_it_was(deployment, spark, tmp_path):
    there = on(deployment, spark, tmp_path / "spark")
    source = str(customer_file(tmp_path / "c.csv", 300))
    for _ in range(2):
        score(there, source=source)
    assert len(rows_of(there, "churn_predictions")) == 300 == len(rows_of(there, "customers"))
    assert len(rows_of(there, "scored_batches")) == 1


@pytest.mark.parametrize("policy", ["last", "reject"])
def test_a_policy_that_has_to_see_every_id_is_held_by_one_process(deployment, spark, tmp_path, policy):
    source = broken_csv(tmp_path / "c.csv", 300, seed=1)
    request = {"source": str(source), "duplicates": policy, "reject_limit": "0.5"}
    there = on(deployment, spark, tmp_path / "spark")
    score(deployment, **request)
    score(there, **request)
    same_tables(deployment, there)


def test_nothing_is_committed_past_the_limit_of_rejected_rows(deployment, spark, tmp_path):
    there = on(deployment, spark, tmp_path / "spark")
    source = broken_csv(tmp_path / "c.csv", 300, seed=1)
    with pytest.raises(TooManyRejected, match=r"0\.1 %"):
        score(there, source=str(source), reject_limit="0.001")
    assert rows_of(there, "customers") == [] and rows_of(there, "scored_batches") == []


def test_a_header_without_rows_is_a_batch_of_nothing(deployment, spark, tmp_path):
    source = tmp_path / "c.csv"
    pa_csv.write_csv(sample(Contract.load("telco"), 3).slice(0, 0), source)
    row = score(on(deployment, spark, tmp_path / "spark"), source=str(source)).row
    assert (row.rows_read, row.rows_scored, row.mean_probability) == (0, 0, None)


def test_a_customer_that_the_model_refuses_is_unscored_on_workers_too(deployment, spark, tmp_path):
    contract = deployment.contract()
    inputs = signature(contract)
    version = register_strict(deployment, frame(reference_sample(contract, 600), inputs), inputs)
    source = customer_file(tmp_path / "c.csv", 200)
    there = on(deployment, spark, tmp_path / "spark")
    here = score(deployment, source=str(source), model=version).row
    score(there, source=str(source), model=version)
    assert 0 < here.rows_unscored < 200
    same_tables(deployment, there)


def test_an_id_that_comes_again_in_another_part_is_counted(deployment, spark, tmp_path):
    for name in ("a", "b", "c", "d"):
        customer_file(tmp_path / "in" / f"{name}.csv", 300)
    row = score(on(deployment, spark, tmp_path / "spark"), source=str(tmp_path / "in")).row
    assert (row.backend, row.rows_read, row.rows_duplicate) == ("spark", 1_200, 900)


def test_auto_takes_spark_from_a_number_of_customers_on(deployment, spark, tmp_path):
    source = str(customer_file(tmp_path / "c.csv", 100))
    few = on(deployment, spark, tmp_path / "few", spark_rows="101")
    many = on(deployment, spark, tmp_path / "many", spark_rows="100")
    assert score(few, source=source, backend="auto").row.backend == "sklearn"
    assert score(many, source=source, backend="auto").row.backend == "spark"
