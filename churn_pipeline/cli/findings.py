"""What `doctor` found of one thing.

Belongs here: a finding, and how an error becomes one. Does not: looking (`examination*.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from churn_pipeline.errors import ChurnPipelineError

Status = Literal["ok", "look", "fault"]


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        status: `look` is no fault for scoring, and someone should look at it.
        fix: what to do about it; empty if nothing is to be done.
    """

    subject: str
    status: Status
    found: str
    fix: str = ""


def found_by(subject: str, look: Callable[[], Finding], before: Iterable[Finding] = ()) -> Finding:
    """What a look finds, or the fault that keeps it from looking; one that another look met is not told again."""
    try:
        return look()
    except ChurnPipelineError as error:
        message = str(error)
    same = next((finding.subject for finding in before if finding.fix == message), None)
    return Finding(subject, "fault", f"The same as {same}.") if same else Finding(subject, "fault", "", message)


def span(seconds: float) -> str:
    """`7 days`, `36 hours`, `5 minutes`, `12 seconds`: in the largest unit of which there are two or more."""
    units = {"day": 86_400, "hour": 3_600, "minute": 60}
    unit, size = next(((name, size) for name, size in units.items() if seconds >= 2 * size), ("second", 1))
    return f"{seconds / size:,.0f} {unit}{'' if round(seconds / size) == 1 else 's'}"
