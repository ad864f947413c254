"""Fixtures of the Spark tier.

Belongs here: where a test's Spark is. Does not: how a cluster or a server runs (`standalone.py`,
`connect_server.py`).

Without Java such tests are skipped; where CI is set they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from churn_pipeline.spark.sessions import SparkSettings, close_session
from churn_pipeline_tests.spark.connect_server import ConnectServer
from churn_pipeline_tests.spark.standalone import StandaloneCluster

#: Fixtures that make a test one of the Spark tier.
SPARKS = {"spark", "spark_cluster", "spark_connect"}


def _require_java() -> None:
    if not os.environ.get("JAVA_HOME") and shutil.which("java") is None:
        if os.environ.get("CI"):
            pytest.fail("no Java here, and CI needs one")
        pytest.skip("no Java here")


@pytest.fixture(scope="session")
def spark() -> SparkSettings:
    """Spark in this process, with two threads; the session is opened by the first test that needs it."""
    _require_java()
    return SparkSettings("local[2]")


@pytest.fixture(scope="session")
def spark_cluster() -> Iterator[StandaloneCluster]:
    """A master and two workers on this machine. Executors may be killed, workers not."""
    _require_java()
    with StandaloneCluster() as cluster:
        yield cluster
        close_session()


@pytest.fixture(scope="module")
def spark_connect() -> Iterator[ConnectServer]:
    """A Spark Connect server with two threads as workers; may be killed."""
    _require_java()
    with ConnectServer() as server:
        yield server
        close_session()
