"""Work on Spark's workers: one function, mapped over parts, whose small results come back in order.

Customers never pass through here: the function opens its part by itself, and says what became of it. A part may be
worked on more than once, where a worker died or a slow one was raced; the result of exactly one attempt comes back.

Belongs here: sending the function and what it needs, running it, bringing results or errors back. Does not: what is
done (`assets/`), the session (`sessions.py`).
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa

from churn_pipeline.errors import ChurnPipelineError, ScoringError
from churn_pipeline.spark.repeated_keys import KEYS_PER_BUCKET, Pairs, count_keys, spread_keys
from churn_pipeline.spark.sessions import OpenSession

P = TypeVar("P")
R = TypeVar("R")

#: What was sent and is kept in a worker's process: the plan of a model, and a job or two.
_KEPT = 4
_received: OrderedDict[str, Any] = OrderedDict()

_ANOTHER_PYTHON = re.compile(r"PYTHON_VERSION_MISMATCH|No module named '(churn_pipeline|cloudpickle|pyarrow)['.]")

#: A client of Spark Connect is told nothing of the cluster's size.
_REMOTE = 16

_RESULTS = "number long, result binary"


class SparkJobFailed(ScoringError):
    """Spark gave up on a part of the work."""


class WorkersDiffer(ScoringError):
    """Spark's workers have other versions of Python or of what scores than the process that sends them work."""


@dataclass(frozen=True)
class Sent(Generic[R]):
    """Something that was sent to all workers once; they read it once a process."""

    name: str

    def value(self) -> R:
        """What was sent; for workers."""
        import cloudpickle
        from pyspark import SparkFiles

        if self.name not in _received:
            _received[self.name] = cloudpickle.loads(Path(SparkFiles.get(self.name)).read_bytes())
            while len(_received) > _KEPT:
                _received.popitem(last=False)
        _received.move_to_end(self.name)
        return _received[self.name]


class Workers:
    """The workers of one Spark session."""

    def __init__(self, session: OpenSession) -> None:
        self.where = session.where
        self._spark, self._folder = session.spark, session.folder
        self._is_remote = session.is_remote

    @property
    def count(self) -> int:
        """How many parts are worked on at the same time, as far as Spark says."""
        return _REMOTE if self._is_remote else int(self._spark.sparkContext.defaultParallelism)

    def send(self, value: R) -> Sent[R]:
        """Send a value to all workers; the same value is sent once."""
        import cloudpickle

        packed = cloudpickle.dumps(value)
        name = f"churn-{hashlib.sha256(packed).hexdigest()[:32]}.pickle"
        path = self._folder / name
        if not path.exists():
            path.write_bytes(packed)
            self._spark.addArtifacts(str(path), file=True)
        return Sent(name)

    def map(self, work: Callable[[P], R], parts: Sequence[P]) -> list[R]:
        """What `work` returns for each part, in order; each part is a task of its own.

        Raises:
            ChurnPipelineError: what `work` raised for the first part for which it raised one of ours.
            WorkersDiffer: the workers cannot run it.
            SparkJobFailed: anything else.
        """
        if not parts:
            return []
        run = partial(_run, self.send((work, list(parts))), _versions())
        return _results(self._collected(self._numbers(parts).mapInArrow(run, _RESULTS)), len(parts))

    def map_through(
        self,
        rows: Callable[[P], Iterable[pa.RecordBatch]],
        schema: pa.Schema,
        through: Callable[[Any], Any],
        work: Callable[[P, Iterator[pa.RecordBatch]], R],
        parts: Sequence[P],
    ) -> list[R]:
        """What `work` returns for each part and for what Spark made of its rows, in order.

        Args:
            rows: yields a part's rows, of `schema`.
            through: makes another Spark data frame of that of the rows; it may leave out rows and nothing else.

        Raises:
            see `map`
        """
        from pyspark.sql.pandas.types import from_arrow_schema

        if not parts:
            return []
        read = partial(_rows, self.send((rows, list(parts))))
        made = through(self._numbers(parts).mapInArrow(read, from_arrow_schema(schema)))
        run = partial(_run_with_rows, self.send((work, list(parts))), _versions())
        return _results(self._collected(made.mapInArrow(run, _RESULTS)), len(parts))

    def count_repeated(self, keys: Callable[[P], Iterable[Pairs]], parts: Sequence[P], most: int) -> int:
        """How many keys of all parts are there already, counted where they are.

        Args:
            keys: yields pairs of uint64 arrays, each pair of numbers a key; the first is spread evenly.
            most: keys there may be.
        """
        if not parts:
            return 0
        buckets = most // KEYS_PER_BUCKET + 1
        spread = partial(spread_keys, self.send((keys, list(parts))), buckets)
        found = self._numbers(parts).mapInArrow(spread, "bucket long, keys binary, repeated long")
        # A row holds many keys: one a row, Spark's own grouping takes longer than everything else.
        counted = found.repartition(buckets, "bucket").mapInArrow(count_keys, "repeated long")
        return sum(self._collected(counted)["repeated"].to_pylist())

    def _numbers(self, parts: Sequence[Any]) -> Any:
        """The places of the parts, each of which is a task."""
        return self._spark.range(0, len(parts), 1, len(parts)).toDF("number")

    def _collected(self, frame: Any) -> pa.Table:
        from py4j.protocol import Py4JError
        from pyspark.errors import PySparkException

        try:
            return frame.toArrow()
        except (PySparkException, Py4JError) as error:
            # Its text may hold a customer's values: only the names of errors are let out.
            text = str(error)
        if _ANOTHER_PYTHON.search(text):
            raise WorkersDiffer(
                "Spark's workers have another Python, or no churn_pipeline. Give them the environment of this process: "
                "set spark.pyspark.python in CHURN_SPARK_CONF, or send the environment along (spark.archives)."
            )
        names = dict.fromkeys(re.findall(r"^(?:Caused by: )?((?:\w+\.)*\w*(?:Error|Exception|Failure))\b", text, re.M))
        raise SparkJobFailed(
            f"Spark gave up on a part of the work ({', '.join(names) or 'no reason given'}). Nothing was written that "
            "anybody sees. Look at the logs of the executors; spark.log.level=ERROR in CHURN_SPARK_CONF shows "
            "more here, customers' values perhaps among it. Then run the batch again."
        )


