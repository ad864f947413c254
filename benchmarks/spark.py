"""Scoring on a cluster of Spark, against one process, and against MLflow's own `spark_udf`.

Belongs here: the engines, each in a process of its own for each number of customers, and what their numbers say. Does
not: the cluster (that of the tests), our steps (`scoring.py`).
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import samples, scoring
from benchmarks.report import Line
from churn_pipeline.deployments import Deployment
from churn_pipeline.io_managers.delta_files import active_files, open_delta
from churn_pipeline_tests.spark.standalone import StandaloneCluster

UDF_TARGET, WORKERS_TARGET, MEMORY_TARGET = "≥ 2", "≥ 1.7", "≤ 1.1"
_SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
#: Enough for every worker to get some: else one of two would import everything while it is measured.
_WARM_UP = 500_000
_ROUNDS, _LARGE = 3, 10_000_000
_READ, _SCORE = "read_customers", "score_customers_of_batch"
#: Of an executor's JVM; MLflow's way gets the same.
_EXECUTOR_MEMORY = "3g"
_ENGINES = {"local": "one process", "one": "Spark, one worker", "two": "Spark, two workers", "udf": "MLflow spark_udf"}


@dataclass(frozen=True)
class _Task:
    """What a child measures.

    Attributes:
        engine: of `_ENGINES`.
        master: of the cluster; empty: none.
        folder: has a home for each engine and number of customers.
    """

    engine: str
    rows: int
    master: str
    folder: str


@dataclass(frozen=True)
class _Found:
    """Medians of a child: of `start`, seconds of the session and of the first job; of `megabytes`, the most."""

    start: float
    read: float
    score: float
    megabytes: float

    @property
    def both(self) -> float:
        return self.read + self.score


def measure(rows: int | None) -> Iterator[Line]:
    """Score the same customers by every engine in turns, few of them first."""
    sizes = (rows,) if rows else _SIZES
    samples.registry()
    folder = Path(tempfile.mkdtemp(prefix="churn-bench-"))
    found: dict[tuple[str, int], _Found] = {}
    try:
        with (
            # A worker's Python reads, works and writes in threads: unpinned, one of them uses two cores.
            StandaloneCluster(workers=1, memory=_EXECUTOR_MEMORY, pinned=True) as one,
            StandaloneCluster(workers=2, memory=_EXECUTOR_MEMORY, pinned=True) as two,
        ):
            masters = {"local": "", "one": one.master, "two": two.master, "udf": two.master}
            _in_a_child(_Task("local", _WARM_UP, "", str(folder)))
            for size in sizes:
                for engine, master in masters.items():
                    found[engine, size] = _in_a_child(_Task(engine, size, master, str(folder)))
                    _hold(folder, engine, size)
                yield from _of_size(found, size)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    yield from _ratios(found, sizes)


def _of_size(found: dict[tuple[str, int], _Found], size: int) -> Iterator[Line]:
    for engine, name in _ENGINES.items():
        took = found[engine, size]
        said = f"score {took.score:.2f} s" if engine == "udf" else f"read {took.read:.2f} s, score {took.score:.2f} s"
        yield Line(f"{name}, {size:,} rows", f"{said}; start-up {took.start:.1f} s; driver {took.megabytes:,.0f} MB")


def _ratios(found: dict[tuple[str, int], _Found], sizes: tuple[int, ...]) -> Iterator[Line]:
    most = sizes[-1]
    local, one, two, udf = (found[engine, most] for engine in _ENGINES)
    yield Line(
        f"scoring on two workers ÷ MLflow spark_udf, {most:,} rows",
        f"{most / two.score:,.0f} rows a second, {most / udf.score:,.0f} by MLflow",
        udf.score / two.score,
        UDF_TARGET,
    )
    yield Line(
        f"two workers ÷ one, {most:,} rows",
        f"reading ×{one.read / two.read:.2f}, scoring ×{one.score / two.score:.2f}",
        one.both / two.both,
        WORKERS_TARGET,
    )
    pays = next((size for size in sizes if found["two", size].both < found["local", size].both), None)
    where = "never on this machine" if pays is None else f"from {pays:,} rows on"
    yield Line(f"two workers ÷ one process, {most:,} rows", f"Spark pays {where}", local.both / two.both)
    few = _LARGE // 10
    if {few, _LARGE} <= set(sizes):
        small, large = found["two", few].megabytes, found["two", _LARGE].megabytes
        said = f"{few:,} rows {small:,.0f} MB, {_LARGE:,} rows {large:,.0f} MB"
        yield Line("memory of Spark's driver, of ten times the rows", said, large / small, MEMORY_TARGET)


def _hold(folder: Path, engine: str, rows: int) -> None:
    """Nothing is fast that is wrong: Spark's rows are those of one process, and MLflow has written as many."""
    if engine == "udf":
        files = (folder / "udf").glob("*.parquet")
        assert sum(pq.read_metadata(file).num_rows for file in files) == rows
        return
    mine, theirs = (_predictions(_deployment(folder, name, rows)) for name in (engine, "local"))
    assert mine.num_rows == rows and mine.equals(theirs), f"{engine} scored differently"


