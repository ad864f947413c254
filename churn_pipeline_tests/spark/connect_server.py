"""A Spark Connect server on this machine, started and killed.

Belongs here: the process, its port and its log. Does not: sessions (`churn_pipeline/spark/`), fixtures.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from churn_pipeline_tests.spark.standalone import ClusterUnavailable, free_port

_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
_START_SECONDS = 90.0


class ConnectServer:
    """A server with two threads as workers; as a context it is started, and killed at the end.

    Args:
        port: None: a free one.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="spark-connect-")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def remote(self) -> str:
        """What sessions take as remote."""
        return f"sc://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        import pyspark

        home, folder = Path(pyspark.__file__).parent, Path(self._folder.name)
        settings = [
            f"spark.connect.grpc.binding.port={self.port}",
            "spark.connect.grpc.binding.address=127.0.0.1",
            "spark.driver.host=127.0.0.1",
            "spark.ui.enabled=false",
            f"spark.sql.warehouse.dir={folder / 'warehouse'}",
        ]
        submit = [str(home / "bin" / "spark-submit"), "--master", "local[2]"]
        confs = [word for setting in settings for word in ("--conf", setting)]
        with (folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*submit, *confs, "--class", _CLASS, "spark-internal"],
                env={**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait(folder / "server.log")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill it, and the workers below it."""
        if self._process is not None:
            for process in [*psutil.Process(self._process.pid).children(recursive=True), self._process]:
                process.kill()
            self._process.wait()
            self._process = None
        self._folder.cleanup()

    def _wait(self, log: Path) -> None:
        assert self._process is not None
        give_up_at = time.monotonic() + _START_SECONDS
        while "Spark Connect server started" not in (said := log.read_text(encoding="utf-8", errors="replace")):
            if self._process.poll() is not None or time.monotonic() > give_up_at:
                raise ClusterUnavailable(f"The Spark Connect server did not start:\n{said[-2000:]}")
            time.sleep(0.1)
