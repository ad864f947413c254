"""Ending in order on Ctrl-C or SIGTERM.

Belongs here: noticing them. Does not: what is to be done about it (the commands).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def asked_to_stop() -> Iterator[Event]:
    """Set once either comes while the block runs; the second one ends the process as it would without this."""
    asked = Event()
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def notice(number: int, frame: FrameType | None) -> None:
        del number, frame
        asked.set()
        give_back()

    def give_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in _SIGNALS:
        signal.signal(number, notice)
    try:
        yield asked
    finally:
        give_back()
