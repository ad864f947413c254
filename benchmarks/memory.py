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
    reasons = _peak(samples.customers(_MILLION, ".parquet"), reasons=3)
    said = f"the whole job in {reasons['seconds']:,.0f} s"
    return [
        *_compare(1 * _MILLION, 10 * _MILLION, "≤ 1.2"),
        Line("peak memory, 1,000,000 rows with three reasons each", said, reasons["megabytes"], "≤ 800", "MB"),
    ]


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


def _peak(source: Path, reasons: int = 0) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", str(source), str(reasons)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _child(source: Path, reasons: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="churn-bench-"))
    try:
        started = time.perf_counter()
        scoring.whole_job(samples.deployment(folder / "home", reasons=reasons), source)
        print(json.dumps({"megabytes": _kilobytes() / 1024, "seconds": time.perf_counter() - started}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _kilobytes() -> int:
    """The most memory this process ever had."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # On Linux the other number goes on from that of the process that started this one.
    [line] = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


if __name__ == "__main__":
    _child(Path(sys.argv[1]), sys.argv[2])
