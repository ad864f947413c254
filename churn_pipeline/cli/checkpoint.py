"""How far `churn-pipeline produce` came, in a file, so that it goes on there even after it was killed.

Belongs here: the file. Does not: sending (`resources/topics/demo_producer.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from churn_pipeline.errors import TableError, UsageError


class CheckpointUnfit(UsageError):
    """A checkpoint file is none, or was written while something else was sent."""


class CheckpointNotWritten(TableError):
    """A checkpoint file cannot be written, so nobody would know how far sending came."""


@dataclass(frozen=True)
class Checkpoint:
    """What is sent, and how much of it is acknowledged.

    Attributes:
        of: name → value of all that decides what message number n is.
        begun_at: when message 0 was sent, or soon before.
        acknowledged: messages from the first on, none of them missing.
    """

    of: Mapping[str, Any]
    begun_at: datetime
    acknowledged: int = 0

    def found_in(self, path: Path | None) -> Checkpoint:
        """This one, or how far an earlier attempt came according to the file.

        Raises:
            CheckpointUnfit: the file is about something else.
        """
        if path is None or not path.exists():
            return self
        try:
            kept = json.loads(path.read_bytes())
            begun_at, acknowledged = datetime.fromisoformat(kept["begun_at"]), int(kept["acknowledged"])
            of = dict(kept["of"])
        except (KeyError, TypeError, ValueError):
            raise CheckpointUnfit(f"{path} is no checkpoint of churn-pipeline produce. Name another file.") from None
        except OSError as error:
            raise CheckpointUnfit(f"{path} cannot be read: {error.strerror}. Name another file.") from None
        if others := sorted(name for name in self.of if of.get(name) != self.of[name]):
            raise CheckpointUnfit(
                f"{path} was written while something else was sent: {', '.join(others)} differ. Send the same as "
                "then, or name another checkpoint file."
            )
        return replace(self, begun_at=begun_at, acknowledged=acknowledged)

    def write(self, path: Path) -> None:
        """Keep it; whoever kills this process finds the file as it was before or as it is after.

        Raises:
            CheckpointNotWritten
        """
        from churn_pipeline.io_managers.atomic_files import atomic_file

        kept = {"acknowledged": self.acknowledged, "begun_at": self.begun_at.isoformat(), "of": dict(self.of)}
        try:
            with atomic_file(path) as file:
                file.write(json.dumps(kept, indent=2).encode() + b"\n")
        except OSError as error:
            raise CheckpointNotWritten(
                f"{path} cannot be written: {error.strerror}. {self.acknowledged:,} messages are acknowledged. Make "
                "room or correct its rights."
            ) from None
