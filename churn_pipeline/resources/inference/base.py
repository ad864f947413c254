"""What scores a stream of customers: an engine that maps the kernel over record batches.

Belongs here: the port and the choice of a backend. Does not: the kernel (`kernel/`), a backend (one file each).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from churn_pipeline.errors import UsageError
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.resources.model_registry import ModelRegistry

BACKENDS = ("sklearn", "spark", "auto")


class UnknownBackend(UsageError):
    """The backend is none of those that exist."""


class Engine(ABC):
    """One way to run the kernel.

    Attributes:
        backend: what stands on every prediction row.
    """

    backend: str

    @abstractmethod
    def score(self, customers: Iterable[pa.RecordBatch], model: ModelVersion) -> Iterator[pa.RecordBatch]:
        """Score record batches in order; see `kernel.score.score` for what each becomes."""

    @abstractmethod
    def tier(self, model: ModelVersion) -> str:
        """Which evaluation of the kernel this engine uses for a model version."""


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
        registry: where engines load the estimator from.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry

    def choose(self, backend: str) -> Choice:
        """Find the engine for a backend's name.

        Raises:
            UnknownBackend: no such backend.
        """
        from churn_pipeline.resources.inference.local import LocalEngine

        engine = LocalEngine(self._registry)
        if backend == "sklearn":
            return Choice(engine, backend, "scikit-learn was asked for.")
        if backend == "auto":
            return Choice(engine, backend, "scikit-learn is the only engine of this release.")
        if backend == "spark":
            return Choice(engine, backend, "This release does not score with Spark; scikit-learn stands in for it.")
        raise UnknownBackend(f"Unknown backend {backend!r}. Use one of {', '.join(BACKENDS)}.")
