"""JSON Lines as an export: what other programs read line by line.

Belongs here: the format. Does not: folders and replacing (`file_tables.py`), customer files in JSON Lines
(`resources/customer_sources/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec
import pyarrow as pa

from churn_pipeline.io_managers.base import ROWS_PER_BATCH
from churn_pipeline.io_managers.file_tables import FileFormat, FileTables
from churn_pipeline.io_managers.plain_text import as_plain, from_plain, plain_type


class JsonLinesFormat(FileFormat):
    """One object a line, every column in it, times in ISO 8601 UTC. JSON has no NaN or infinity: they become null."""

    extension = ".jsonl"

    def write(self, file: BinaryIO, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        encoder = msgspec.json.Encoder()
        plain = pa.schema([(f.name, plain_type(f.type, nested_as_json=False)) for f in schema])
        for batch in batches:
            file.write(encoder.encode_lines(as_plain(batch, plain).to_pylist()))

    def read(self, path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        decoder = msgspec.json.Decoder()
        plain = pa.schema([(f.name, plain_type(f.type, nested_as_json=False)) for f in schema])
        with path.open("rb") as file:
            while lines := list(islice(file, ROWS_PER_BATCH)):
                rows = decoder.decode_lines(b"".join(lines))
                yield from_plain(pa.RecordBatch.from_pylist(rows, plain), schema)


class JsonLinesFiles(FileTables):
    """Tables as folders of JSON Lines files, one a batch."""

    format = JsonLinesFormat()
