"""A standalone cluster of Spark on this machine: one master and workers, started, killed and ended.

Belongs here: the processes, their folders and ports. Does not: sessions (`churn_pipeline/spark/`), fixtures.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

START_SECONDS = 60.0
_HOST = "127.0.0.1"


class ClusterUnavailable(Exception):
    """There is no Java, or a process of the cluster ended or did not answer."""


class StandaloneCluster:
    """One master and some workers of a core each; as a context they are started, and killed at the end.

    Args:
        port: of the master; None: a free one.
        memory: of each worker's executor.
        pinned: whether the processes of each worker share one core of the machine and use no other.
    """

    def __init__(self, workers: int = 2, port: int | None = None, memory: str = "1g", *, pinned: bool = False) -> None:
        self._pinned = pinned
        self.port = port or free_port()
        self._count, self._memory = workers, memory
        self._folder = Path(tempfile.mkdtemp(prefix="spark-cluster-"))
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def master(self) -> str:
        """What sessions take as master."""
        return f"spark://{_HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What the processes say."""
        return self._folder / "cluster.log"

    def __enter__(self) -> Self:
        try:
            self._start("master.Master", "--host", _HOST, "--port", str(self.port), "--webui-port", "0")
            self._wait("I have been elected leader", 1)
            for core in range(self._count):
                worker = self._start(
                    "worker.Worker", self.master, "--host", _HOST, "--cores", "1", "--memory", self._memory,
                    "--webui-port", "0", "--work-dir", str(self._folder / "work"),
                )  # fmt: skip
                if self._pinned:
                    # While it is a script still: every process and thread that it starts inherits it.
                    psutil.Process(worker.pid).cpu_affinity([core])
            self._wait("Successfully registered with master", self._count)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill everything, executors too."""
        for process in self._processes:
            for child in _below(process.pid):
                child.kill()
            process.kill()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def executors(self) -> list[psutil.Process]:
        """Processes in which workers run tasks now."""
        found = [child for process in self._processes[1:] for child in _below(process.pid)]
        return [child for child in found if "CoarseGrainedExecutorBackend" in " ".join(_command(child))]

    def wait(self) -> None:
        """Until a process of it ends."""
        while all(process.poll() is None for process in self._processes):
            time.sleep(0.5)

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        import pyspark

        script = Path(pyspark.__file__).parent / "bin" / "spark-class"
        environment = {**os.environ, "SPARK_LOCAL_IP": _HOST, "PYSPARK_PYTHON": sys.executable}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [str(script), f"org.apache.spark.deploy.{name}", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A terminal's Ctrl-C ends them in order, by `close`.
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _wait(self, words: str, times: int) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        while (said := self.log.read_text(encoding="utf-8", errors="replace")).count(words) < times:
            if any(process.poll() is not None for process in self._processes) or time.monotonic() > give_up_at:
                raise ClusterUnavailable(f"Spark's cluster did not start:\n{said[-2000:]}")
            time.sleep(0.1)


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        return int(listener.getsockname()[1])


def main() -> int:
    """`make spark-cluster`: in the foreground, until Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with StandaloneCluster(port=int(sys.argv[1]) if len(sys.argv) > 1 else 7077) as cluster:
            print(f"Spark answers on {cluster.master}, with two workers. In other terminals:\n")
            print(f"    export CHURN_BACKEND=spark CHURN_SPARK_MASTER={cluster.master}\n")
            print(f"Ctrl-C ends it. What it says is in {cluster.log}.", flush=True)
            cluster.wait()
            print("A process of the cluster ended by itself.", file=sys.stderr)
            return 1
    except ClusterUnavailable as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
