"""How this project meets MLflow: quietly, within a bounded wait, and with a database that is made whole or not at all.

Belongs here: what registry and tracking share before either talks to its server. Does not: models
(`mlflow_registry.py`), runs (`experiment_tracking.py`).
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from churn_pipeline.errors import ModelError

_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}


class RegistryUnreachable(ModelError):
    """The MLflow server or its database does not answer."""


class RegistryRefused(ModelError):
    """MLflow answered, and would not do what was asked."""


def configure_mlflow(timeout_seconds: float) -> None:
    """Set what MLflow reads from the environment, where nobody else has: no telemetry, no chatter, short waits."""
    defaults = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(max(1, round(timeout_seconds))),
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def redacted(uri: str) -> str:
    """The URI without user and password, for messages."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return parts._replace(netloc="…@" + parts.netloc.rpartition("@")[2]).geturl()


def database_file(uri: str) -> Path | None:
    """File of a `sqlite:///` URI; None for any other, and for a database in memory."""
    scheme, _, path = uri.partition(":///")
    path = path.partition("?")[0]
    return Path(path) if scheme.partition("+")[0] == "sqlite" and path not in ("", ":memory:") else None


def check_reachable(uri: str, timeout_seconds: float) -> None:
    """Find out within `timeout_seconds` whether anybody is there: MLflow itself would wait for minutes.

    Raises:
        RegistryUnreachable: nobody is; says what to look at.
    """
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme in ("http", "https"):
        _check_server(uri, timeout_seconds)
    elif scheme in _PORTS:
        _check_port(uri, _PORTS[scheme], timeout_seconds)
    elif (file := database_file(uri)) and file.exists():
        _check_sqlite(uri, file, timeout_seconds)


def _check_server(uri: str, timeout_seconds: float) -> None:
    # MLflow's own request: it knows the proxies, certificates and credentials that the later calls will use.
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        http_request(
            get_default_host_creds(uri),
            "/health",
            "GET",
            max_retries=0,
            timeout=timeout_seconds,
            raise_on_status=False,
        )
    except MlflowException:
        raise RegistryUnreachable(
            f"The MLflow server at {redacted(uri)} gave no answer within {timeout_seconds:g} s. "
            "Start it, or correct the tracking URI."
        ) from None


def _check_port(uri: str, default_port: int, timeout_seconds: float) -> None:
    parts = urlsplit(uri)
    try:
        socket.create_connection((parts.hostname or "localhost", parts.port or default_port), timeout_seconds).close()
    except OSError:
        raise RegistryUnreachable(
            f"The database of MLflow at {redacted(uri)} took no connection within {timeout_seconds:g} s. "
            "Start it, or correct the tracking URI."
        ) from None


def _check_sqlite(uri: str, file: Path, timeout_seconds: float) -> None:
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=timeout_seconds)) as found:
            found.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        raise RegistryUnreachable(
            f"{redacted(uri)} is not a database that can be read. Check the file's permissions, put back a copy of it, "
            "or move it away to start an empty one."
        ) from None


def ensure_database(uri: str) -> None:
    """Make the tables of a SQLite database that is not there yet; whole, though killed, and by one process of many.

    MLflow makes them in place, in some fifty steps: a second process that starts meanwhile fails, and one that is
    killed leaves a database that cannot be opened again.

    Raises:
        RegistryUnreachable: the folder cannot be written.
    """
    file = database_file(uri)
    if file is None or file.exists():
        return
    draft = file.with_name(f".{file.name}.{uuid4().hex}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _make_tables(f"sqlite:///{draft}")
        _move_into_place(draft, file)
    except OSError as error:
        raise RegistryUnreachable(
            f"The MLflow database {file} cannot be made: {error.strerror}. Check the folder's permissions and the disk."
        ) from None
    finally:
        draft.unlink(missing_ok=True)


def _move_into_place(draft: Path, file: Path) -> None:
    try:
        os.link(draft, file)
    except FileExistsError:
        return  # Another process was first; its database is as whole as ours.
    except OSError:  # A file system without hard links.
        if not file.exists():
            draft.rename(file)


def _make_tables(uri: str) -> None:
    from mlflow import MlflowClient

    MlflowClient(uri, uri).search_experiments(max_results=1)


@contextmanager
def explained(uri: str, doing: str) -> Iterator[None]:
    """Turn MLflow's errors into this project's.

    Args:
        doing: completes `MLflow at URI could not …`.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        said = str(error).partition("\n")[0].replace(uri, redacted(uri))[:300].rstrip(".")
        if password := urlsplit(uri).password:
            said = said.replace(password, "…")
        raise RegistryRefused(
            f"MLflow at {redacted(uri)} could not {doing}: {said}. "
            "Check your permissions there, and that server, database and this MLflow are of one version."
        ) from None


def error_code(error: Any) -> str:
    """MLflow's code of an exception, such as `RESOURCE_DOES_NOT_EXIST`."""
    return str(getattr(error, "error_code", ""))
