"""The families of errors a person can meet, one a cause, each with the exit code of the command line.

Belongs here: the families, and finding an error of theirs under what wraps it. Does not: the errors themselves, which
live beside the code that raises them (`contract/definition.py`, `resources/model_registry.py` …) and are all described
in docs/errors.md.

Every message says what, where, and what to do, and never holds a customer's values or a secret.
"""


class ChurnPipelineError(Exception):
    """Something this project knows how to explain; the message is meant for the person who runs it."""

    exit_code = 1


class UsageError(ChurnPipelineError, ValueError):
    """The command, a setting or a configuration file is wrong."""

    exit_code = 2


class SourceError(ChurnPipelineError):
    """Customer records cannot be found or read."""

    exit_code = 3


class ContractError(ChurnPipelineError, ValueError):
    """Customer records, or too many of them, do not keep the contract."""

    exit_code = 4


class ModelError(ChurnPipelineError):
    """The model version cannot be found, loaded or trusted."""

    exit_code = 5


class SparkCannotScore(ModelError):
    """Spark was asked for and cannot score; something else may stand in for it.

    Attributes:
        cause: one word for the ledger.
    """

    cause: str


class ScoringError(ChurnPipelineError):
    """The model is there and cannot score what it was given."""

    exit_code = 6


class TableError(ChurnPipelineError):
    """A table cannot be written or read."""

    exit_code = 7


class AlertError(ChurnPipelineError):
    """An alert could not be delivered."""

    exit_code = 8


def explanations(error: BaseException) -> list[ChurnPipelineError]:
    """The errors of ours in an error and what it came from, nearest first.

    Dagster wraps what a step raises, as cause or as `user_exception`; what failed while another error was handled has
    that one as its context.
    """
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        item = waiting.pop(0)
        if item is not None and item not in found:
            found.append(item)
            waiting += [getattr(item, "user_exception", None), item.__cause__, item.__context__]
    return [item for item in found if isinstance(item, ChurnPipelineError)]
