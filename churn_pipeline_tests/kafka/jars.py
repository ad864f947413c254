"""The jars of Apache Kafka, and a Java that runs them.

Belongs here: fetching with Maven what deploy/kafka/pom.xml names, finding Java, what to do when either is missing.
Does not: a running node (`apache_kafka.py`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]
DEPLOY = _REPOSITORY / "deploy" / "kafka"
COMPOSE = "deploy/kafka/compose.yaml"
_FETCH_SECONDS = 600


class BrokerUnavailable(RuntimeError):
    """Apache Kafka cannot be had or does not run here; the message says what to do."""


def java() -> str:
    """The path of the `java` to run.

    Raises:
        BrokerUnavailable: there is none.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if found is None:
        where = f"in JAVA_HOME={home}" if home else "on the PATH"
        raise BrokerUnavailable(f"There is no java {where}. Install Java 17 or newer, or use {COMPOSE}.")
    return found


def jars() -> Path:
    """The folder of the broker's jars, below data/local; fetched once for every state of the pom (about 45 MB).

    Raises:
        BrokerUnavailable: they are not there and cannot be fetched.
    """
    pom = DEPLOY / "pom.xml"
    folder = _REPOSITORY / "data" / "local" / "kafka" / f"jars-{zlib.crc32(pom.read_bytes()):08x}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        fetched = Path(temporary) / "jars"
        _fetch(pom, fetched)
        try:
            fetched.rename(folder)
        except OSError:
            # Another process was first; a folder is renamed whole or not at all.
            if not folder.exists():
                raise
    return folder


def _fetch(pom: Path, into: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerUnavailable(f"There is no mvn on the PATH. Install Maven, or use {COMPOSE}.")
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={into}", "-DincludeScope=runtime"]
    try:
        got = subprocess.run(
            [maven, "-q", "-B", "-f", str(pom), *goal], capture_output=True, text=True, timeout=_FETCH_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerUnavailable(
            f"Maven did not fetch Kafka's jars in {_FETCH_SECONDS} s. Look at its network."
        ) from error
    if got.returncode:
        said = "\n".join((got.stdout + got.stderr).strip().splitlines()[:5])
        raise BrokerUnavailable(
            f"Maven could not fetch Kafka's jars (exit code {got.returncode}). Look at its network and mirrors "
            f"(~/.m2/settings.xml), or use {COMPOSE}. It said:\n{said}"
        )
