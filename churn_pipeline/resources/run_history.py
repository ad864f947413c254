"""Dagster's run history in SQLite, without the waits that its way of connecting costs.

Belongs here: how SQLite is asked to keep the history of one process. Does not: what is in it (Dagster), where it is
(`runs.py`), a history in another database, which this leaves alone.

Dagster opens a connection for every event and closes it again. The last one to close a database makes SQLite copy
its log into it and wait for the disk, twice an event: 130 events of a scoring run took 4 seconds of 6. A connection
that stays open takes that away, and `synchronous=NORMAL` the wait of each commit. A killed process loses nothing by
either; a power cut may lose the last events, and never the database.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def quick_history(folder: Path) -> Iterator[None]:
    """Keep each SQLite database below `folder` open from its first use to the end of the context."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    below = str(folder.resolve())
    with ExitStack() as opened:
        kept: dict[str, sqlite3.Connection] = {}

        def on_connect(connection: Any, _record: object) -> None:
            if not isinstance(connection, sqlite3.Connection):
                return
            file = connection.execute("PRAGMA database_list").fetchone()[2]
            if not file.startswith(below):
                return
            connection.execute("PRAGMA synchronous=NORMAL")
            if file not in kept:
                kept[file] = sqlite3.connect(file, check_same_thread=False)
                opened.callback(kept[file].close)
            # Only a connection that has read since the database went over to its log counts as open.
            with suppress(sqlite3.OperationalError):
                kept[file].execute("PRAGMA user_version").fetchall()

        event.listen(Engine, "connect", on_connect)
        opened.callback(event.remove, Engine, "connect", on_connect)
        yield
