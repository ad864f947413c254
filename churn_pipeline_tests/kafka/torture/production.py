"""`churn-pipeline produce`, kept going until every message was sent.

Belongs here: its process. Does not: what is sent (`churn_pipeline/cli/produce.py`).
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import Self

_COMMAND = "import sys; from churn_pipeline.cli import main; sys.exit(main())"
_PATIENCE_SECONDS = 90.0


class Production:
    """Sends messages in a process of its own, which is started again wherever it ended before it was done.

    Args:
        arguments: of `churn-pipeline produce`, a checkpoint among them.
        environment: all of it.
        log: file for what it says.
    """

    def __init__(self, arguments: list[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = [sys.executable, "-c", _COMMAND, "produce", *arguments]
        self._environment, self._log = environment, log
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = Event()
        self._thread = Thread(target=self._run, name="production")

    @property
    def is_over(self) -> bool:
        """Whether every message was sent and acknowledged."""
        return not self._thread.is_alive()

    def start_again(self) -> None:
        """End the process in order; the next one goes on where it ended."""
        if self._process:
            self._process.terminate()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self.start_again()
        self._thread.join(_PATIENCE_SECONDS)
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
                if self._process.wait() == 0:
                    return
            # Whatever it complains of, such as a broker that is away, is in its log.
            self._stop.wait(1)
