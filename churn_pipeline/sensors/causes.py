"""Why a run or a tick failed, in words that may leave the machine.

Belongs here: the rule which error's text is repeated. Does not: finding the error, sending the words.
"""

from collections.abc import Iterator

from dagster_shared.error import SerializableErrorInfo

from churn_pipeline.errors import ChurnPipelineError


def cause_in_words(error: SerializableErrorInfo | None, look_at: str) -> str:
    """The text of the nearest error of ours, else the name of the first cause, and never a customer's values.

    Args:
        look_at: where the whole of a foreign error stands, such as `the run's log`.
    """
    chain = list(_chain(error))
    ours = _our_errors() | {"DagsterAssetCheckFailedError"}
    for link in chain:
        if link.cls_name in ours:
            message = link.message.strip()
            kind, _, text = message.partition(": ")
            return text if kind.endswith(link.cls_name) else message
    # The text of a foreign error may quote a customer's values.
    name = chain[-1].cls_name if chain else None
    return f"{name or 'unknown error'}. Look at {look_at}."


def _chain(error: SerializableErrorInfo | None) -> Iterator[SerializableErrorInfo]:
    while error is not None:
        yield error
        error = error.cause


def _our_errors() -> set[str]:
    found, left = set(), [ChurnPipelineError]
    while left:
        kind = left.pop()
        found.add(kind.__name__)
        left.extend(kind.__subclasses__())
    return found
