"""On a cluster of a master and two workers: the same tables, also where an executor is killed in the middle."""

import threading
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq

from churn_pipeline import deployments
from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.delta_files import active_files, open_delta
from churn_pipeline.sample import sample
from churn_pipeline.spark.mapping import Workers
from churn_pipeline.spark.sessions import SparkSettings, open_session
from churn_pipeline_tests.builders import score
from churn_pipeline_tests.spark.test_engines import found, same_tables


class Killer(threading.Thread):
    """Kills the executors once one of them has begun a file of a table."""

    def __init__(self, cluster, folder: Path):
        super().__init__(daemon=True)
        self.killed = 0
        self._cluster, self._folder = cluster, folder

    def run(self):
        give_up_at = time.monotonic() + 120
        while time.monotonic() < give_up_at:
            if list(self._folder.rglob("*.parquet")) and (executors := self._cluster.executors()):
                for executor in executors:
                    executor.kill()
                self.killed = len(executors)
                return
            time.sleep(0.005)


def test_executors_that_are_killed_in_the_middle_cost_no_row_and_add_none(deployment, spark_cluster, tmp_path):
    file = tmp_path / "c.parquet"
    pq.write_table(sample(Contract.load("telco"), 200_000, seed=3), file, row_group_size=10_000)
    settings = {"tracking_uri": deployment.settings.tracking_uri, "source": str(file)}
    here = deployments.test(tmp_path / "here", **settings)
    there = deployments.test(tmp_path / "there", backend="spark", spark_master=spark_cluster.master, **settings)
    score(here)
    folders = {name: Path(there.table_store().location(name)) for name in ("customers", "churn_predictions")}
    killers = [Killer(spark_cluster, folder) for folder in folders.values()]
    for killer in killers:
        killer.start()
    row = score(there).row
    assert all(killer.killed for killer in killers) and row.backend == "spark"
    same_tables(here, there)
    for name, folder in folders.items():
        seen = active_files(open_delta(str(folder)))
        assert sum(file.rows for file in seen) == len(found(there, name)) == 200_000
        # What the killed ones left is there, and nobody's.
        assert len(list(folder.rglob("*.parquet"))) > len(seen)


def test_both_workers_have_a_share(spark_cluster):
    def executor_of(part: int) -> int:
        time.sleep(0.5)
        return psutil.Process().parent().parent().pid

    workers = Workers(open_session(SparkSettings(spark_cluster.master)))
    assert len(set(workers.map(executor_of, list(range(8))))) == 2
