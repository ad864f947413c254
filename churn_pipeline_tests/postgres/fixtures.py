"""Fixtures of the PostgreSQL tier.

Belongs here: which server a test gets. Does not: how one runs (`server.py`).

Without PostgreSQL such tests are skipped; where CI is set they fail.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from churn_pipeline_tests.postgres.server import PostgresServer, PostgresUnavailable

#: Fixtures that make a test one of the PostgreSQL tier.
POSTGRES = {"postgres"}


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server for everybody: `.url`, `.run(…)`. Not to be stopped."""
    with ExitStack() as context:
        try:
            server = context.enter_context(PostgresServer())
        except PostgresUnavailable as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no PostgreSQL here: {error}")
        yield server
