"""The command line, `churn-pipeline`: one module a command.

Belongs here: arguments, words and tables for people, JSON for programs, exit codes. Does not: doing the work
(`runs.py`, `inference_job/`), which errors there are (`errors.py` and beside the code that raises them).

Every module imports only Click and this package's own light ones at its head, so that `--help` answers at once.
"""

from churn_pipeline.cli.app import main

__all__ = ["main"]
