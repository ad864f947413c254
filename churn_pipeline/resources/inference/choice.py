"""Which engine scores, and where: a backend's name becomes both, and the reason why it is these.

Belongs here: the choice, and what stands in for Spark. Does not: the engine (`local.py`), Spark itself (`spark/`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from churn_pipeline.errors import SparkCannotScore, UsageError
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.resources.inference.local import LocalEngine
from churn_pipeline.resources.inference.plans import Plans
from churn_pipeline.spark.mapping import Workers
from churn_pipeline.spark.sessions import Fallback, SparkSettings, open_session

BACKENDS = ("sklearn", "spark", "auto")


class UnknownBackend(UsageError):
    """The backend is none of those that exist."""


@dataclass(frozen=True)
class Choice:
    """What will really score, and why it is this.

    Attributes:
        engine: runs the kernel, here or on each worker.
        asked: the backend that was asked for.
        reason: one sentence.
        workers: where it runs; None: in this process.
        fallback: for which cause Spark does not score though it was asked for; empty if that is not so.
        is_warned: whether people should notice.
    """

    engine: LocalEngine
    asked: str
    reason: str
    workers: Workers | None = None
    fallback: str = ""
    is_warned: bool = False

    @property
    def backend(self) -> str:
        """What stands on every prediction row: `sklearn` or `spark`."""
        return "sklearn" if self.workers is None else "spark"


class Inference:
    """Chooses what scores in a run.

    Args:
        plans: how each model version is evaluated.
        spark: where Spark is.
        fallback: what happens where it cannot be had.
        spark_rows: customers from which on `auto` takes Spark.
    """

    def __init__(
        self,
        plans: Plans,
        spark: SparkSettings | None = None,
        fallback: Fallback = "warn",
        spark_rows: int | None = None,
    ) -> None:
        self._plans = plans
        self._spark = spark or SparkSettings()
        self._fallback = fallback
        self._spark_rows = spark_rows

    @property
    def may_fall_back(self) -> bool:
        """Whether something may stand in for Spark."""
        return self._fallback != "forbid"

    def plan(self, model: ModelVersion) -> Plan:
        """How a version is evaluated, wherever that is."""
        return self._plans.of(model)

    def difference(self, one: ModelVersion, other: ModelVersion) -> float:
        """The largest difference of two versions' probabilities over made-up customers."""
        return self._plans.difference(one, other)

    def choose(
        self, backend: str, rows: Callable[[], int | None] = lambda: None, model: ModelVersion | None = None
    ) -> Choice:
        """Find what scores for a backend's name; opens a Spark session if that is what is asked for.

        Args:
            rows: finds out how many customers, or about as many, there are to score, None if nobody knows; is asked
                only if they decide.
            model: what scores them, as far as it is known; a Spark ML pipeline is scored by Spark whatever was asked.

        Raises:
            UnknownBackend: no such backend.
            SparkNotInstalled, SparkNotStarted: nothing may stand in for Spark.
        """
        engine = LocalEngine(self._plans)
        if model and model.flavour == "spark":
            return self._on_spark(engine, backend, f"{model} is a Spark ML pipeline, which only Spark can score")
        if model and model.stands_in_for:
            reason = f"{model} stands in for {model.stands_in_for}."
            return Choice(engine, backend, reason, None, model.stands_in_for, self._fallback == "warn")
        if backend == "sklearn":
            return Choice(engine, backend, "scikit-learn was asked for.")
        if backend == "spark":
            return self._on_spark(engine, backend, "Spark was asked for")
        if backend == "auto":
            return self._by_size(engine, rows)
        raise UnknownBackend(f"Unknown backend {backend!r}. Use one of {', '.join(BACKENDS)}.")

    def _by_size(self, engine: LocalEngine, count: Callable[[], int | None]) -> Choice:
        limit = self._spark_rows
        if limit is None:
            return Choice(engine, "auto", "CHURN_SPARK_ROWS names no number of customers from which on Spark pays.")
        rows = count()
        if rows is None or rows < limit:
            how_many = "The number of customers is not known yet" if rows is None else f"{rows:,} customers"
            return Choice(engine, "auto", f"{how_many}: Spark pays from {limit:,} on.")
        return self._on_spark(engine, "auto", f"{rows:,} customers, and Spark pays from {limit:,} on")

    def _on_spark(self, engine: LocalEngine, asked: str, why: str) -> Choice:
        try:
            session = open_session(self._spark)
        except SparkCannotScore as error:
            if not self.may_fall_back:
                raise
            reason = f"scikit-learn stands in for Spark: {error}"
            return Choice(engine, asked, reason, fallback=error.cause, is_warned=self._fallback == "warn")
        return Choice(engine, asked, f"{why}: {self._spark.where}.", Workers(session))
