"""Which alerts were sent, so that each is sent once however often, and by however many processes, it is tried.

Belongs here: the lock and the record, one small file an alert. Does not: sending (`alert_channels.py`).

No channel can be asked whether it has an alert already. Killed in the moment between a channel's acceptance and the
record of it, or left without an answer, the next attempt sends the alert again: better twice than never.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from churn_pipeline.errors import AlertError
from churn_pipeline.resources.alert_channels import AlertChannel, AlertNotDelivered
from churn_pipeline.resources.alerts import Alert


class AlertLogUnusable(AlertError):
    """The folder that remembers which alerts were sent cannot be written or read."""


class AlertBeingSent(AlertError):
    """Another process has been sending the same alert for too long."""


@dataclass(frozen=True)
class SentAlert:
    """What is remembered of an alert.

    Attributes:
        channels: ids of the channels that accepted it; empty if none has yet.
        first_tried_at: UTC.
    """

    key: str
    title: str
    level: str
    first_tried_at: datetime
    channels: tuple[str, ...]


class AlertLog:
    """A local folder with one file an alert, which is both its lock and its record.

    The first line says what the alert is, each further line which channel accepted it. A line counts once it ends,
    so a write that was cut off counts for nothing. The lock is the operating system's and goes with its process.
    """

    def __init__(self, folder: Path, patience: float = 60.0) -> None:
        """Remember where; nothing is written before the first alert.

        Args:
            patience: seconds to wait for another process that is sending the same alert.
        """
        self._folder = folder
        self._patience = patience

    def deliver(self, alert: Alert, channels: Sequence[AlertChannel]) -> bool:
        """Send the alert to each channel that does not have it yet, and remember.

        Returns:
            Whether anything was sent; False if every channel had it before.

        Raises:
            AlertNotDelivered: some channel did not accept it. All were tried, and who accepted is remembered.
            AlertBeingSent: another process did not finish sending it in time.
            AlertLogUnusable: the folder cannot be written; nothing is sent that could not be remembered.
        """
        failed: list[AlertNotDelivered] = []
        with self._locked(alert.key) as record:
            if not record.lines:
                record.add({"key": alert.key, "title": alert.title, "level": alert.level, "at": _now()})
            have = {line["channel"] for line in record.lines[1:]}
            missing = [channel for channel in channels if channel.id not in have]
            for channel in missing:
                try:
                    with record.adding({"channel": channel.id, "at": _now()}):
                        channel.send(alert)
                except AlertNotDelivered as error:
                    failed.append(error)
        if failed:
            raise AlertNotDelivered(" ".join(str(error) for error in failed)) from failed[0]
        return bool(missing)

    def sent(self, key: str) -> SentAlert | None:
        """What is remembered of an alert, or None if it was never tried."""
        path = self._path(key)
        return _read(path) if path.exists() else None

    def recent(self, limit: int = 20) -> list[SentAlert]:
        """The alerts last tried, newest first, those not yet delivered included."""
        newest = sorted(self._folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        found = (_read(path) for path in newest)
        return [alert for alert, _ in zip((a for a in found if a), range(limit), strict=False)]

    def _path(self, key: str) -> Path:
        readable = re.sub(r"[^A-Za-z0-9_-]+", ".", key)[:120].strip(".")
        return self._folder / f"{readable}.{hashlib.sha256(key.encode()).hexdigest()[:12]}.jsonl"

    @contextmanager
    def _locked(self, key: str) -> Iterator[_Record]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path(key), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                self._lock(descriptor, key)
                try:
                    yield _Record(descriptor, self._path(key))
                finally:
                    # Unlocked by word: a forked child may hold the descriptor open for longer.
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise AlertLogUnusable(
                f"Alert log {self._folder} cannot be used: {error.strerror}. Free space or correct its permissions; "
                "until then no alert is sent."
            ) from None

    def _lock(self, descriptor: int, key: str) -> None:
        give_up_at = time.monotonic() + self._patience
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    raise AlertBeingSent(
                        f"Another process has been sending alert {key} for {self._patience:g} s. If none should be, "
                        f"find who has {self._path(key)} open; ending it releases the lock."
                    ) from None
            time.sleep(0.05)


class _Record:
    """The file of one alert while its lock is held."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        self._end = content.rfind(b"\n") + 1
        self.lines = _lines(content, path)
        os.ftruncate(descriptor, self._end)

    def add(self, line: dict[str, Any]) -> None:
        with self.adding(line):
            pass

    @contextmanager
    def adding(self, line: dict[str, Any]) -> Iterator[None]:
        """Write the line, do what it says, and only then end it; take it back if that fails.

        Written first, a full disk is noticed before anything is sent; otherwise each attempt would send again.
        """
        text = json.dumps(line).encode()
        _write_whole(self._descriptor, text)
        try:
            yield
        except BaseException:
            os.ftruncate(self._descriptor, self._end)
            raise
        _write_whole(self._descriptor, b"\n")
        self._end += len(text) + 1
        self.lines.append(line)


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
    os.fsync(descriptor)


def _lines(content: bytes, path: Path) -> list[dict[str, Any]]:
    """The lines that were ended."""
    try:
        return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
    except ValueError:
        raise AlertLogUnusable(f"Alert log file {path} is damaged. Delete it; its alert may be sent again.") from None


def _read(path: Path) -> SentAlert | None:
    lines = _lines(path.read_bytes(), path)
    if not lines:
        return None
    first, *rest = lines
    at = datetime.fromisoformat(first["at"])
    return SentAlert(first["key"], first["title"], first["level"], at, tuple(line["channel"] for line in rest))


def _now() -> str:
    return datetime.now(UTC).isoformat()
