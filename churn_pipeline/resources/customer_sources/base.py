"""Customer records from outside: what a source must be able to do, and how it can fail.

Belongs here: the port (`CustomerSource`) and its errors. Does not: a format (one file each beside this one),
judging records (`contract/validation.py`), Dagster (`assets/customers.py`).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from churn_pipeline.batches import Batch
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.errors import SourceError, UsageError

#: Most rows in one `SourceRows`: the size the rest of the pipeline works in.
ROWS_PER_CHUNK = 65_536


class SourceNotFound(SourceError):
    """There is no such file or table, or no customer file in the folder or under the glob."""


class SourceFormatUnknown(SourceError):
    """The file's name does not say whether it is CSV, Parquet or JSON Lines."""


class SourceMixed(SourceError):
    """A folder or glob holds files of more than one format."""


class SourceEmpty(SourceError):
    """A file holds nothing at all, not even the names of its columns."""


class SourceChanged(SourceError):
    """A file or table is no longer what it was when the batch was planned."""


class SourceUnreadable(SourceError):
    """A file or table cannot be opened, or is not what its format promises."""


class SecretInLocation(UsageError):
    """A location holds a password, which would be kept with every batch that is read from there."""


#: `scheme://user:password@host`, where what follows the colon is no port, or a password among the parameters.
_PASSWORD = re.compile(r"^(\w+:)?\w[\w+.-]*://([^/]*:(?!\d+/)[^@]*@|.*[?&]password=)", re.IGNORECASE | re.DOTALL)


def without_password(location: str, what: str = "The source") -> str:
    """The same location, if everybody may read it.

    Args:
        what: what the location is of, for the message.

    Raises:
        SecretInLocation: there is a password in it, which is not repeated.
    """
    if _PASSWORD.match(location):
        raise SecretInLocation(
            f"{what} is a URI with a password in it, which would stand in run configuration and in the ledger. Take it "
            "out, and give credentials by environment: those of the storage, such as AWS_SECRET_ACCESS_KEY."
        )
    return location


class CustomerSource(ABC):
    """Customer records that can be planned as a batch and then read, again and again, within its bounds."""

    @abstractmethod
    def describe(self) -> str:
        """What the person named, for messages."""

    @abstractmethod
    def plan(self, limit: int | None = None) -> Batch:
        """Fix what one run reads. Records are not read, but by a source that has no bounds of its own: a database.

        Args:
            limit: read only this many rows, broken ones included (None: all).

        Raises:
            SourceError: nothing is there, or it cannot be read.
        """

    def claim(self, batch: Batch) -> None:  # noqa: B027 - files are anybody's to read
        """Say, before reading, that this batch is going to be read; a topic gives each offset to one batch only.

        Raises:
            SourceError: another batch has some of it.
        """

    def finish(self, batch: Batch) -> None:  # noqa: B027 - files can be scored again and again
        """Say, after everything that follows from the batch, that it is done; a topic then gives out the next one."""

    def about(self, batch: Batch) -> int | None:  # noqa: ARG002
        """About how many rows a batch has, found out without reading them; None if nobody knows."""
        return None

    def parts(self, batch: Batch, count: int) -> Sequence[Batch] | None:  # noqa: ARG002
        """A batch as about `count` smaller ones, in its order, for `read` in any process that reaches the source.

        None if only one process can read it.

        Raises:
            SourceError: see `read`.
        """
        return None

    @abstractmethod
    def columns(self, batch: Batch) -> dict[str, list[str]]:
        """Names of the columns, a partition each; a partition whose columns cannot be known yet is left out."""

    @abstractmethod
    def read(self, batch: Batch, contract: Contract, *, with_label: bool = False) -> Iterator[SourceRows]:
        """Stream a batch's rows in flat memory, in the order of the source.

        Every partition's columns are checked before the first row is handed out. Rows are neither cleaned nor
        judged. May raise at any time, also after the last row: whoever writes commits only at the end.

        Args:
            batch: what `plan` gave, here or in an earlier attempt.
            with_label: read the label column too (training).

        Returns:
            Chunks of at most `ROWS_PER_CHUNK` rows; one chunk never spans two partitions.

        Raises:
            MissingColumn, AmbiguousColumn: a partition does not have the contract's columns.
            SourceChanged: the source is not what was planned, or changed while it was read.
            SourceUnreadable: the source cannot be read to its end.
        """
