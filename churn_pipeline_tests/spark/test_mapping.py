"""Work on Spark's workers: results in order, errors in words, nothing of a customer in either."""

import re

import numpy as np
import pyarrow as pa
import pytest

from churn_pipeline.errors import ScoringError
from churn_pipeline.spark.mapping import SparkJobFailed, Workers, WorkersDiffer
from churn_pipeline.spark.repeated_keys import KEYS_PER_BUCKET, count_keys, spread_keys
from churn_pipeline.spark.sessions import SparkSettings, close_session, open_session


@pytest.fixture
def workers(spark):
    return Workers(open_session(spark))


def test_results_come_in_the_order_of_the_parts(workers):
    assert workers.map(lambda part: part * 2, list(range(20))) == [part * 2 for part in range(20)]
    assert workers.map(lambda part: part, []) == []


def test_what_is_sent_is_read_once_a_process(workers):
    sent = workers.send({"plan": b"x" * 1_000})

    def same(part):
        return id(sent.value()) == id(sent.value()), sent.value() == {"plan": b"x" * 1_000}

    assert workers.map(same, [1, 2, 3]) == [(True, True)] * 3
    assert workers.send({"plan": b"x" * 1_000}) == sent


def test_an_error_of_ours_comes_back_as_itself_and_stops_the_rest(workers):
    def fail(part):
        raise ScoringError("The model is at fault. Mend it.")

    with pytest.raises(ScoringError, match="Mend it"):
        workers.map(fail, [1, 2])


def test_any_other_error_is_named_without_its_text(workers):
    def fail(part):
        raise ValueError("Ms Brown, born 1961")

    with pytest.raises(SparkJobFailed, match=r"ValueError.*logs of the executors") as raised:
        workers.map(fail, [1])
    assert "Brown" not in str(raised.value) and raised.value.__cause__ is None


def test_rows_pass_through_spark_and_reach_their_part_even_if_none_are_left(workers):
    schema = pa.schema([("n", pa.int64())])

    def rows(part):
        yield pa.RecordBatch.from_pydict({"n": [part * 10 + i for i in range(3)]}, schema)

    def total(part, batches):
        return part, sum(sum(batch.column(0).to_pylist()) for batch in batches)

    found = workers.map_through(rows, schema, lambda frame: frame.where("n >= 20"), total, [1, 2, 3])
    assert found == [(1, 0), (2, 63), (3, 93)]


def test_keys_that_come_again_are_counted_over_all_parts(workers):
    import numpy as np

    def keys(part):
        yield np.array([1, 2, part, 1], np.uint64), np.array([5, 6, 7, 6], np.uint64)

    for most in (1, 5 * KEYS_PER_BUCKET):
        assert workers.count_repeated(keys, [10, 11, 10], most) == 2 + 2 + 2 + 1
        assert workers.count_repeated(keys, [10], most) == 0


def test_a_key_that_comes_again_and_again_is_sent_once_of_each_piece():
    class Job:
        def value(self):
            few, rng = np.full(5_000, 7, np.uint64), np.random.default_rng(1)
            many = rng.integers(0, 2**63, 5_000).astype(np.uint64)
            return lambda _: [(np.concatenate([few, many]),) * 2, (few, few)], [0]

    sent = list(spread_keys(Job(), 10, iter([pa.record_batch({"number": [0]})])))
    assert sum(len(keys) for batch in sent for keys in batch["keys"].to_pylist()) == 16 * (5_001 + 1)
    (counted,) = count_keys(iter(sent))
    assert counted["repeated"].to_pylist() == [2 * 5_000 - 1]


def test_workers_with_another_python_are_told_apart_from_work_that_failed(spark):
    bare = SparkSettings(spark.master, conf={"spark.pyspark.python": "/usr/bin/python3"})
    try:
        with pytest.raises(WorkersDiffer, match=re.escape("spark.pyspark.python")):
            Workers(open_session(bare)).map(lambda part: part, [1])
    finally:
        close_session()
