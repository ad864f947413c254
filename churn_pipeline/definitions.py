"""The code location: what Dagster loads.

Belongs here: putting the pieces together. Does not: any piece.
"""

# ruff: noqa: E402
import gc
from typing import Any

import dagster as dg

# Dagster's half a million objects are there to stay. Looking through all of them for garbage again and again would be
# a third of what importing the rest costs.
gc.freeze()

from churn_pipeline import deployments, jobs, schedules
from churn_pipeline.deployments import Deployment
from churn_pipeline.resources.run_processes import spare_memory
from churn_pipeline.sensors.batch_alerts import batch_alerts
from churn_pipeline.sensors.customer_batches import customer_batches
from churn_pipeline.sensors.sensor_alerts import sensor_alerts


def build_defs(deployment: Deployment, **overrides: Any) -> dg.Definitions:
    """Definitions of a deployment.

    Args:
        overrides: role → resource, in place of the deployment's, so that tests get a real code location.
    """
    return jobs.code_location(
        {**deployment.resources(), **overrides},
        schedules=[schedules.score_daily, schedules.maintain_daily],
        sensors=[batch_alerts, customer_batches, sensor_alerts],
    )


spare_memory()
defs = build_defs(deployments.local())
