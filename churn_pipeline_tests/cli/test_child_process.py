"""A child process ends with its parent, in whatever way that ends, and leaves none of its own behind."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from churn_pipeline.cli.child_process import child_process

#: A module that starts a process of its own, names both, and goes on for ever.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(*sys.argv[1:], os.getpid(), child.pid, flush=True)
{then}
"""
FOR_EVER = "time.sleep(600)"

PARENT = """
import os, pathlib, sys, time
from churn_pipeline.cli.child_process import child_process
with child_process("family", "said", environment=os.environ, log=pathlib.Path(sys.argv[1])):
    time.sleep(600)
"""


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Makes the module, and tells its processes once it has named them in its log."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(then=FOR_EVER):
        (tmp_path / "family.py").write_text(FAMILY.format(then=then))
        return tmp_path / "log"

    return make


def named_in(log):
    """The processes that a log names."""
    give_up_at = time.monotonic() + 20
    while not (log.exists() and log.read_text().endswith("\n")):
        assert time.monotonic() < give_up_at, "nothing was said"
        time.sleep(0.02)
    return [psutil.Process(int(word)) for word in log.read_text().split()[-2:]]


def gone(processes):
    """Whether all of them end; those that nobody waits for are the init process's to bury."""
    give_up_at = time.monotonic() + 15
    while any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes):
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.slow
def test_a_module_runs_with_its_arguments_and_ends_with_the_block(family):
    log = family()
    with child_process("family", "one", "two", environment=os.environ, log=log) as child:
        processes = named_in(log)
        assert child.poll() is None
    assert log.read_text().startswith("one two ")
    assert gone(processes)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_its_parent_is_killed_it_ends_with_all_that_it_started(family, number):
    log = family()
    with subprocess.Popen([sys.executable, "-c", PARENT, str(log)]) as parent:
        processes = named_in(log)
        parent.send_signal(number)
    assert gone(processes)


@pytest.mark.slow
def test_what_a_child_that_ended_by_itself_has_started_ends_with_the_block(family):
    log = family(then="sys.exit(3)")
    with child_process("family", environment=os.environ, log=log) as child:
        processes = named_in(log)
        assert child.wait(10) == 3
    assert gone(processes)