def _results(rows: pa.Table, count: int) -> list[Any]:
    """The results in order, or the first error among them."""
    import cloudpickle

    found = dict(zip(rows["number"].to_pylist(), rows["result"].to_pylist(), strict=True))
    results = [cloudpickle.loads(found[number]) for number in range(count)]
    for result in results:
        if isinstance(result, ChurnPipelineError):
            raise result
    return results


def _run(job: Sent[Any], wanted: dict[str, str], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Be a task: work on the parts that these numbers stand for."""
    for batch in batches:
        for number in batch.column(0).to_pylist():
            yield _packed(number, _outcome(job, number, wanted))


def _run_with_rows(
    job: Sent[Any], wanted: dict[str, str], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Be a task: work on one part, given rows, of which there may be none to say which part it is."""
    from pyspark import TaskContext

    task = TaskContext.get()
    assert task is not None
    yield _packed(task.partitionId(), _outcome(job, task.partitionId(), wanted, batches))


def _rows(job: Sent[Any], batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Be a task: yield the rows of parts."""
    rows, parts = job.value()
    for batch in batches:
        for number in batch.column(0).to_pylist():
            yield from rows(parts[number])


def _packed(number: int, result: Any) -> pa.RecordBatch:
    import cloudpickle

    packed = pa.array([cloudpickle.dumps(result)], pa.binary())
    return pa.RecordBatch.from_arrays([pa.array([number]), packed], ["number", "result"])


def _outcome(job: Sent[Any], number: int, wanted: dict[str, str], *rows: Iterator[pa.RecordBatch]) -> Any:
    if (here := _versions()) != wanted:
        differ = [f"{name} {here[name]} instead of {wanted[name]}" for name in wanted if here[name] != wanted[name]]
        return WorkersDiffer(
            f"A worker of Spark has {', '.join(differ)}. Give the workers the environment of this process: "
            "set spark.pyspark.python in CHURN_SPARK_CONF, or send the environment along (spark.archives)."
        )
    work, parts = job.value()
    try:
        return work(parts[number], *rows)
    except ChurnPipelineError as error:
        # Trying again would change nothing: the error is the result.
        return error


def _versions() -> dict[str, str]:
    """What must be the same on both sides for both to say the same."""
    names = ("churn-pipeline", "numpy", "pyarrow", "scikit-learn")
    return {"Python": ".".join(platform.python_version_tuple()[:2]), **{name: version(name) for name in names}}
