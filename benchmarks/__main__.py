"""`python -m benchmarks`: measure, print one table; exit 1 if a target is missed."""

import argparse
import sys

from benchmarks import report

PARTS = ("throughput", "memory", "imports", "help")


def main() -> int:
    """Parse the options and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios measured within one run.")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--rows", type=int, default=500_000, help="rows of the throughput part")
    options = parser.parse_args()
    wanted = [part.strip() for part in options.only.split(",")]
    if unknown := [part for part in wanted if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    print(report.environment(), flush=True)
    lines = [line for part in PARTS if part in wanted for line in _measured(part, options.rows)]
    print(report.table(lines))
    return 0 if all(line.holds for line in lines) else 1


def _measured(part: str, rows: int) -> list[report.Line]:
    from benchmarks import memory, starts, throughput

    print(f"… {part}", file=sys.stderr, flush=True)
    if part == "throughput":
        return throughput.measure(rows)
    if part == "memory":
        return memory.measure()
    return starts.imports() if part == "imports" else starts.first_answer()


if __name__ == "__main__":
    sys.exit(main())
