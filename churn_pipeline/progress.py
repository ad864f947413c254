"""Saying how far long work has come.

Belongs here: the port and the silent default. Does not: drawing a bar (`cli/`).
"""


class Progress:
    """Told how many rows a stage has done; says nothing."""

    def advance(self, stage: str, rows: int) -> None:
        """`rows` more rows of `stage` (`read`, `score`) are done."""
