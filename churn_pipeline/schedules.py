"""When jobs run by themselves: nothing does until somebody turns it on.

Belongs here: schedules. Does not: sensors (`sensors/`).
"""

import dagster as dg

from churn_pipeline.jobs import maintain_tables, score_customers

score_daily = dg.ScheduleDefinition(
    name="score_daily",
    job=score_customers,
    cron_schedule="0 5 * * *",
    description="Score the configured source every morning at five, UTC, before the retention team starts.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)

maintain_daily = dg.ScheduleDefinition(
    name="maintain_daily",
    job=maintain_tables,
    cron_schedule="0 3 * * *",
    description="Upkeep of the tables, every day at three, UTC.",
    default_status=dg.DefaultScheduleStatus.STOPPED,
)
