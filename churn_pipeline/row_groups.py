"""A stream of rows, cut anew.

Belongs here: groups of a size, however the rows come. Does not: writing them.
"""

from collections.abc import Iterable, Iterator

import pyarrow as pa


def row_groups(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Groups of so many rows, however the rows come; only the last is smaller.

    Words are numbered alike in a group: where batches number them differently, a Parquet writer spells them all out.
    """
    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= size:
            table = pa.Table.from_batches(waiting).unify_dictionaries()
            for start in range(0, rows - size + 1, size):
                yield table.slice(start, size)
            rows %= size
            waiting = table.slice(table.num_rows - rows).to_batches()
    if rows:
        yield pa.Table.from_batches(waiting).unify_dictionaries()
