"""A PostgreSQL server on this machine: made, started and ended.

Belongs here: the process, its folder and port. Does not: fixtures (`fixtures.py`).

It listens on loopback only and asks for a password. What it stores is thrown away at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from adbc_driver_postgresql import dbapi

from churn_pipeline_tests.kafka.apache_kafka import end_with_parent, free_port

PASSWORD = "hun ter/2"
START_SECONDS = 60.0
_HOST = "127.0.0.1"
_USER = "tester"
_INSTALLED = "/usr/lib/postgresql"  # Debian has its programs out of the way


class PostgresUnavailable(Exception):
    """There is no PostgreSQL here, or it does not start."""


class PostgresServer:
    """A server with one database; as a context it is started, and ended at the end."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What CHURN_DATABASE_URL takes."""
        return f"postgresql://{_USER}:hun%20ter%2F2@{_HOST}:{self.port}/postgres"

    def __enter__(self) -> Self:
        try:
            self._make()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            PostgresUnavailable
        """
        options = ["-c", f"port={self.port}", "-c", f"listen_addresses={_HOST}", "-c", "unix_socket_directories="]
        options += ["-c", "fsync=off"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", str(self._data), *options],
                stdout=log, stderr=log, cwd=self._folder, preexec_fn=end_with_parent, **_user(),
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise PostgresUnavailable(f"PostgreSQL does not start:\n{self.log.read_text()[-2_000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, whoever is connected."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """End it, and delete what it stored."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *statements: str, **tables: pa.Table) -> None:
        """Make tables of these names, replacing others, and run statements."""
        with dbapi.connect(self.url) as connection, connection.cursor() as cursor:
            for name, rows in tables.items():
                cursor.adbc_ingest(name, rows, mode="replace")
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    @property
    def log(self) -> Path:
        """What it says."""
        return self._folder / "postgres.log"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _make(self) -> None:
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if user := _user():
            shutil.chown(self._folder, user["user"])
            shutil.chown(password, user["user"])
        made = subprocess.run(
            [_program("initdb"), "-D", str(self._data), "-U", _USER, "--auth=scram-sha-256", f"--pwfile={password}",
             "--encoding=UTF8", "--locale=C", "--no-sync"],
            capture_output=True, text=True, cwd=self._folder, check=False, **_user(),
        )  # fmt: skip
        if made.returncode:
            raise PostgresUnavailable(f"initdb failed: {made.stderr[-2_000:]}")

    def _answers(self) -> bool:
        with socket.socket() as sock:
            if sock.connect_ex((_HOST, self.port)):
                return False
        try:
            dbapi.connect(self.url).close()
        except dbapi.Error:  # it is starting up
            return False
        return True


def _program(name: str) -> str:
    versions = sorted(Path(_INSTALLED).glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    found = shutil.which(name) or (str(versions[-1]) if versions else None)
    if found is None:
        raise PostgresUnavailable(f"There is no {name} on the PATH or in {_INSTALLED}. Install PostgreSQL.")
    return found


def _user() -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    return {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
