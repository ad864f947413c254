"""Silence around the work: what libraries say does not reach the person, nor the program that reads the answer.

Belongs here: the list of who is silenced, by name, and the guard of standard output. Does not: what we say ourselves.
"""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

#: Loggers and how loud they stay. By the first, Dagster prints a failed step's traceback twice (see `runs.py`).
_LOUDNESS = {
    "churn_pipeline.runs": logging.CRITICAL,
    "churn_pipeline.librdkafka": logging.CRITICAL,
    "alembic": logging.ERROR,
    "mlflow": logging.ERROR,
}

#: Libraries whose warnings are meant for whoever writes code, not for whoever scores customers.
_TALKATIVE = "alembic|coloredlogs|dagster|dagster_mlflow|dagster_shared|mlflow|pydantic|sqlalchemy"


@contextmanager
def quiet(debug: bool) -> Iterator[None]:
    """Lower the voices of known libraries; with `debug`, let everybody speak."""
    if debug:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        yield
        return
    with ExitStack() as undo, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=rf"({_TALKATIVE})(\.|$)")
        for name, level in _LOUDNESS.items():
            logger = logging.getLogger(name)
            undo.callback(logger.setLevel, logger.level)
            logger.setLevel(level)
        # What an alert says, the command says itself.
        alerts, ignore = logging.getLogger("churn_pipeline.alerts"), logging.NullHandler()
        alerts.addHandler(ignore)
        undo.callback(alerts.removeHandler, ignore)
        yield


@contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Whatever prints to standard output, a library's native code and child processes too, prints to standard error."""
    with redirect_stdout(sys.stderr) as _, ExitStack() as undo:
        if sys.__stdout__ is not None and _is_descriptor_1():
            sys.__stdout__.flush()
            kept = os.dup(1)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, 1)
            os.dup2(2, 1)
        yield


def _is_descriptor_1() -> bool:
    try:
        return sys.__stdout__ is not None and sys.__stdout__.fileno() == 1 and sys.__stderr__ is not None
    except (OSError, ValueError):
        return False
