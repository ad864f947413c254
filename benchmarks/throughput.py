"""File → predictions, and the whole job from file to current scores, against the user's script in the same process.

Belongs here: the comparison. Does not: the script (`users_script.py`), our side (`scoring.py`).
"""

import shutil
import statistics
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import samples, scoring, users_script
from benchmarks.report import Line, breakdown

TARGET = "≥ 3"
_ROWS = 500_000
_FORMATS = {".csv": "CSV", ".parquet": "Parquet"}
_ROUNDS = 3


def measure(rows: int | None) -> list[Line]:
    """Let each do the same file in turns; models are loaded and every library warm before the clock starts."""
    rows = rows or _ROWS
    folder = Path(tempfile.mkdtemp(prefix="churn-bench-"))
    try:
        deployment = samples.deployment(folder / "home")
        target = folder / "script.parquet"
        script = users_script.of(deployment.contract(), *samples.registered(deployment), target).score
        ours, whole = partial(scoring.tables_only, deployment), partial(scoring.whole_job, deployment)
        lines: list[Line] = []
        for suffix in (".csv", ".parquet"):
            for warm_up in (script, ours, whole):
                warm_up(samples.customers(1_000, suffix))
            source = samples.customers(rows, suffix)
            rounds = [tuple(scoring.timed(work, source) for work in (script, ours, whole)) for _ in range(_ROUNDS)]
            scoring.same_answers(deployment, target)
            lines += _lines(suffix, rows, rounds)
        return lines
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _lines(suffix: str, rows: int, rounds: list[tuple[dict[str, float], ...]]) -> list[Line]:
    script, ours, job = ([taken["whole"] for taken in column] for column in zip(*rounds, strict=True))
    many = f"{rows:,} rows of {_FORMATS[suffix]}"
    return [
        # The same work as the script's: validated customers and their predictions are written; the ledger besides.
        Line(f"file → predictions ÷ script, {many}", *_ratio(rows, script, ours), TARGET),
        Line(f"whole job, checks and current scores too ÷ script, {many}", *_ratio(rows, script, job)),
        Line("  seconds, script", breakdown([taken[0] for taken in rounds])),
        Line("  seconds, file → predictions", breakdown([taken[1] for taken in rounds])),
        Line("  seconds, whole job", breakdown([taken[2] for taken in rounds])),
    ]


def _ratio(rows: int, script: list[float], ours: list[float]) -> tuple[str, float]:
    ratio = statistics.median(theirs / own for theirs, own in zip(script, ours, strict=True))
    said = f"{rows / statistics.median(ours):,.0f} rows/s against {rows / statistics.median(script):,.0f}"
    return said, ratio
