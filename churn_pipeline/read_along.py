"""A second reader of a stream, in a thread of its own, so that its items need not be fetched twice.

Belongs here: that thread, and what becomes of it if the stream stops early. Does not: what is read, or done with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from queue import Queue
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_END: Any = object()
_BROKEN_OFF: Any = object()


class BrokenOff(Exception):
    """The stream ended before its end."""


class ReadAlong(Generic[T, R]):
    """Calls `work` in a thread with the items of one stream that somebody else reads, at most `depth` behind.

    A reader that fails gets no more items, and stops nobody.
    """

    def __init__(self, work: Callable[[Iterator[T]], R], depth: int = 2) -> None:
        self._work = work
        self._queue: Queue[T] = Queue(depth)
        self._has_stopped = threading.Event()
        self._is_over = False
        self._done: Future[R] | None = None

    def of(self, stream: Generator[T]) -> Generator[T]:
        """Hand on a stream, whose items the reader gets too.

        If the stream raises, or is closed early, the reader sees `BrokenOff` and has ended when this has.
        """
        reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-along")
        self._done = reader.submit(self._run)
        reader.shutdown(wait=False)
        last = _BROKEN_OFF
        try:
            with closing(stream):
                for item in stream:
                    if not self._has_stopped.is_set():
                        self._queue.put(item)
                    yield item
            last = _END
        finally:
            self._is_over = True
            self._queue.put(last)
            if last is _BROKEN_OFF:
                self._done.exception()

    def result(self) -> R:
        """What `work` returned, once it has; raises what it raised."""
        assert self._done is not None, "nobody has read the stream"
        return self._done.result()

    def _run(self) -> R:
        try:
            return self._work(self._items())
        finally:
            self._has_stopped.set()
            # Whoever waits to hand over an item is let go.
            while not (self._is_over and self._queue.empty()):
                self._queue.get()

    def _items(self) -> Iterator[T]:
        while (item := self._queue.get()) is not _END:
            if item is _BROKEN_OFF:
                raise BrokenOff
            yield item
