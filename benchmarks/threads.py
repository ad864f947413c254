"""As many OpenMP threads as suit an estimator: beside other work, one can be ten times faster than all cores.

Belongs here: finding that out, so that what we are compared with is at its best. Does not: our own side, which has to
see to that itself.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def best_threads(work: Callable[[], Any]) -> int | None:
    """One, if the work is faster so than with as many as it likes (None)."""
    freely = _seconds(work)
    with limited_to(1):
        alone = _seconds(work)
    return 1 if alone < freely else None


@contextmanager
def limited_to(threads: int | None) -> Iterator[None]:
    """No more OpenMP threads than that; None: as many as there are cores."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(threads, "openmp"):
        yield


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
