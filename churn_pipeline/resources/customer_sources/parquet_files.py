"""Parquet files as customer rows, in the types the file gives them.

Positions count rows, the first being 1. A column of a type that no contract type can hold is shown as JSON and its
rows are misfits. A Parquet file is read whole or not at all: there are no broken lines.

Belongs here: Parquet. Does not: what types become (`typed_columns.py`), choosing and guarding files (`files.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources.base import ROWS_PER_CHUNK, SourceUnreadable
from churn_pipeline.resources.customer_sources.snapshots import unreadable
from churn_pipeline.resources.customer_sources.typed_columns import from_arrow, rows_of, wanted_columns

if TYPE_CHECKING:
    import pyarrow.parquet as pq


def columns(path: Path, wanted: Collection[str] = ()) -> list[str]:  # noqa: ARG001 - every format's signature
    """Names of the top-level columns.

    Raises:
        SourceUnreadable: the file is not Parquet, or its footer is damaged.
    """
    with _opened(path) as file:
        return list(file.schema_arrow.names)


def row_groups(path: Path) -> int:
    """How many row groups a file has.

    Raises:
        SourceUnreadable: see `columns`.
    """
    with _opened(path) as file:
        return int(file.num_row_groups)


def rows(path: Path) -> int:
    """How many rows a file has.

    Raises:
        SourceUnreadable: see `columns`.
    """
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def read(
    path: Path, contract: Contract, *, with_label: bool = False, groups: range | None = None
) -> Generator[SourceRows, None, None]:
    """Stream a file's rows, contract columns only.

    Args:
        groups: neighbouring row groups; None for all.

    Raises:
        SourceUnreadable: the file is damaged, encrypted, or ends before its last row.
    """
    wanted = wanted_columns(contract, with_label=with_label)
    few_valued = [column.name for column in wanted if column.kind in ("category", "boolean")]
    with _opened(path, few_valued) as file:
        names = [column.name for column in wanted]
        some = range(file.num_row_groups) if groups is None else groups
        rows = [file.metadata.row_group(number).num_rows for number in range(some.stop)]
        done, end = sum(rows[: some.start]), sum(rows)
        # One thread: several are no faster beside a validator and a writer, and cost more in all.
        for batch in file.iter_batches(ROWS_PER_CHUNK, columns=names, use_threads=False, row_groups=list(some)):
            found = {column.name: from_arrow(batch.column(column.name), column.kind) for column in wanted}
            yield rows_of(found, path.as_posix(), np.arange(done + 1, done + 1 + batch.num_rows))
            done += batch.num_rows
        if done != end:
            raise SourceUnreadable(f"{path} promises {end:,} rows and ends after {done:,}. Copy or make it again.")


@contextmanager
def _opened(path: Path, few_valued: list[str] | None = None) -> Iterator[pq.ParquetFile]:
    import pyarrow.parquet as pq

    try:
        # No pre-buffering: it would keep every byte that was read until the file is closed.
        with pq.ParquetFile(
            str(path), read_dictionary=few_valued, page_checksum_verification=True, pre_buffer=False
        ) as file:
            yield file
    except (pa.ArrowException, UnicodeDecodeError):  # the latter: a name in the footer
        raise _damaged(path) from None
    except OSError as error:
        # Arrow reports damaged pages as an OSError without a number, the operating system gives one.
        raise (unreadable(path, error) if error.errno else _damaged(path)) from None


def _damaged(path: Path) -> SourceUnreadable:
    return SourceUnreadable(f"{path} is not Parquet, is damaged, or is encrypted. Copy or make it again.")