def _predictions(deployment: Deployment) -> Any:
    handle = deployment.table_store().open("churn_predictions")
    assert handle is not None
    return handle.to_arrow([deployment.contract().id.column, "churn_probability", "prediction"])


def _deployment(folder: Path, engine: str, rows: int, master: str = "") -> Deployment:
    # What one process has made stays: MLflow scores it, and the others are held against it.
    home = folder / f"local-{rows}" if engine == "local" else folder / engine
    on_spark = {"backend": "spark", "spark_master": master, "spark_conf": f"spark.executor.memory={_EXECUTOR_MEMORY}",
                "spark_fallback": "forbid"}  # fmt: skip
    return samples.deployment(home, **(on_spark if master else {}))


def _in_a_child(task: _Task) -> _Found:
    command = [sys.executable, "-m", "benchmarks.spark", json.dumps(asdict(task))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return _Found(**json.loads(done.stdout.splitlines()[-1]))


def _measured(task: _Task) -> _Found:
    """Be a child: open a session, score a few customers, then those that count."""
    started = time.perf_counter()
    work = _by_mlflow(task) if task.engine == "udf" else _by_us(task)
    work(_WARM_UP)
    start = time.perf_counter() - started
    # MLflow's way takes minutes, which say enough at once; of ours the first is slower, as Java compiles meanwhile.
    once = task.engine == "udf" and task.rows >= _LARGE
    took = [work(task.rows) for _ in range(1 if once else _ROUNDS)]
    read, score = (statistics.median(steps.get(name, 0.0) for steps in took) for name in (_READ, _SCORE))
    return _Found(start, read, score, _peak_megabytes())


def _peak_megabytes() -> float:
    """The most this process ever held; `getrusage` would count its parent too, as it was when this one began."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.M)
    assert found is not None
    return int(found[1]) / 1024


def _by_us(task: _Task) -> Callable[[int], dict[str, float]]:
    """Scores so many customers of a file; returns seconds a step, as Dagster records them."""

    def work(rows: int) -> dict[str, float]:
        deployment = _deployment(Path(task.folder), task.engine, rows, task.master)
        return scoring.tables_only(deployment, samples.customers(rows, ".parquet"))

    return work


def _by_mlflow(task: _Task) -> Callable[[int], dict[str, float]]:
    """Scores so many customers that are validated already, as everybody does it; labels come of it."""
    import mlflow
    from pyspark.sql.functions import struct

    from churn_pipeline.spark.sessions import open_session

    folder = Path(task.folder)
    deployment = _deployment(folder, "udf", task.rows, task.master)
    spark = open_session(deployment.settings.spark()).spark
    version, _ = samples.registered(deployment)
    mlflow.set_tracking_uri(samples.registry())
    predict = mlflow.pyfunc.spark_udf(spark, f"models:/{version.name}/{version.version}", env_manager="local")
    inputs = struct(*(item.name for item in version.inputs))

    def work(rows: int) -> dict[str, float]:
        started = time.perf_counter()
        location = _deployment(folder, "local", rows).table_store().location("customers")
        files = [f"{location}/{file.path}" for file in active_files(open_delta(location))]
        customers = spark.read.parquet(*files)
        customers.withColumn("prediction", predict(inputs)).write.mode("overwrite").parquet(str(folder / "udf"))
        return {_SCORE: time.perf_counter() - started}

    return work


if __name__ == "__main__":
    print(json.dumps(asdict(_measured(_Task(**json.loads(sys.argv[1]))))))
