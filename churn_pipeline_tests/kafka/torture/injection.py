"""Doing what is done to the service, and noting it.

Belongs here: waiting for the moment, the fault, its line in `faults.jsonl`. Does not: which faults (`faults.py`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from churn_pipeline_tests.kafka.apache_kafka import Broker
from churn_pipeline_tests.kafka.torture.daemons import Daemon
from churn_pipeline_tests.kafka.torture.faults import Fault
from churn_pipeline_tests.kafka.torture.production import Production

#: How long a moment is waited for; after that the fault comes at whatever moment it is.
_MOMENT_SECONDS = 90.0
_LOOK_EVERY_SECONDS = 0.1


@dataclass(frozen=True)
class Injection:
    """What faults befall.

    Attributes:
        daemons: the one, and the one that is started by mistake.
        log: where each fault is noted, a JSON object a line.
    """

    broker: Broker
    topic: str
    daemons: tuple[Daemon, Daemon]
    production: Production
    log: Path
    say: Callable[[str], None]
    moment_seconds: float = _MOMENT_SECONDS

    def inject(self, fault: Fault) -> None:
        """Wait for the moment, do it, undo it where that is part of it, and note it."""
        time.sleep(fault.gap)
        daemon = self.daemons[fault.second and self.daemons[1].is_running]
        step = self._wait_for(fault, daemon)
        begun = datetime.now(UTC)
        done = _DOES[fault.kind](self, fault, daemon)
        victim = daemon.name if fault.target else None
        ended = datetime.now(UTC)
        noted = {**asdict(fault), "daemon": victim, "step": step, **done, "at": begun.isoformat()}
        noted["until"] = ended.isoformat()
        with self.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(noted) + "\n")
        where = f" {daemon.name}'s {fault.target} at {step or 'no run'}" if fault.target else ""
        self.say(f"fault {fault.number}: {fault.kind}{where}, {(ended - begun).total_seconds():.0f} s")

    def _wait_for(self, fault: Fault, daemon: Daemon) -> str | None:
        """The step that is going on when it is time."""
        give_up_at = time.monotonic() + self.moment_seconds
        while fault.moment and daemon.step() != fault.moment and time.monotonic() < give_up_at:
            time.sleep(_LOOK_EVERY_SECONDS)
        time.sleep(fault.delay)
        return daemon.step()

    def _kill(self, fault: Fault, daemon: Daemon) -> dict[str, Any]:
        assert fault.target
        count = daemon.kill(fault.target)
        if fault.target == "daemon":
            time.sleep(fault.seconds)
            daemon.start()
        return {"processes": count}

    def _freeze(self, fault: Fault, daemon: Daemon) -> dict[str, Any]:
        assert fault.target
        count = daemon.freeze(fault.target)
        if count:
            time.sleep(fault.seconds)
        daemon.thaw(fault.target)
        return {"processes": count}

    def _kill_broker(self, fault: Fault, _: Daemon) -> dict[str, Any]:
        self.broker.kill()
        time.sleep(fault.seconds)
        self.broker.start()
        return {"processes": 1}

    def _add_partition(self, _: Fault, __: Daemon) -> dict[str, Any]:
        admin = AdminClient({"bootstrap.servers": self.broker.bootstrap})
        count = len(admin.list_topics(self.topic, timeout=30).topics[self.topic].partitions) + 1
        admin.create_partitions([NewPartitions(self.topic, count)])[self.topic].result()
        # A producer that goes on would not see it for minutes.
        self.production.start_again()
        return {"partitions": count}

    def _start_second(self, _: Fault, __: Daemon) -> dict[str, Any]:
        self.daemons[1].start()
        return {}


_DOES: dict[str, Callable[[Injection, Fault, Daemon], dict[str, Any]]] = {
    "kill": Injection._kill,
    "freeze": Injection._freeze,
    "broker kill": Injection._kill_broker,
    "partition": Injection._add_partition,
    "second sensor": Injection._start_second,
}
