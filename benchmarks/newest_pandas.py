"""The user's script once more, where pandas is the newest: what its user would install, not what we must.

Belongs here: a throw-away environment with the same scikit-learn, and the script in it. Does not: the script itself.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks import users_script
from benchmarks.report import Line
from benchmarks.threads import best_threads, limited_to

_ROUNDS = 3
_NEWEST = ("pandas", "pyarrow", "pandera")
_SAME = ("scikit-learn", "numpy")  # the pipelines are pickled
_FOR_THE_CONTRACT = ("pydantic", "pyyaml")
_REPOSITORY = Path(__file__).parents[1]


def lines(source: Path, rows: int, ours: Mapping[str, float], folder: Path) -> list[Line]:
    """The script's lines, held against our rows a second of the same run.

    Args:
        source: a Parquet file of that many rows.
        ours: estimator → rows a second.
        folder: where the environment is made.
    """
    python = _environment(folder / "newest")
    versions = _said_by(python, ["-c", _VERSIONS])
    models = _pickled(list(ours), folder)
    taken = _said_by(python, ["-m", "benchmarks.newest_pandas", str(source), str(folder), *map(str, models)])
    words = ", ".join(f"{name} {number}" for name, number in versions.items())
    found = []
    for estimator, seconds in zip(ours, taken.values(), strict=True):
        theirs = rows / seconds
        said = f"{ours[estimator]:,.0f} rows/s against {theirs:,.0f}; {words}"
        target = "" if estimator == "random_forest" else "≥ 12"
        found.append(
            Line(f"tables ÷ script with the newest pandas, {estimator}", said, ours[estimator] / theirs, target)
        )
    return found


_VERSIONS = f"""
import json
from importlib.metadata import version
print(json.dumps({{name: version(name) for name in {_NEWEST!r}}}))
"""


def _environment(folder: Path) -> Path:
    uv, python = Path(sys.executable).with_name("uv"), folder / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
    pinned = [f"{name}=={version(name)}" for name in _SAME]
    wanted = [*_NEWEST, *pinned, *_FOR_THE_CONTRACT]
    subprocess.run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *wanted], check=True)
    return python


def _pickled(estimators: list[str], folder: Path) -> list[Path]:
    import joblib

    from benchmarks import samples

    paths = []
    for estimator in estimators:
        paths.append(folder / f"{estimator}.joblib")
        joblib.dump(samples.registered(samples.deployment(folder / "home", estimator)), paths[-1])
    return paths


def _said_by(python: Path, arguments: list[str]) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [python, *arguments], check=True, stdout=subprocess.PIPE, text=True, env=environment, cwd=_REPOSITORY
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _child(source: Path, folder: Path, models: list[str]) -> None:
    """Runs in the other environment: median seconds of the script with each model."""
    import joblib

    from churn_pipeline.contract.definition import Contract

    seconds = {}
    for model in models:
        registered, pipeline = joblib.load(model)
        script = users_script.of(Contract.load("telco"), registered, pipeline, folder / "newest.parquet")
        with limited_to(best_threads(partial(script.score, source))):
            seconds[model] = statistics.median(sum(script.score(source).values()) for _ in range(_ROUNDS))
    print(json.dumps(seconds))


if __name__ == "__main__":
    _child(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
