"""A long-running child process that never outlives the one that started it.

Its standard input is a pipe into which the parent writes nothing. However the parent ends, killed with no chance to
clean up too, the operating system closes the other end; the child notices, and ends with all that it has started.
Linux's PR_SET_PDEATHSIG would reach the child alone and not its own children, and exists on Linux only.

Belongs here: both ends of that pipe, and ending in order. Does not: which programs are started (the commands).
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

#: So long may a child and its own take to end in order.
_PATIENCE_SECONDS = 10.0


@contextmanager
def child_process(
    module: str, *arguments: str, environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module with its arguments while the block runs, as `python -m` would; at the end nothing of it is left.

    Args:
        environment: all of it.
        log: file for what it says; an older one is replaced.
    """
    command = [sys.executable, "-c", f"import {__name__} as child; child.run()", module, *arguments]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own, which ends as a whole, and which a terminal's Ctrl-C does not reach.
            start_new_session=True,
        ) as child,
    ):
        try:
            yield child
        finally:
            _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    if child.poll() is not None:  # ended by itself, and nobody told what it had started
        _signal(child.pid, signal.SIGTERM)
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < give_up_at and _is_alive(child):
        time.sleep(0.02)
    _signal(child.pid, signal.SIGKILL)


def _is_alive(child: subprocess.Popen[bytes]) -> bool:
    """Whether any process of its group is left."""
    child.poll()  # one that has ended and was not waited for would count
    try:
        os.killpg(child.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _signal(group: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def run() -> None:
    """Be the child: run the module that the command line names first, with the rest as its arguments."""
    Thread(target=_end_with_parent, daemon=True).start()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    _signal(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_SECONDS)
    _signal(os.getpid(), signal.SIGKILL)
