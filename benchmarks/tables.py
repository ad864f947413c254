"""From file to `customers`, `churn_predictions` and ledger, against the floor and against the user's script.

Belongs here: those comparisons, for the estimators that ship. Does not: the floor (`floor.py`), the script
(`users_script.py`), our side (`scoring.py`), checks and current scores (`throughput.py`).
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks import floor, newest_pandas, samples, scoring, users_script
from benchmarks.report import Line, breakdown
from benchmarks.threads import best_threads, limited_to
from churn_pipeline.training.estimators import ESTIMATORS

_ROWS = 5_000_000
_SCRIPT_ROWS = 500_000
_CSV_ROWS = 5_000_000
_TRY_ROWS = 50_000  # to see how many threads suit the script
_ROUNDS = 3
_NOT_PROMISED = ("random_forest",)  # its scoring alone takes longer than the floor

Rounds = list[dict[str, float]]


def measure(rows: int | None, *, with_newest_pandas: bool) -> Iterator[Line]:
    """Floor, ours and script in turns, each on its own number of rows; everything is warm before the clock starts."""
    rows = rows or _ROWS
    script_rows = min(rows, _SCRIPT_ROWS)
    rates: dict[str, float] = {}
    folder = Path(tempfile.mkdtemp(prefix="churn-bench-"))
    try:
        for estimator in ESTIMATORS:
            found = _rounds(estimator, folder, rows, script_rows)
            yield from _lines(estimator, rows, script_rows, *found)
            rates[estimator] = rows / _median(found[1])
        yield from _csv(folder, min(rows, _CSV_ROWS))
        if with_newest_pandas:
            yield from newest_pandas.lines(samples.customers(script_rows, ".parquet"), script_rows, rates, folder)
        else:
            yield Line("tables ÷ script with the newest pandas", "only measured with --newest-pandas")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rounds(estimator: str, folder: Path, rows: int, script_rows: int) -> tuple[Rounds, Rounds, Rounds]:
    deployment = samples.deployment(folder / "home", estimator)
    script_file, floor_file = folder / "script.parquet", folder / "floor.parquet"
    script = users_script.of(deployment.contract(), *samples.registered(deployment), script_file).score
    ours, below = partial(scoring.tables_only, deployment), partial(floor.copy_with_two_columns, target=floor_file)
    few, some, many = (samples.customers(n, ".parquet") for n in (1_000, script_rows, rows))
    for warm_up in (script, ours, below):
        warm_up(few)
    scoring.same_answers(deployment, script_file)
    number = best_threads(partial(script, samples.customers(_TRY_ROWS, ".parquet")))
    done: tuple[Rounds, Rounds, Rounds] = [], [], []
    for _ in range(_ROUNDS):
        done[0].append(scoring.timed(below, many))
        done[1].append(scoring.timed(ours, many))
        with limited_to(number):
            done[2].append(scoring.timed(script, some))
    return done


def _lines(estimator: str, rows: int, script_rows: int, below: Rounds, ours: Rounds, script: Rounds) -> list[Line]:
    promised = estimator not in _NOT_PROMISED
    mine, least = rows / _median(ours), rows / _median(below)
    theirs = script_rows / _median(script)
    pairs = list(zip(below, ours, script, strict=True))
    over_floor = statistics.median(own["whole"] / low["whole"] for low, own, _ in pairs)
    over_script = statistics.median((his["whole"] / script_rows) / (own["whole"] / rows) for _, own, his in pairs)
    return [
        Line(
            f"tables' time ÷ floor's, {rows:,} rows, {estimator}",
            f"{mine:,.0f} rows/s against {least:,.0f}",
            over_floor,
            "≤ 1.5" if promised else "",
        ),
        Line(
            f"tables ÷ script, {estimator}",
            f"{mine:,.0f} rows/s against {theirs:,.0f} (on {script_rows:,} rows)",
            over_script,
            "≥ 12" if promised else "",
        ),
        Line("  seconds, floor (two threads)", breakdown([{**taken, "rest": 0.0} for taken in below])),
        Line("  seconds, ours", breakdown(ours)),
        Line("  seconds, script", breakdown(script)),
    ]


def _csv(folder: Path, rows: int) -> list[Line]:
    """Ours on CSV, beside pyarrow's own reader."""
    deployment, source = samples.deployment(folder / "home"), samples.customers(rows, ".csv")
    scoring.tables_only(deployment, samples.customers(1_000, ".csv"))
    reader, ours = list[float](), list[dict[str, float]]()
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        assert floor.read_csv(source) == rows
        reader.append(time.perf_counter() - started)
        ours.append(scoring.timed(partial(scoring.tables_only, deployment), source))
    ratio = statistics.median(least / own["whole"] for own, least in zip(ours, reader, strict=True))
    said = f"{rows / _median(ours):,.0f} rows/s against {rows / statistics.median(reader):,.0f}"
    return [
        # Half a million rows a second where pyarrow reads 1.2 million.
        Line(f"tables ÷ pyarrow reading, {rows:,} rows of CSV", said, ratio, "≥ 0.42"),
        Line("  seconds, ours", breakdown(ours)),
    ]


def _median(rounds: Rounds) -> float:
    return statistics.median(taken["whole"] for taken in rounds)
