"""Where this deployment's Spark is, and when it scores.

Belongs here: names of environment variables and defaults, and the plain values made of them. Does not: the session
(`spark/sessions.py`), the choice (`resources/inference/choice.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from churn_pipeline.deployments.fields import SECRET, setting, whole_number
from churn_pipeline.spark.sessions import FALLBACKS, SparkSettings


@dataclass(frozen=True)
class ClusterSettings:
    """Settings of Spark; none is needed by those who score in one process."""

    spark_master: str = setting("CHURN_SPARK_MASTER", "local[*]", "Master of Spark, such as spark://host:7077.")
    spark_remote: str = setting(
        "CHURN_SPARK_REMOTE", "", "Spark Connect server in place of a master: sc://host:15002.", kind=SECRET
    )
    spark_conf: str = setting(
        "CHURN_SPARK_CONF", "", "Any settings of Spark: spark.executor.memory=4g and so on.", kind=SECRET
    )
    spark_fallback: str = setting(
        "CHURN_SPARK_FALLBACK", "warn", f"Whether scikit-learn may stand in for Spark: {', '.join(FALLBACKS)}."
    )
    spark_rows: str = setting(
        "CHURN_SPARK_ROWS", "", "Customers from which on backend auto takes Spark; empty: it never does."
    )

    def spark(self) -> SparkSettings:
        """Where Spark is.

        Raises:
            SparkSettingInvalid
        """
        return SparkSettings.read(self.spark_master, self.spark_remote, self.spark_conf)

    def rows_for_spark(self) -> int | None:
        """Customers from which on Spark pays; None: never.

        Raises:
            SettingInvalid
        """
        return whole_number("CHURN_SPARK_ROWS", self.spark_rows, 0) if self.spark_rows else None
