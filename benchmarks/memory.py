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

from benchmarks import samples, throughput
from benchmarks.report import Line

ROWS = (1_000_000, 10_000_000)


def measure(rows: tuple[int, int] = ROWS) -> list[Line]:
    """The larger batch against the smaller one."""
    samples.champion()
    small, large = (_peak(samples.customers(n, ".parquet")) for n in rows)
    said = "; ".join(
        f"{n:,} rows {found['megabytes']:,.0f} MB in {found['seconds']:,.0f} s"
        for n, found in zip(rows, (small, large), strict=True)
    )
    return [Line("peak memory, Parquet", said, large["megabytes"] / small["megabytes"], "≤ 1.2")]


def _peak(source: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.memory", str(source)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _child(source: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="churn-bench-"))
    try:
        started = time.perf_counter()
        throughput.score(samples.deployment(folder / "home"), source)
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps({"megabytes": kilobytes / 1024, "seconds": time.perf_counter() - started}))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _child(Path(sys.argv[1]))
