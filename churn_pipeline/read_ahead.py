"""A stream that a thread of its own reads, so that who reads and who works on what was read do not wait for each other.

Belongs here: that thread. Does not: what is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
_END: Any = object()


def read_ahead(stream: Iterable[T], depth: int = 4) -> Generator[T]:
    """Hand on a stream that a thread of its own reads, at most `depth` items ahead.

    What the stream raises is raised here, in its place. Closing this generator early closes the stream and stops the
    thread, after the item that is being read just then.
    """
    iterator = iter(stream)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as reader:
        ahead: deque[Future[T]] = deque(reader.submit(next, iterator, _END) for _ in range(depth))
        try:
            while (item := ahead.popleft().result()) is not _END:
                ahead.append(reader.submit(next, iterator, _END))
                yield item
        finally:
            for unread in ahead:
                unread.cancel()
            if close := getattr(iterator, "close", None):
                reader.submit(close).result()
