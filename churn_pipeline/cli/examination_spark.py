"""What `doctor` looks at in Spark, if it may be asked to score: installed, started, answering.

Belongs here: looking without opening a session, which takes many seconds. Does not: what a session needs
(`spark/sessions.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from importlib.metadata import version

from churn_pipeline.cli.findings import Finding, found_by
from churn_pipeline.deployments import Deployment
from churn_pipeline.errors import SparkCannotScore
from churn_pipeline.spark.sessions import check_startable


def spark_findings(deployment: Deployment, before: Iterable[Finding]) -> list[Finding]:
    """Look at Spark, unless scikit-learn scores whatever comes."""
    if deployment.settings.backend == "sklearn":
        return []
    return [found_by("spark", partial(_spark, deployment), before)]


def _spark(deployment: Deployment) -> Finding:
    settings = deployment.settings
    spark, rows = settings.spark(), settings.rows_for_spark()
    if settings.backend == "auto" and rows is None:
        fix = "Set CHURN_SPARK_ROWS to a number of customers, or CHURN_BACKEND=sklearn."
        return Finding("spark", "look", "Backend auto never takes Spark: nothing says from how many customers on.", fix)
    try:
        check_startable(spark)
    except SparkCannotScore as error:
        if not deployment.inference().may_fall_back:
            raise
        return Finding("spark", "look", "scikit-learn will stand in for it.", str(error))
    place = "answers" if "://" in spark.where and not spark.where.startswith("k8s") else "was not asked"
    when = f" It scores from {rows:,} customers on." if settings.backend == "auto" else ""
    return Finding("spark", "ok", f"PySpark {version('pyspark')}; {spark.where} {place}. No session was opened.{when}")
