"""Apache Kafka on this machine: one node or three, started, frozen, killed and started again.

Belongs here: the nodes' processes, folders and ports. Does not: where the jars come from (`jars.py`), passwords and
certificates (`secured.py`), fixtures (`fixtures.py`).

Each node has one listener without security; `extra_listeners` adds others. What it stores is thrown away at the end.
"""

from __future__ import annotations

import base64
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException, Producer

from churn_pipeline_tests.kafka.jars import DEPLOY, BrokerUnavailable, jars, java

START_SECONDS = 60.0
_HOST = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
_LIGHT_JAVA = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j2.configurationFile={DEPLOY}/log4j2.properties")


class Broker:
    """One node of Apache Kafka, broker and controller; as a context it is started, and killed at the end.

    Args:
        folder: an empty or new one for its data and its log; None: a temporary one, removed at the end.
        port: of the listener without security; None: a free one. It stays the same over restarts.
        properties: more of server.properties; they win over the usual ones.
        extra_listeners: security protocol (`SASL_PLAINTEXT`, `SSL`, `SASL_SSL`) → port.
        scram_users: more arguments of `--add-scram`, such as `SCRAM-SHA-256=[name=a,password=b]`.
        heap: of the JVM; 64m serves, 256m is comfortable.
    """

    def __init__(
        self,
        folder: Path | None = None,
        port: int | None = None,
        *,
        properties: Mapping[str, str] | None = None,
        extra_listeners: Mapping[str, int] | None = None,
        scram_users: Sequence[str] = (),
        node_id: int = 1,
        heap: str = "256m",
    ) -> None:
        self._temporary = None if folder else tempfile.TemporaryDirectory(prefix="kafka-")
        self.folder = folder or Path(self._temporary.name)  # type: ignore[union-attr]
        self.port = port or free_port()
        self.controller_port = free_port()
        self.node_id = node_id
        self._heap = heap
        self._listeners = {"PLAINTEXT": self.port, **(extra_listeners or {})}
        self._properties = properties or {}
        self._scram_users = scram_users
        self._formatted = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """What clients take as `bootstrap.servers`, without security."""
        return f"{_HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """What the node printed: warnings and worse."""
        return self.folder / "broker.log"

    def start(self) -> None:
        """Start it, for the first time or again, and wait until it answers and leads its partitions.

        Raises:
            BrokerUnavailable: no Java, no jars, a port in use, or it ended or did not answer in `START_SECONDS`.
        """
        self.launch()
        self.wait_until_it_answers()

    def launch(self) -> None:
        """Start the process and do not wait for it."""
        if self.running:
            return
        for port in (*self._listeners.values(), self.controller_port):
            if not _is_free(port):
                raise BrokerUnavailable(f"Port {port} is in use. Stop what listens there, or choose another.")
        if not self._formatted:
            self.format([self])
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [java(), f"-Xmx{self._heap}", *_LIGHT_JAVA, "-cp", f"{jars()}/*", "kafka.Kafka", self._settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent,
            )

    def format(self, voters: Sequence[Broker], cluster_id: str | None = None) -> None:
        """Write its settings and an empty data folder, as a node of a cluster whose controllers are `voters`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        Path(self._settings).write_text(self._server_properties(voters), encoding="utf-8")
        controllers = ",".join(f"{v.node_id}@{_HOST}:{v.controller_port}:{_uuid(v.controller_port)}" for v in voters)
        command = [java(), "-Xmx96m", *_LIGHT_JAVA, "-cp", f"{jars()}/*", "kafka.tools.StorageTool", "format"]
        command += ["-t", cluster_id or _uuid(random.getrandbits(80)), "-c", self._settings]
        command += ["--initial-controllers", controllers]
        command += [argument for user in self._scram_users for argument in ("--add-scram", user)]
        got = subprocess.run(command, capture_output=True, text=True)
        if got.returncode:
            raise BrokerUnavailable(f"Kafka could not format {self.folder}:\n{_last_lines(got.stdout + got.stderr)}")
        self._formatted = True

    def wait_until_it_answers(self, seconds: float = START_SECONDS) -> None:
        """Until the cluster lists this node and every partition has a leader.

        Raises:
            BrokerUnavailable: the process ended, or `seconds` are over; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        client = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 100})
        while not self._serves(client):
            self._check_alive()
            if time.monotonic() > deadline:
                said = self.last_words()
                raise BrokerUnavailable(
                    f"Kafka on {self.bootstrap} did not answer in {seconds:.0f} s. Its log:\n{said}"
                )
            time.sleep(0.05)

    @property
    def running(self) -> bool:
        """True from launch to the end of the process; a frozen one runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it at once (SIGKILL), as a lost machine does; what it stored stays."""
        self._signal(signal.SIGKILL)
        self._ended()

    def terminate(self) -> None:
        """End it in order (SIGTERM), frozen or not; what it stored stays."""
        self._signal(signal.SIGTERM)
        self.thaw()
        self._ended()

    def freeze(self) -> None:
        """Stop it from doing anything (SIGSTOP): connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def wait(self) -> int:
        """Until the process ends by itself; its exit code."""
        return self._process.wait() if self._process else 0

    def last_words(self) -> str:
        """The end of its log."""
        return _last_lines(self.log.read_text(errors="replace"))

    def remove(self) -> None:
        """Kill it, and remove its folder if that was temporary."""
        self.kill()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def _settings(self) -> str:
        return str(self.folder / "server.properties")

    def _server_properties(self, voters: Sequence[Broker]) -> str:
        listeners = ",".join(f"{name}://{_HOST}:{port}" for name, port in self._listeners.items())
        own = {
            "node.id": str(self.node_id),
            "log.dirs": str(self.folder / "data"),
            "listeners": f"{listeners},CONTROLLER://{_HOST}:{self.controller_port}",
            "advertised.listeners": listeners,
            "controller.quorum.bootstrap.servers": ",".join(f"{_HOST}:{v.controller_port}" for v in voters),
            **self._properties,
        }
        # Of a setting given twice, the later one counts.
        usual = (DEPLOY / "server.properties").read_text(encoding="utf-8")
        return usual + "\n" + "".join(f"{name}={value}\n" for name, value in own.items())

    def _serves(self, client: Producer) -> bool:
        try:
            seen = client.list_topics(timeout=0.5)
        except KafkaException:
            return False
        leaders = [part.leader for topic in seen.topics.values() for part in topic.partitions.values()]
        return self.node_id in seen.brokers and -1 not in leaders

    def _check_alive(self) -> None:
        if not self.running:
            said = self.last_words()
            raise BrokerUnavailable(f"Kafka on {self.bootstrap} ended at its start. Java 17 or newer? Its log:\n{said}")

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self.running:
            self._process.send_signal(number)

    def _ended(self) -> None:
        if self._process:
            self._process.wait(timeout=30)


