import sys

import pytest
from dagster._utils.error import serializable_error_info_from_exc_info

from churn_pipeline.errors import SourceError
from churn_pipeline.sensors.causes import cause_in_words


def raised(*errors):
    """What Dagster keeps of the last of the errors, each raised from the one before."""
    cause = None
    for error in errors:
        error.__cause__ = cause
        cause = error
    try:
        raise errors[-1]
    except type(errors[-1]):
        return serializable_error_info_from_exc_info(sys.exc_info())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (raised(SourceError("No file: a.csv. Add it.")), "No file: a.csv. Add it."),
        (raised(SourceError("Add it."), RuntimeError("wrapped")), "Add it."),
        (raised(OSError("Smith"), SourceError("No file. Add it.")), "No file. Add it."),
        (raised(SourceError("First."), SourceError("Nearest.")), "Nearest."),
        (raised(ValueError("Smith"), RuntimeError("Smith")), "ValueError. Look at the log."),
        (None, "unknown error. Look at the log."),
    ],
)
def test_our_nearest_words_are_repeated_and_of_foreign_errors_the_name_of_the_first(error, words):
    assert cause_in_words(error, "the log") == words
