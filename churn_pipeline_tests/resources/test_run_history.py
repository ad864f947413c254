"""The run history in SQLite: quick while a process uses it, and as it was for everybody else."""

import sqlite3
import subprocess
import sys

import pytest
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.sql import get_alembic_config
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from churn_pipeline.resources.run_history import quick_history

KILLED = """
import os, sys
from pathlib import Path
from churn_pipeline.resources.run_history import quick_history
from churn_pipeline_tests.resources.test_run_history import write
with quick_history(Path(sys.argv[1])):
    write(Path(sys.argv[1]) / "runs.db", 3)
    os._exit(9)
"""


def write(file, rows):
    """As Dagster does: an engine and a connection for every row."""
    for _ in range(rows):
        engine = sqlite_event_log.create_engine(f"sqlite:///{file}", poolclass=NullPool)
        with engine.connect() as connection, connection.begin():
            connection.execute(text("PRAGMA journal_mode=WAL"))
            connection.execute(text("CREATE TABLE IF NOT EXISTS events (n)"))
            connection.execute(text("INSERT INTO events VALUES (1)"))
        engine.dispose()


def rows_in(file):
    connection = sqlite3.connect(file)
    try:
        return connection.execute("SELECT count(*) FROM events").fetchone()[0]
    finally:
        connection.close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dagster").mkdir()
    return tmp_path / "dagster"


def test_the_log_of_a_database_is_kept_open_within_the_context_only(folder):
    file, log = folder / "runs.db", folder / "runs.db-wal"
    write(file, 1)
    assert not log.exists()
    with quick_history(folder):
        write(file, 2)
        assert log.exists() and rows_in(file) == 3
    assert not log.exists() and rows_in(file) == 3
    write(file, 1)
    assert not log.exists()


def test_a_commit_does_not_wait_for_the_disk(folder):
    with quick_history(folder):
        engine = sqlite_event_log.create_engine(f"sqlite:///{folder / 'runs.db'}", poolclass=NullPool)
        with engine.connect() as connection:
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 1


def test_databases_elsewhere_are_left_alone(folder, tmp_path):
    with quick_history(folder):
        write(tmp_path / "other.db", 1)
        assert not (tmp_path / "other.db-wal").exists()


def test_a_killed_process_loses_nothing(folder):
    killed = subprocess.run([sys.executable, "-c", KILLED, str(folder)], check=False)
    assert killed.returncode == 9
    assert rows_in(folder / "runs.db") == 3


def test_dagster_makes_one_engine_a_database_within_the_context_only(folder):
    url = f"sqlite:///{folder / 'index.db'}"
    with quick_history(folder):
        made = sqlite_event_log.create_engine(url, poolclass=NullPool)
        assert sqlite_event_log.create_engine(url, poolclass=NullPool) is made
        elsewhere = [sqlite_event_log.create_engine("sqlite://", poolclass=NullPool) for _ in range(2)]
        assert elsewhere[0] is not elsewhere[1]
    assert sqlite_event_log.create_engine is create_engine


def test_migration_scripts_are_read_once_within_the_context_only(folder):
    config = get_alembic_config(sqlite_event_log.__file__)
    found = vars(ScriptDirectory)["from_config"]
    with quick_history(folder):
        scripts = ScriptDirectory.from_config(config)
        assert ScriptDirectory.from_config(config) is scripts
    with quick_history(folder):
        assert ScriptDirectory.from_config(config) is scripts
    assert vars(ScriptDirectory)["from_config"] is found
    assert ScriptDirectory.from_config(config) is not scripts
