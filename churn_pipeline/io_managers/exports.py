"""One named file of rows, as in `churn-pipeline score --output scores.csv`.

Belongs here: choosing the format by the name's ending, and writing the file whole or not at all. Does not: the
formats, tables (`file_tables.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from churn_pipeline.errors import UsageError
from churn_pipeline.io_managers.atomic_files import atomic_file
from churn_pipeline.io_managers.csv_files import CsvFormat
from churn_pipeline.io_managers.file_tables import FileFormat
from churn_pipeline.io_managers.incoming_rows import Watched
from churn_pipeline.io_managers.json_lines import JsonLinesFormat
from churn_pipeline.io_managers.parquet_files import ParquetFormat
from churn_pipeline.io_managers.table_errors import not_writable

FORMATS: dict[str, FileFormat] = {
    ".csv": CsvFormat(),
    ".parquet": ParquetFormat(),
    ".jsonl": JsonLinesFormat(),
    ".ndjson": JsonLinesFormat(),
}


class UnknownExportFormat(UsageError):
    """The name of an output file has an ending that stands for no format."""


def format_of(path: Path) -> FileFormat:
    """The format that a file name asks for.

    Raises:
        UnknownExportFormat: names the endings there are.
    """
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise UnknownExportFormat(f"{path} has no ending that names a format. Use one of {', '.join(FORMATS)}.")
    return found


def export_file(path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write record batches of `schema` to a file that is there whole or not at all, and count the rows.

    Values are written as they are: in CSV a text that starts with `=`, `+`, `-` or `@` is a formula to a
    spreadsheet, so import such columns as text.

    Raises:
        UnknownExportFormat: before anything is read or written.
        TableNotWritable: the storage refuses; an older file of that name is intact. So it is if `batches` raises,
            which is passed on.
    """
    form, watched = format_of(path), Watched(batches)
    try:
        with atomic_file(path) as file:
            form.write(file, watched, schema)
    except OSError as error:
        if error is watched.error:
            raise
        raise not_writable(str(path), error) from error
    return watched.rows
