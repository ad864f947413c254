"""`python -m benchmarks`: measure, print one table; exit 1 if a target is missed."""

import argparse
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator

from benchmarks import report

#: Part → module and function that measures it, in the order of the table; the last is only measured when asked for.
_PARTS = {
    "kernel": "kernel.measure",
    "foreign": "foreign.measure",
    "reasons": "reasons.measure",
    "floor": "tables.measure",
    "throughput": "throughput.measure",
    "topics": "topics.measure",
    "spark": "spark.measure",
    "memory": "memory.measure",
    "load": "loads.measure",
    "single": "single.measure",
    "imports": "starts.imports",
    "help": "starts.first_answer",
    "memory50": "memory.measure_50",
}
_BY_ROWS = ("kernel", "foreign", "reasons", "floor", "throughput", "topics", "spark")


def main() -> int:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios measured within one run.")
    usual = ",".join(part for part in _PARTS if part != "memory50")
    parser.add_argument("--only", default=usual, help=f"parts, of {', '.join(_PARTS)}; all but the last")
    parser.add_argument("--rows", type=int, help=f"rows of {', '.join(_BY_ROWS)}, in place of each one's own number")
    parser.add_argument("--newest-pandas", action="store_true", help="floor: the script with the newest pandas too")
    options = parser.parse_args()
    wanted = [part.strip() for part in options.only.split(",")]
    if unknown := [part for part in wanted if part not in _PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(_PARTS)}")
    print(report.environment(), flush=True)
    lines = [line for part in _PARTS if part in wanted for line in _measured(part, options)]
    print(report.table(lines))
    return 0 if all(line.holds for line in lines) else 1


def _measured(part: str, options: argparse.Namespace) -> Iterator[report.Line]:
    """The part's lines, each also said as it comes: what was measured so far outlives an interruption."""
    print(f"… {part}", file=sys.stderr, flush=True)
    module, function = _PARTS[part].split(".")
    # What a part does not need is not imported for it: that takes seconds, and has side effects on threads.
    measure: Callable[..., Iterable[report.Line]] = getattr(importlib.import_module(f"benchmarks.{module}"), function)
    if part == "floor":
        found = measure(options.rows, with_newest_pandas=options.newest_pandas)
    else:
        found = measure(options.rows) if part in _BY_ROWS else measure()
    for line in found:
        print(f"  {' '.join(report.table([line]).splitlines()[-1].split())}", file=sys.stderr, flush=True)
        yield line


if __name__ == "__main__":
    sys.exit(main())
