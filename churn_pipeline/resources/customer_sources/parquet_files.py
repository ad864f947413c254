"""Parquet files as customer rows, in the types the file gives them.

Positions count rows, the first being 1. A column of a type that no contract type can hold is shown as JSON and its
rows are misfits. A Parquet file is read whole or not at all: there are no broken lines.

Belongs here: Parquet. Does not: what types become (`typed_columns.py`), choosing and guarding files (`files.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources.base import ROWS_PER_CHUNK, SourceUnreadable
from churn_pipeline.resources.customer_sources.snapshots import unreadable
from churn_pipeline.resources.customer_sources.typed_columns import (
    FittedColumn,
    WantedColumn,
    from_arrow,
    rows_of,
    wanted_columns,
)

if TYPE_CHECKING:
    import pyarrow.parquet as pq


def columns(path: Path, wanted: Collection[str] = ()) -> list[str]:  # noqa: ARG001 - every format's signature
    """Names of the top-level columns.

    Raises:
        SourceUnreadable: the file is not Parquet, or its footer is damaged.
    """
    with opened(str(path)) as file:
        return list(file.schema_arrow.names)


def row_groups(path: Path, count: int) -> list[range]:
    """The row groups of a file as about `count` stretches of neighbours, one at least.

    Raises:
        SourceUnreadable: see `columns`.
    """
    with opened(str(path)) as file:
        return divided(int(file.num_row_groups), count)


def divided(groups: int, count: int) -> list[range]:
    """So many row groups as about `count` stretches of neighbours, one at least."""
    size = max(1, -(-groups // count))
    return [range(start, min(start + size, groups)) for start in range(0, max(groups, 1), size)]


def rows(path: Path) -> int:
    """How many rows a file has.

    Raises:
        SourceUnreadable: see `columns`.
    """
    with opened(str(path)) as file:
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
    with opened(str(path), wanted) as file:
        yield from read_rows(file, path.as_posix(), wanted, groups)


def read_rows(
    file: pq.ParquetFile,
    name: str,
    wanted: Sequence[WantedColumn],
    groups: range | None = None,
    given: Mapping[str, pa.Scalar] | None = None,
) -> Generator[SourceRows, None, None]:
    """Stream the rows of an open file; see `read`.

    Args:
        name: partition of the rows.
        given: a value for each column that has the same one in every row, whether the file has such a column or not.

    Raises:
        SourceUnreadable: the file ends before its last row.
    """
    given = given or {}
    stored = [column.name for column in wanted if column.name not in given]
    some = range(file.num_row_groups) if groups is None else groups
    rows = [file.metadata.row_group(number).num_rows for number in range(some.stop)]
    done, end = sum(rows[: some.start]), sum(rows)
    # One thread: several are no faster beside a validator and a writer, and cost more in all.
    for batch in file.iter_batches(ROWS_PER_CHUNK, columns=stored, use_threads=False, row_groups=list(some)):
        found: dict[str, FittedColumn] = {}
        for column in wanted:
            value = given.get(column.name)
            cells = batch.column(column.name) if value is None else pa.repeat(value, batch.num_rows)
            found[column.name] = from_arrow(cells, column.kind)
        yield rows_of(found, name, np.arange(done + 1, done + 1 + batch.num_rows))
        done += batch.num_rows
    if done != end:
        raise SourceUnreadable(f"{name} promises {end:,} rows and ends after {done:,}. Copy or make it again.")


@contextmanager
def opened(
    path: str, wanted: Sequence[WantedColumn] = (), stream: pa.NativeFile | None = None
) -> Iterator[pq.ParquetFile]:
    """A Parquet file, for as long as the block lasts.

    Args:
        path: where it is; says so in errors.
        wanted: columns that will be read: those of few values come as dictionaries.
        stream: its bytes, where they are not to be had from the file system.

    Raises:
        SourceUnreadable: it is no Parquet file, is damaged or cannot be read; also where reading it in the block shows.
    """
    import pyarrow.parquet as pq

    where = path if stream is None else stream
    try:
        footer = pq.read_metadata(where)
        # What is not there, or is a list, cannot be asked for as a dictionary.
        plain = {footer.schema.column(number).path for number in range(footer.num_columns)}
        few_valued = [c.name for c in wanted if c.kind in ("category", "boolean") and c.name in plain]
        # No pre-buffering: it would keep every byte that was read until the file is closed.
        with pq.ParquetFile(
            where, metadata=footer, read_dictionary=few_valued, page_checksum_verification=True, pre_buffer=False
        ) as file:
            yield file
    except (pa.ArrowException, UnicodeDecodeError):  # the latter: a name in the footer
        raise _damaged(path) from None
    except OSError as error:
        # Arrow reports damaged pages as an OSError without a number, the operating system gives one.
        raise (unreadable(path, error) if error.errno else _damaged(path)) from None


def _damaged(path: str) -> SourceUnreadable:
    return SourceUnreadable(f"{path} is not Parquet, is damaged, or is encrypted. Copy or make it again.")
