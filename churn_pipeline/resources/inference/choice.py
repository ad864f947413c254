"""Which engine scores: a backend's name becomes an engine, and the reason why it is this one.

Belongs here: the choice. Does not: engines (one file each beside this one).
"""

from dataclasses import dataclass

from churn_pipeline.errors import UsageError
from churn_pipeline.resources.inference.base import Engine
from churn_pipeline.resources.inference.local import LocalEngine
from churn_pipeline.resources.inference.plans import Plans

BACKENDS = ("sklearn", "spark", "auto")


class UnknownBackend(UsageError):
    """The backend is none of those that exist."""


@dataclass(frozen=True)
class Choice:
    """The engine that will really score, and why it is this one.

    Attributes:
        asked: the backend that was asked for.
        reason: one sentence.
    """

    engine: Engine
    asked: str
    reason: str


class Inference:
    """Chooses the engine for a run.

    Args:
        plans: how each model version is evaluated.
    """

    def __init__(self, plans: Plans) -> None:
        self._plans = plans

    def choose(self, backend: str) -> Choice:
        """Find the engine for a backend's name.

        Raises:
            UnknownBackend: no such backend.
        """
        engine = LocalEngine(self._plans)
        if backend == "sklearn":
            return Choice(engine, backend, "scikit-learn was asked for.")
        if backend == "auto":
            return Choice(engine, backend, "scikit-learn is the only engine of this release.")
        if backend == "spark":
            return Choice(engine, backend, "This release does not score with Spark; scikit-learn stands in for it.")
        raise UnknownBackend(f"Unknown backend {backend!r}. Use one of {', '.join(BACKENDS)}.")
