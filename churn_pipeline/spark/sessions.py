"""The Spark session of this process: opened when it is first asked for, used again, closed at the end.

Belongs here: settings of a session, opening it, and the causes for which it cannot be had. Does not: what it is used
for (`mapping.py`, `pipeline_models.py`).
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from churn_pipeline.errors import SparkCannotScore, UsageError

#: What happens where Spark cannot score: something else does, without or with a warning, or nothing.
Fallback = Literal["allow", "warn", "forbid"]
FALLBACKS: tuple[Fallback, ...] = get_args(Fallback)

#: So long may a master or a Spark Connect server take to accept a connection; Spark itself would try for a minute.
_CONNECT_SECONDS = 5.0

_USUAL = {
    "spark.app.name": "churn_pipeline",
    "spark.driver.extraJavaOptions": f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties')}",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}
#: Where everything is on this machine, nothing is asked of its name or its network.
_ON_THIS_MACHINE = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}

#: By this PySpark knows that its functions are asked for Spark Connect.
_CONNECT_MODE = "SPARK_CONNECT_MODE_ENABLED"

_lock = threading.RLock()
_open: dict[SparkSettings, OpenSession] = {}


class SparkSettingInvalid(UsageError):
    """A setting of Spark cannot be read."""


class SparkNotInstalled(SparkCannotScore):
    """PySpark is not installed."""

    cause = "pyspark_missing"


class SparkNotStarted(SparkCannotScore):
    """There is no Spark session to be had: no Java, or a master that does not answer."""

    cause = "session_failed"


@dataclass(frozen=True)
class SparkSettings:
    """Where Spark is.

    Attributes:
        master: `local[*]`, `spark://HOST:PORT`, `yarn`, `k8s://…`.
        remote: a Spark Connect server, `sc://HOST:PORT`; then there is no master.
        conf: any `spark.*` setting; wins over what is usual here.
    """

    master: str = "local[*]"
    remote: str = ""
    conf: Mapping[str, str] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.master, self.remote, tuple(sorted(self.conf.items()))))

    @property
    def where(self) -> str:
        """The server or the master, without what follows a server's address: a token may be there."""
        return self.remote.partition("/;")[0] or self.master

    @classmethod
    def read(cls, master: str, remote: str, conf: str) -> SparkSettings:
        """Read settings as people write them, `conf` as `spark.executor.memory=4g spark.executor.cores=2`.

        Raises:
            SparkSettingInvalid: a part of `conf` is no setting of Spark.
        """
        pairs = [part.partition("=") for part in conf.split()]
        if bad := [name for name, sign, _ in pairs if not (sign and name.startswith("spark."))]:
            raise SparkSettingInvalid(
                f"{bad[0]!r} is no setting of Spark. Write spark.NAME=VALUE, separated by spaces, "
                "such as spark.executor.memory=4g."
            )
        return cls(master, remote, {name: value for name, _, value in pairs})

    def all(self) -> dict[str, str]:
        """Every setting a session is opened with."""
        if self.remote:
            return {"spark.remote": self.remote, **self.conf}
        local = _ON_THIS_MACHINE if self.master.startswith("local") else {}
        return {"spark.master": self.master, **_USUAL, **local, **self.conf}

    def environment(self) -> dict[str, str]:
        """The environment while a session is opened."""
        # Workers on this machine, or with the same environment, run the Python that asks for the session.
        usual = {"PYSPARK_PYTHON": sys.executable}
        if self.master.startswith("local"):
            usual["SPARK_LOCAL_IP"] = "127.0.0.1"
        # PySpark itself heeds this setting only where spark-submit has started it.
        python = self.conf.get("spark.pyspark.python")
        return {**usual, **os.environ, **({"PYSPARK_PYTHON": python} if python else {})}


@dataclass(frozen=True)
class OpenSession:
    """A session that is open.

    Attributes:
        spark: PySpark's.
        where: the server or the master.
        folder: for files that were sent to its workers, who may ask for them as long as it is open.
    """

    spark: Any
    where: str
    folder: Path

    @property
    def is_remote(self) -> bool:
        """Whether it is one of Spark Connect."""
        return not hasattr(self.spark, "_jsc")

    @property
    def is_alive(self) -> bool:
        """Whether it was closed by nobody, the cluster or the server included."""
        if self.is_remote:
            return not self.spark.is_stopped and self._answers()
        try:
            context = self.spark.sparkContext._jsc
            return context is not None and not context.sc().isStopped()
        except spark_errors():  # Java itself has ended
            return False

    def _answers(self) -> bool:
        """Whether the server of Spark Connect is there and knows the session, as one that was started anew does not."""
        try:
            # First, as PySpark would ask a server that is gone for ten minutes.
            _check_reachable(self.where)
        except SparkNotStarted:
            return False
        try:
            return bool(self.spark.version)
        except spark_errors():
            return False

    def close(self) -> None:
        """Stop it, as far as its cluster or its server has not, and remove its files."""
        if self.is_remote:
            os.environ.pop(_CONNECT_MODE, None)
            self.spark.release_session_on_close = self.is_alive
        # One that its cluster has ended can be stopped no more.
        with suppress(*spark_errors()):
            self.spark.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def is_installed() -> bool:
    """Whether PySpark is there to be imported."""
    return importlib.util.find_spec("pyspark") is not None


