"""What a start costs: importing the definitions, and the command line's first answer.

Belongs here: timing fresh processes, in turns, so that a busy moment hits both sides.
"""

import compileall
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Line

_ROUNDS = 7


def imports() -> list[Line]:
    """Importing the definitions against importing Dagster itself."""
    base, ours = _in_turns(
        [sys.executable, "-c", "import dagster"], [sys.executable, "-c", "import churn_pipeline.definitions"]
    )
    said = f"churn_pipeline.definitions {1000 * ours:,.0f} ms, dagster {1000 * base:,.0f} ms"
    return [Line("import", said, ours / base, "≤ 1.3")]


def first_answer() -> list[Line]:
    """`churn-pipeline --help`, and what of it is Python itself."""
    command = str(Path(sys.executable).with_name("churn-pipeline"))
    base, ours = _in_turns([sys.executable, "-c", "pass"], [command, "--help"])
    said = f"of it {1000 * base:,.0f} ms are Python's own start"
    return [Line("churn-pipeline --help", said, 1000 * ours, "≤ 300 ms", "ms")]


def _in_turns(*commands: list[str]) -> list[float]:
    """Median seconds of each command, bytecode compiled."""
    compileall.compile_dir(str(Path(__file__).parents[1] / "churn_pipeline"), quiet=2)
    taken: list[list[float]] = [[] for _ in commands]
    for number in range(_ROUNDS + 1):
        for command, seconds in zip(commands, taken, strict=True):
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if number:  # the first only warms the disk cache
                seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds) for seconds in taken]