class Cluster:
    """Nodes that keep a copy of everything each, for the loss of one; a write needs two of three."""

    def __init__(self, nodes: int = 3) -> None:
        copies = {
            name: str(nodes)
            for name in (
                "default.replication.factor",
                "offsets.topic.replication.factor",
                "transaction.state.log.replication.factor",
            )
        }
        properties = {**copies, "min.insync.replicas": "2", "transaction.state.log.min.isr": "2"}
        self.brokers = [Broker(node_id=n + 1, properties=properties, heap="192m") for n in range(nodes)]

    @property
    def bootstrap(self) -> str:
        """What clients take as `bootstrap.servers`."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def leader(self, topic: str, partition: int = 0) -> Broker:
        """The node that leads a partition."""
        client = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0})
        leader = client.list_topics(topic, timeout=10).topics[topic].partitions[partition].leader
        return next(broker for broker in self.brokers if broker.node_id == leader)

    def __enter__(self) -> Self:
        cluster_id = _uuid(random.getrandbits(80))
        try:
            for broker in self.brokers:
                broker.format(self.brokers, cluster_id)
                broker.launch()
            for broker in self.brokers:
                broker.wait_until_it_answers()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for broker in self.brokers:
            broker.remove()


def free_port() -> int:
    """A port that nothing listens on, and that stays free while its broker is down.

    Not one of those that the system gives to clients (from 32768 on): a client that tries again and again to reach a
    dead broker would be given the broker's own port one day, and the broker could not come back.
    """
    return next(port for port in iter(lambda: random.SystemRandom().randrange(20_000, 32_000), 0) if _is_free(port))


def end_with_parent() -> None:
    """Have Linux kill this process when the thread that started it is gone: a test that was killed leaves no broker."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        # As the JVM does: a port whose last connections are still being closed can be listened on.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((_HOST, port))
        except OSError:
            return False
        return True


def _uuid(number: int) -> str:
    """22 characters of base64, as Kafka wants them, that do not begin with a hyphen."""
    return base64.urlsafe_b64encode(b"kafka0" + number.to_bytes(10, "big")).decode().rstrip("=")


def _last_lines(text: str, lines: int = 12) -> str:
    return os.linesep.join(text.strip().splitlines()[-lines:])
