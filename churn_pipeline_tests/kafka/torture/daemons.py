"""Dagster's daemon with all that it starts: its code server, and the processes of runs.

Belongs here: starting, killing, freezing and ending them, and what step a run is at. Does not: when that is done
(`faults.py`), what else is there (`rig.py`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import dagster as dg
import psutil

from churn_pipeline.cli.child_process import child_process

#: A run's process, the server that runs are started by, or the daemon with all of them.
Target = Literal["run", "code server", "daemon"]

#: Before the first step of a run, and after its last one.
STARTS, ENDS = "starts", "ends"

_LAST_STEP = "publish_batch"

_GOING = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


class Daemon(AbstractContextManager["Daemon"]):
    """A daemon on an instance of its own; as a context it runs, and at the end nothing of it is left.

    Args:
        folder: DAGSTER_HOME, with a dagster.yaml.
        logs: folder for what each start of it says.
        environment: of all its processes, but for DAGSTER_HOME.
    """

    def __init__(self, name: str, folder: Path, logs: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._folder, self._logs = folder, logs
        self._environment = {**environment, "DAGSTER_HOME": str(folder)}
        self._running, self._open = ExitStack(), ExitStack()
        self._group: int | None = None
        self._starts = 0

    def start(self) -> None:
        """Start it, for the first time or again."""
        # Two processes that make Dagster's databases at the same moment spoil them, so this one does, before.
        assert self.history
        self._starts += 1
        log = self._logs / f"{self.name}-daemon-{self._starts}.log"
        arguments = ("dagster._daemon", "run", "-m", "churn_pipeline.definitions")
        child = self._running.enter_context(child_process(*arguments, environment=self._environment, log=log))
        # All that it starts stays in its group.
        self._group = child.pid

    def end(self) -> None:
        """End it in order."""
        self._running.close()
        self._group = None

    def kill(self, target: Target) -> int:
        """End processes at once (SIGKILL); how many there were. A daemon has to be started again."""
        count = self._signal(target, signal.SIGKILL)
        if target == "daemon":
            self.end()
        return count

    def freeze(self, target: Target) -> int:
        """Stop processes from doing anything (SIGSTOP); how many there were."""
        return self._signal(target, signal.SIGSTOP)

    def thaw(self, target: Target) -> int:
        """Let frozen ones go on (SIGCONT)."""
        return self._signal(target, signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended since."""
        return self._group is not None

    def runs(self) -> list[psutil.Process]:
        """Processes of runs, those that outlived their code server too."""
        return [process for process in self._processes() if _kind(process) == "run"]

    def step(self) -> str | None:
        """The step that a run is at (`STARTS`, `ENDS` around its steps); None if no run is going on.

        One whose process is gone is none, whatever the history says.
        """
        going = self.history.get_runs(dg.RunsFilter(statuses=_GOING), limit=1) if self.runs() else []
        return _step(self.history, going[0].run_id) if going else None

    def has_open_runs(self) -> bool:
        """Whether any run counts as going on in its history."""
        return bool(self.history.get_runs(dg.RunsFilter(statuses=_GOING), limit=1))

    @cached_property
    def history(self) -> dg.DagsterInstance:
        """Its instance, for looking only."""
        return self._open.enter_context(dg.DagsterInstance.from_config(str(self._folder)))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw("daemon")
        self.end()
        self._open.close()

    def _signal(self, target: Target, number: signal.Signals) -> int:
        found = [process for process in self._processes() if target in ("daemon", _kind(process))]
        if target == "daemon" and found and self._group:
            os.killpg(self._group, number)  # all at one moment, whatever it starts just now
            return len(found)
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        return len(found)

    def _processes(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter() if self._group else ():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                if os.getpgid(process.pid) == self._group and process.status() != psutil.STATUS_ZOMBIE:
                    yield process


def _kind(process: psutil.Process) -> Target | None:
    """What a process of a daemon's group is; None for those that only help others."""
    with suppress(psutil.NoSuchProcess):
        command = " ".join(process.cmdline())
        if "spawn_main" in command:
            return "run"
        if "api grpc" in command:
            return "code server"
    return None


def _step(instance: dg.DagsterInstance, run_id: str) -> str:
    """Between two steps, the one before."""
    kinds = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}
    events = [entry.get_dagster_event() for entry in instance.all_logs(run_id, of_type=kinds)]
    if not events:
        return STARTS
    is_last = events[-1].step_key == _LAST_STEP and events[-1].event_type != dg.DagsterEventType.STEP_START
    return ENDS if is_last else events[-1].step_key or STARTS
