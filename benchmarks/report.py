"""The one table.

Belongs here: lines, how a target is judged, the environment they were measured in. Does not: measuring.
"""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "scikit-learn",
    "numpy",
    "numba",
    "pyarrow",
    "pandas",
    "pandera",
    "polars",
    "deltalake",
    "dagster",
    "mlflow",
    "pyspark",
)


@dataclass(frozen=True)
class Line:
    """One measurement.

    Attributes:
        said: in absolute numbers, which only this machine gives.
        value: what the target is held against; None for a breakdown.
        target: `≥ 3` or `≤ 1.2`.
        unit: of the value; empty for a ratio.
    """

    name: str
    said: str
    value: float | None = None
    target: str = ""
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the value keeps its target."""
        if self.value is None or not self.target:
            return True
        sign, limit = self.target.split()[:2]
        return self.value >= float(limit) if sign == "≥" else self.value <= float(limit)


def environment() -> str:
    """Versions and cores: absolute numbers mean nothing without them."""
    packages = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return f"Python {platform.python_version()}, {packages}; {cores} cores, load {load:.1f} at the start."


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # numba is optional
        return "not installed"


def table(lines: Sequence[Line]) -> str:
    """Lines as aligned text."""
    rows = [
        (line.name, _value(line), line.target, "" if not line.target else "yes" if line.holds else "NO", line.said)
        for line in lines
    ]
    rows = [("what", "value", "target", "kept", "measured"), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[4]]).rstrip()
        for row in rows
    )


def breakdown(rounds: Sequence[Mapping[str, float]]) -> str:
    """Median seconds a stage; what takes no time is left out."""
    names = dict.fromkeys(name for taken in rounds for name in taken)
    medians = {name: statistics.median(taken.get(name, 0.0) for taken in rounds) for name in names}
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in medians.items() if seconds >= 0.005)


def _value(line: Line) -> str:
    if line.value is None:
        return ""
    number = f"{line.value:,.0f}" if line.value >= 100 else f"{line.value:.3g}"
    return f"{number} {line.unit or '×'}"
