"""Dagster's instance for one process, and its run history in SQLite without the waits that its way of connecting costs.

Belongs here: where the history is, and how SQLite is asked to keep it. Does not: what is in it (Dagster), a history in
another database, which this leaves alone.

Dagster makes an engine and a connection for every event, and closes both again. The last one to close a database makes
SQLite copy its log into it and wait for the disk, twice an event: 130 events of a scoring run took 4 seconds of 6; and
with a new engine every statement is compiled anew. Engines whose connections stay open take that away, and
`synchronous=NORMAL` the wait of each commit. A killed process loses nothing by either; a power cut may lose the last
events, and never the database. Another fifth of a second goes into reading Dagster's hundred migration scripts for each
database it opens, to learn which one is the last.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg

_STORAGES = (
    "dagster._core.storage.event_log.sqlite.sqlite_event_log",
    "dagster._core.storage.event_log.sqlite.consolidated_sqlite_event_log",
    "dagster._core.storage.runs.sqlite.sqlite_run_storage",
)
_MAKER = "create_engine"

_INSTANCE_SETTINGS = "telemetry:\n  enabled: false\nnux:\n  enabled: false\n"

#: Where migration scripts are → the scripts, which stay as they are while a process lives.
_scripts: dict[str, Any] = {}


@contextmanager
def local_instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of DAGSTER_HOME, or one in the home folder that `make dev` opens too."""
    if os.environ.get("DAGSTER_HOME"):
        with dg.DagsterInstance.get() as instance:
            yield instance
        return
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "dagster.yaml"
    if not settings.exists():
        settings.write_text(_INSTANCE_SETTINGS, encoding="utf-8")
    with quick_history(folder), dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


@contextmanager
def quick_history(folder: Path) -> Iterator[None]:
    """Keep each SQLite database below `folder` open that Dagster opens, from first use to the end of the context."""
    engines: dict[str, Any] = {}
    with ExitStack() as changed, _scripts_read_once():
        for name in _STORAGES:
            # A Dagster that makes its engines elsewhere is slower, and works.
            with suppress(ImportError):
                storage = import_module(name)
                if make := getattr(storage, _MAKER, None):
                    setattr(storage, _MAKER, partial(_engine, make, engines, str(folder.resolve())))
                    changed.callback(setattr, storage, _MAKER, make)
        try:
            yield
        finally:
            for engine in engines.values():
                engine.pool.dispose()


@contextmanager
def _scripts_read_once() -> Iterator[None]:
    """Answer who asks for a folder of migration scripts with what was read of it before."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    read, found = ScriptDirectory.from_config, vars(ScriptDirectory)["from_config"]

    def remembered(config: Config) -> ScriptDirectory:
        place = str(config.get_main_option("script_location"))
        if place not in _scripts:
            _scripts[place] = read(config)
        return _scripts[place]

    ScriptDirectory.from_config = remembered  # type: ignore[method-assign]
    try:
        yield
    finally:
        ScriptDirectory.from_config = found  # type: ignore[method-assign]


def _engine(make: Callable[..., Any], engines: dict[str, Any], below: str, url: str, **options: Any) -> Any:
    """The engine that a database below a folder had before; there is no setting for it."""
    if below not in url:
        return make(url, **options)
    key = f"{url} {options}"
    if key not in engines:
        from sqlalchemy import event
        from sqlalchemy.pool import QueuePool

        engine = engines[key] = make(url, **{**options, "poolclass": QueuePool})
        # Dagster would close its connections after each use.
        engine.dispose = _nothing
        event.listen(engine, "connect", _without_waits)
    return engines[key]


def _nothing() -> None:
    pass


def _without_waits(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
    # As Dagster does once it has made the tables; before, each of them would wait for the disk.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode=WAL")
