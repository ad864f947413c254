"""The one table.

Belongs here: lines, how a target is judged, the environment they were measured in. Does not: measuring.
"""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

_PACKAGES = ("dagster", "mlflow", "scikit-learn", "pandas", "pandera", "pyarrow", "numpy", "deltalake")


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
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return f"Python {platform.python_version()}, {packages}; {cores} cores, load {load:.1f} at the start."


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


def _value(line: Line) -> str:
    if line.value is None:
        return ""
    return f"{line.value:,.0f} {line.unit}" if line.unit else f"{line.value:.2f} ×"