def check_installed() -> None:
    """Raise `SparkNotInstalled` where there is no PySpark."""
    if not is_installed():
        raise SparkNotInstalled(
            "PySpark is not installed. Install churn-pipeline with the extra spark, or use backend sklearn."
        )


def check_startable(settings: SparkSettings) -> None:
    """Look for what a session needs, without opening one.

    Raises:
        SparkNotInstalled, SparkNotStarted: it cannot be opened.
    """
    check_installed()
    if settings.remote:
        _check_connect()
    else:
        _check_java()
    _check_reachable(settings.where)


def open_session(settings: SparkSettings) -> OpenSession:
    """The session for these settings; a process has one at a time, so that one with others is closed first.

    Raises:
        SparkNotInstalled: there is no PySpark.
        SparkNotStarted: there is no Java, or nothing answers at the master or the server.
    """
    with _lock:
        if settings in _open and _open[settings].is_alive:
            return _open[settings]
        check_startable(settings)
        close_session()
        _open[settings] = _started(settings)
        return _open[settings]


def close_session() -> None:
    """Stop the session of this process, if there is one."""
    with _lock:
        while _open:
            _open.popitem()[1].close()


def _started(settings: SparkSettings) -> OpenSession:
    from dagster_pyspark import LazyPySparkResource

    try:
        with _environment(settings.environment()):
            session = LazyPySparkResource(spark_config=settings.all()).spark_session
    except spark_errors() as error:
        raise SparkNotStarted(
            f"Spark could not be started at {settings.where}: {in_short(error)}. Look at what Java said above, "
            "at CHURN_SPARK_MASTER, CHURN_SPARK_REMOTE and CHURN_SPARK_CONF, or use backend sklearn."
        ) from None
    if settings.remote:
        # PySpark's functions heed it later than when the session is opened.
        os.environ[_CONNECT_MODE] = "1"
    atexit.register(close_session)
    return OpenSession(session, settings.where, Path(tempfile.mkdtemp(prefix="churn-spark-")))


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _check_connect() -> None:
    missing = [name for name in ("grpc", "grpc_status", "zstandard") if importlib.util.find_spec(name) is None]
    if missing:
        raise SparkNotInstalled(
            f"PySpark's client of Spark Connect is not whole: {', '.join(missing)} cannot be imported. Install "
            "churn-pipeline with the extra spark, or use backend sklearn."
        )


def _check_java() -> None:
    """Without it PySpark says only that its gateway has ended."""
    home = os.environ.get("JAVA_HOME")
    if not ((Path(home) / "bin" / "java").is_file() if home else shutil.which("java")):
        where = f"JAVA_HOME ({home}) has no bin/java" if home else "there is no java on the PATH"
        raise SparkNotStarted(
            f"Spark needs Java 17 or newer, and {where}. Install it, point JAVA_HOME at it, or use backend sklearn."
        )


def _check_reachable(where: str) -> None:
    found = re.match(r"(?:spark|sc)://([^/;]+)", where)
    if found is None:
        return
    # A standalone cluster may have several masters, one of which leads.
    reasons = []
    for address in found[1].split(","):
        host, _, port = address.rpartition(":") if ":" in address else (address, ":", "15002")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
            return
        except (OSError, ValueError) as error:
            reasons.append(f"{address}: {error}")
    raise SparkNotStarted(
        f"Nothing answers at {where} ({'; '.join(reasons)}). Start it, correct CHURN_SPARK_MASTER or "
        "CHURN_SPARK_REMOTE, or use backend sklearn."
    )


def spark_errors() -> tuple[type[Exception], ...]:
    """What PySpark and the bridge to Java raise."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return (PySparkException, Py4JError, ConnectionError)


def in_short(error: Exception) -> str:
    """The first line of an error, without Java's stack."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
