"""A stream that a thread of its own reads, so that who reads and who works on what was read do not wait for each other.

Belongs here: that thread, and several for work on one item that has nothing to do with the others. Does not: what is
read, or done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
_END: Any = object()


def read_ahead(stream: Iterable[T], depth: int = 2) -> Generator[T]:
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


def work_ahead(work: Callable[[T], R], stream: Iterable[T], threads: int = 2) -> Generator[R]:
    """Hand on, in order, what `work` makes of each item; so many threads work on as many items at a time.

    What `work` or the stream raises is raised here.
    """
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="work-ahead") as workers:
        ahead: deque[Future[R]] = deque()
        try:
            for item in stream:
                ahead.append(workers.submit(work, item))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for unwanted in ahead:
                unwanted.cancel()
