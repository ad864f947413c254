"""How far long work has come, where a terminal is there to see it.

Belongs here: drawing. Does not: what is reported, and when (`progress.py` and who calls it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from churn_pipeline.progress import Progress

if TYPE_CHECKING:
    from rich import progress as bars

#: Stage → what it is called, and the stage that tells how many rows it will have.
_STAGES = {"read": ("Reading", None), "score": ("Scoring", "read")}


class _Bars(Progress):
    """One line a stage. Reading does not know how many rows there are; scoring has as many as were read by then."""

    def __init__(self, drawn: bars.Progress, first: str) -> None:
        self._drawn = drawn
        self._waiting: bars.TaskID | None = drawn.add_task(first, total=None, said="")
        self._tasks: dict[str, bars.TaskID] = {}
        self._rows: dict[str, int] = {}

    def advance(self, stage: str, rows: int) -> None:
        """Draw `rows` more; stages go on beside each other, from threads of their own."""
        title, of = _STAGES.get(stage, (stage.capitalize(), None))
        if self._waiting is not None:
            self._drawn.remove_task(self._waiting)
            self._waiting = None
        if stage not in self._tasks:
            self._tasks[stage] = self._drawn.add_task(title, total=None, said="")
        self._rows[stage] = self._rows.get(stage, 0) + rows
        total = self._rows.get(of) if of else None
        self._drawn.update(self._tasks[stage], advance=rows, total=total, said=f"{self._rows[stage]:,} rows")


@contextmanager
def progress_bar(first: str) -> Iterator[Progress]:
    """Draw on standard error while the block runs, and leave no trace; silent unless that is a terminal.

    Args:
        first: what to say until the first rows are done.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Progress()
        return
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Drawn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30, complete_style="green", finished_style="green", pulse_style="green"),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
    )
    with Drawn(*columns, console=console, transient=True) as drawn:
        yield _Bars(drawn, first)
