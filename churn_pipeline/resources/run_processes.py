"""Which batch a run is of, which process it is in, and which runs are lost because theirs is gone.

Belongs here: the marks of a run, finding the lost, and what a process does while a run is in it. Does not: what
becomes of the batch of a lost one (`sensors/customer_batches.py`, `runs.py`).

A run whose process was killed goes on for ever in Dagster's history if nobody is left who started it: the code server
that launches runs notices the death of a run, and nothing notices when both die, or when a command of ours does.
"""

from __future__ import annotations

import gc
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import dagster as dg
import psutil
import pyarrow as pa
from dagster import RunRecord

#: Tag of a run: the id of its batch.
BATCH_TAG = "churn/batch"

#: Tags of a run: its machine, and its process there with the second in which that began, as numbers are used again.
HOST, PROCESS = "churn/host", "churn/process"

#: A piece of memory as large as the largest arrays of a run.
_LEARNT_BYTES = 4 * 1024 * 1024

_GOING = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]

#: A run marks itself in its first step; one that has not done so by then died before.
_MARKED_AFTER_SECONDS = 300.0


def this_process() -> dict[str, str]:
    """Tags of a run that is in this process."""
    return {HOST: socket.gethostname(), PROCESS: _mark(psutil.Process(os.getpid()))}


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Let Python's garbage collector look only at what a run makes.

    Half a million objects of the libraries that are loaded by then hold each other, and are no garbage; looking at all
    of them takes half a second each time.
    """
    if gc.get_freeze_count():  # somebody else sees to it
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def spare_memory() -> None:
    """Spend less on memory in this process, from now on.

    glibc gave what a run frees back to the kernel, which clears what it hands out: 130,000 pages in a run of five
    million customers, and a fourteenth of its processor time. It learns from the largest piece that was ever freed;
    other C libraries do not mind. Arrow's own choice, mimalloc, holds a hundred megabytes more than jemalloc where one
    thread makes what another frees.
    """
    bytearray(_LEARNT_BYTES)
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        with suppress(NotImplementedError):  # Arrow was built without it
            pa.set_memory_pool(pa.jemalloc_memory_pool())


def lost_runs(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> Iterator[dg.DagsterRun]:
    """Runs with these tags that count as going on and whose process is gone; those of other machines are left out."""
    for record in instance.get_run_records(dg.RunsFilter(statuses=_GOING, tags=dict(tags))):
        if _is_lost(record):
            yield record.dagster_run


def _is_lost(record: RunRecord) -> bool:
    tags = record.dagster_run.tags
    if PROCESS not in tags:
        return record.start_time is not None and time.time() - record.start_time > _MARKED_AFTER_SECONDS
    return tags.get(HOST) == socket.gethostname() and not _is_alive(tags[PROCESS])


def _is_alive(mark: str) -> bool:
    try:
        process = psutil.Process(int(mark.partition("@")[0]))
        return _mark(process) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _mark(process: psutil.Process) -> str:
    return f"{process.pid}@{process.create_time():.0f}"
