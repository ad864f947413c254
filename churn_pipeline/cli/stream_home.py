"""The folder of `demo-stream`, emptied for each new one.

A new broker begins its topics anew, so tables that an older one filled would say that messages were lost. What is
removed is only what a demonstration has made: its folder is marked.

Belongs here: the mark, and what is removed. Does not: what is put there (`demo_stream.py`).
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

_MARK = "demo-stream.lock"
_SENTENCE = "churn-pipeline demo-stream removes what is in this folder when it starts, but for the model in mlflow/.\n"
_KEPT = frozenset({_MARK, "mlflow"})


@contextmanager
def stream_home(given: Path | None) -> Iterator[Path]:
    """The folder, empty but for a model, and nobody else's while the block runs.

    Raises:
        click.UsageError: something else is in it, or another demonstration runs there.
        PlaceNotWritable
    """
    from churn_pipeline.cli.output import require_writable
    from churn_pipeline.deployments import Settings

    folder = (given or Settings.from_environment().folder / "stream").expanduser().absolute()
    require_writable(folder, folder=True)
    mark = folder / _MARK
    if folder.exists() and not mark.exists() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} has something in it that demo-stream has not made. Name another --home.")
    folder.mkdir(parents=True, exist_ok=True)
    with mark.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise click.UsageError(f"Another demo-stream runs in {folder}. End it, or name another --home.") from None
        held.truncate(0)
        held.write(_SENTENCE)
        held.flush()
        for item in folder.iterdir():
            if item.name not in _KEPT:
                shutil.rmtree(item) if item.is_dir() else item.unlink()
        yield folder
