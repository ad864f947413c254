"""CSV as an export: what a spreadsheet opens.

Belongs here: the format. Does not: folders and replacing (`file_tables.py`), customer files in CSV
(`resources/customer_sources/`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pacsv

from churn_pipeline.io_managers.base import ROWS_PER_BATCH
from churn_pipeline.io_managers.file_tables import FileFormat, FileTables
from churn_pipeline.io_managers.plain_text import as_plain, from_plain, plain_type


class CsvFormat(FileFormat):
    """UTF-8 with a header line, text quoted, a missing value empty and an empty text `""`, times in ISO 8601 UTC.

    Lists and structs are JSON text. Values are written as they are: a text that starts with `=`, `+`, `-` or `@` is
    a formula to a spreadsheet, so import such columns as text.
    """

    extension = ".csv"

    def write(self, file: BinaryIO, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> None:
        plain = pa.schema([(f.name, plain_type(f.type, nested_as_json=True)) for f in schema])
        with pacsv.CSVWriter(file, plain) as writer:
            for batch in batches:
                writer.write_batch(as_plain(batch, plain))

    def read(self, path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        plain = {f.name: plain_type(f.type, nested_as_json=True) for f in schema}
        convert = pacsv.ConvertOptions(
            column_types=plain,
            include_columns=schema.names,
            include_missing_columns=True,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        parse = pacsv.ParseOptions(newlines_in_values=True)
        with pacsv.open_csv(path, parse_options=parse, convert_options=convert) as reader:
            for block in reader:
                for start in range(0, block.num_rows, ROWS_PER_BATCH):
                    yield from_plain(block.slice(start, ROWS_PER_BATCH), schema)


class CsvFiles(FileTables):
    """Tables as folders of CSV files, one a batch."""

    format = CsvFormat()
