"""The floor: what reading and writing the file costs if nothing is done in between.

Belongs here: a Parquet file read in a thread of its own, two columns added, and written with the settings of our
tables. Nothing is validated, scored or committed, and a killed process leaves half a file.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.delta_staging import ROWS_PER_GROUP

_BATCH = 65_536
_SAMPLE = 16_384
_AHEAD = 4


def copy_with_two_columns(source: Path, target: Path) -> dict[str, float]:
    """Copy Parquet, with a probability and a label made of one division and one comparison; seconds a stage."""
    seconds = {"read": 0.0, "write": 0.0}
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.RecordBatch] = []
    for batch in _read_ahead(source, seconds):
        waiting.append(_scored(batch))
        if sum(part.num_rows for part in waiting) >= ROWS_PER_GROUP:
            writer = _write(waiting, target, writer, seconds)
            waiting = []
    if waiting:
        writer = _write(waiting, target, writer, seconds)
    assert writer is not None
    writer.close()
    return seconds


def read_csv(source: Path) -> int:
    """Let pyarrow alone read a CSV file into the contract's types, text as dictionaries; returns rows."""
    contract = Contract.load("telco")
    kinds = {"number": pa.float64(), "integer": pa.int64()}
    few = pa.dictionary(pa.int32(), pa.string())
    types = {item.source or name: kinds.get(item.type, few) for name, item in contract.features.items()}
    with pa_csv.open_csv(source, convert_options=pa_csv.ConvertOptions(column_types=types)) as batches:
        return sum(batch.num_rows for batch in batches)


def _read_ahead(source: Path, seconds: dict[str, float]) -> Iterator[pa.RecordBatch]:
    words = [f.name for f in pq.read_schema(source) if pa.types.is_string(f.type) and f.name != _id_column()]
    queue: Queue[pa.RecordBatch | None] = Queue(_AHEAD)

    def read() -> None:
        with pq.ParquetFile(source, read_dictionary=words, pre_buffer=False) as file:
            batches = file.iter_batches(_BATCH, use_threads=False)
            started = time.perf_counter()
            for batch in batches:
                seconds["read"] += time.perf_counter() - started
                queue.put(batch)
                started = time.perf_counter()
        queue.put(None)

    thread = threading.Thread(target=read)
    thread.start()
    yield from iter(queue.get, None)
    thread.join()


def _scored(batch: pa.RecordBatch) -> pa.RecordBatch:
    probability = pc.divide(batch.column("MonthlyCharges"), 200.0)
    label = pc.greater_equal(probability, 0.5).cast(pa.int32())
    return batch.append_column("churn_probability", probability).append_column("prediction", label)


def _write(
    waiting: list[pa.RecordBatch], target: Path, writer: pq.ParquetWriter | None, seconds: dict[str, float]
) -> pq.ParquetWriter:
    started = time.perf_counter()
    group = pa.Table.from_batches(waiting)
    if writer is None:
        few = _few_valued(group)
        whole = [f.name for f in group.schema if pa.types.is_integer(f.type) and f.name not in few]
        writer = pq.ParquetWriter(
            target,
            group.schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=few,
            column_encoding=dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
            write_statistics=[],
        )
    writer.write_table(group, row_group_size=ROWS_PER_GROUP)
    seconds["write"] += time.perf_counter() - started
    return writer


def _few_valued(group: pa.Table) -> list[str]:
    sample = group.slice(0, _SAMPLE)
    return [
        f.name
        for f in group.schema
        if pa.types.is_dictionary(f.type) or 4 * pc.count_distinct(sample[f.name]).as_py() <= sample.num_rows
    ]


def _id_column() -> str:
    return Contract.load("telco").id.column
