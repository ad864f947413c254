"""Apicurio Registry on this machine: a real schema registry that Maven serves, in memory and thrown away.

Belongs here: fetching it, a Java that runs it, its process. Does not: a broker (`apache_kafka.py`), the registry of
the fast tier (`resources/customer_sources/registry_fake.py`).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.request import Request, urlopen

from churn_pipeline_tests.kafka.apache_kafka import START_SECONDS, free_port
from churn_pipeline_tests.kafka.jars import BrokerUnavailable

VERSION = "3.3.3"
_ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
_FOLDER = Path(__file__).parents[2] / "data" / "local" / "kafka" / f"apicurio-{VERSION}"
_OLDEST_JAVA = 21
_FETCH_SECONDS = 600


class Apicurio:
    """A registry; as a context it is started, and killed at the end."""

    def __init__(self) -> None:
        self._port = free_port()
        self._temporary = tempfile.TemporaryDirectory(prefix="apicurio-")
        self._log = Path(self._temporary.name) / "registry.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the paths of Confluent's protocol begin."""
        return f"http://127.0.0.1:{self._port}/apis/ccompat/v7"

    def register(
        self, subject: str, schema: Any, kind: str = "AVRO", references: Sequence[tuple[str, int]] = ()
    ) -> int:
        """Register the next version of a subject's schema, as producers do; returns its id."""
        named = [{"name": s, "subject": s, "version": v} for s, v in references]
        body = {"schema": json.dumps(schema), "schemaType": kind, "references": named}
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        request = Request(f"{self.url}/subjects/{subject}/versions", json.dumps(body).encode(), headers)
        with urlopen(request, timeout=30) as answer:
            return int(json.load(answer)["id"])

    def kill(self) -> None:
        """End it at once."""
        if self._process:
            self._process.kill()
            self._process.wait(timeout=30)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._temporary.cleanup()

    def _start(self) -> None:
        options = {
            "quarkus.http.host": "127.0.0.1",
            "quarkus.http.port": str(self._port),
            "apicurio.storage.sql.kind": "h2",
            "apicurio.datasource.url": "jdbc:h2:mem:registry",
        }
        command = [_java(), "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += [f"-D{name}={value}" for name, value in options.items()]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "-jar", str(_fetched() / "quarkus-run.jar")],
                cwd=self._temporary.name,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = "\n".join(self._log.read_text(errors="replace").splitlines()[-12:])
                raise BrokerUnavailable(f"Apicurio Registry did not start on {self.url}. Its log:\n{said}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/subjects", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, http.client.HTTPException):
            return False


def _java() -> str:
    """A Java that is new enough, which the one of the broker need not be."""
    homes = [os.environ[name] for name in sorted(os.environ) if name.startswith("JAVA_HOME")]
    found = [Path(home) / "bin" / "java" for home in homes] + sorted(Path("/usr/lib/jvm").glob("*/bin/java"))
    found += [Path(java)] if (java := shutil.which("java")) else []
    for java in found:
        if java.exists():
            said = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
            version = re.search(r'version "(\d+)', said)
            if version and int(version[1]) >= _OLDEST_JAVA:
                return str(java)
    raise BrokerUnavailable(f"There is no Java {_OLDEST_JAVA} or newer for Apicurio Registry. Install one.")


def _fetched() -> Path:
    """The folder of the registry, below data/local; fetched once (about 160 MB)."""
    if _FOLDER.exists():
        return _FOLDER
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailable("There is no mvn on the PATH, which fetches Apicurio Registry. Install Maven.")
    _FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_FOLDER.parent) as temporary:
        goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
        command = [maven, "-q", "-B", goal, f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={temporary}"]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_FETCH_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise BrokerUnavailable(f"Maven could not fetch {_ARTIFACT}. Look at its network and mirrors.") from error
        (archive,) = Path(temporary).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(Path(temporary) / "app", filter="data")
        try:
            (Path(temporary) / "app").rename(_FOLDER)
        except OSError:
            # Another process was first; a folder is renamed whole or not at all.
            if not _FOLDER.exists():
                raise
    return _FOLDER
