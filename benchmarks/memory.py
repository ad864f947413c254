"""Peak memory of a run, in a process of its own: it must not grow with the batch.

Belongs here: the child process and the comparison.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import samples, scoring
from benchmarks.report import Line

_MILLION = 1_000_000


def measure() -> list[Line]:
    """Ten million rows against one."""
    return _compare(1 * _MILLION, 10 * _MILLION, "≤ 1.2")


def measure_50() -> list[Line]:
    """Fifty million rows against five."""
    return _compare(5 * _MILLION, 50 * _MILLION, "≤ 1.1")


def _compare(few: int, many: int, target: str) -> list[Line]:
    samples.registry()
    small, large = (_peak(samples.customers(rows, ".parquet")) for rows in (few, many))
    said = "; ".join(
        f"{rows:,} rows {found['megabytes']:,.0f} MB in {found['seconds']:,.0f} s"
        for rows, found in ((few, small), (many, large))
    )
    return [
        Line(f"peak memory, {many:,} rows of Parquet", "the whole job", large["megabytes"], "≤ 800", "MB"),
        Line(f"  of {many:,} rows ÷ of {few:,}", said, large["megabytes"] / small["megabytes"], target),
    ]


def _peak(source: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", str(source)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _child(source: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="churn-bench-"))
    try:
        started = time.perf_counter()
        scoring.whole_job(samples.deployment(folder / "home"), source)
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"megabytes": kilobytes / 1024, "seconds": time.perf_counter() - started}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
