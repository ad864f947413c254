"""Parquet as an export: typed, small, read by everything that knows data.

Belongs here: the format. Does not: folders and replacing (`file_tables.py`), Delta Lake (`delta_tables.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from churn_pipeline.io_managers.base import ROWS_PER_BATCH
from churn_pipeline.io_managers.file_tables import FileFormat, FileTables
from churn_pipeline.io_managers.later_columns import filled


class ParquetFormat(FileFormat):
    """Parquet, zstd; dictionary columns stay dictionaries."""

    extension = ".parquet"

    def write(self, file: BinaryIO, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        few = [f.name for f in schema if pa.types.is_dictionary(f.type) or f.name == "batch_id"]
        # An empty list would mean: dictionaries for every column.
        with pq.ParquetWriter(
            file, schema, compression="zstd", compression_level=1, use_dictionary=few or False
        ) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema))

    def read(self, path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(path, pre_buffer=False) as parquet:
            for batch in parquet.iter_batches(ROWS_PER_BATCH, columns=schema.names, use_threads=False):
                yield filled(batch, schema)


class ParquetFiles(FileTables):
    """Tables as folders of Parquet files, one a batch."""

    format = ParquetFormat()
