"""`batch_alerts`: every finished and every failed scoring run becomes one alert.

Belongs here: which runs and batches are news. Does not: words and channels (`resources/alert*.py`).

A plain sensor over the ledger and the run history, not a run-status sensor: that one moves on when its function
raises, and the alert of a channel that was down would be lost.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg
from dagster import DagsterEventType, DagsterRun, RunsFilter

from churn_pipeline.batches import OffsetBatch
from churn_pipeline.errors import AlertError
from churn_pipeline.io_managers.base import TableStore
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.io_managers.topic_plans import TopicPlans
from churn_pipeline.ledger import ScoredBatch
from churn_pipeline.resources.alert_channels import AlertNotDelivered
from churn_pipeline.resources.alerting import Alerts
from churn_pipeline.resources.run_processes import BATCH_TAG
from churn_pipeline.sensors.causes import cause_in_words

#: How far back a tick looks: an alert of a channel that is down longer than this is given up.
LOOK_BACK = timedelta(days=3)

#: How long after the fact a ledger row or a failure may show: a process can be frozen before it commits.
LATE = timedelta(hours=1)

#: Tag of a scoring run: another run of its batch follows should this one fail.
AGAIN_TAG = "churn/again"

#: Steps of a scoring run, whichever job it was started by.
_SCORING_STEPS = frozenset(
    {
        "churn_model",
        "read_customers",
        "score_customers_of_batch",
        "scored_batches",
        "current_churn_scores",
        "publish_batch",
    }
)


#: Sends one alert unless it was sent; says whether it did.
Delivery = Callable[[], bool]


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Alert once for every finished and every failed scoring run.",
)
def batch_alerts(
    context: dg.SensorEvaluationContext,
    table_store: dg.ResourceParam[TableStore],
    alerts: dg.ResourceParam[Alerts],
) -> dg.SkipReason:
    """Tell people about batches that are done and runs that failed, each once; red while a channel is down."""
    now = datetime.now(UTC)
    told = datetime.fromisoformat(context.cursor) if context.cursor else now - LOOK_BACK
    since = max(told, now - LOOK_BACK)
    sent, refused = 0, []
    # A ledger grows by thousands of batches a day where a topic is scored: only what is new is looked at.
    done, going = list[ScoredBatch](), list[ScoredBatch]()
    for row in Ledger(table_store).all(since):
        if not row.batch.again:
            (done if _is_over(context.instance, table_store, row) else going).append(row)
    completions: list[Delivery] = [partial(alerts.completed, row) for row in reversed(done)]
    for deliver in [*completions, *_failures(context, done, alerts, since)]:
        try:
            sent += deliver()
        except AlertError as error:
            refused.append(str(error))
    if refused:
        # The others went out and are remembered; a red tick is tried again.
        raise AlertNotDelivered(f"{len(refused)} alerts were not delivered. {refused[0]}")
    context.update_cursor(min([now - LATE, *(row.scored_at for row in going)]).isoformat())
    return dg.SkipReason(f"{sent} alerts sent; nothing else is news since {since:%Y-%m-%d %H:%M} UTC.")


def _is_over(instance: dg.DagsterInstance, store: TableStore, row: ScoredBatch) -> bool:
    """Whether all that follows the ledger row, current scores and publishing, is done too."""
    run = instance.get_run_by_id(row.run_id)
    if run and run.status == dg.DagsterRunStatus.SUCCESS:
        return True
    if isinstance(row.batch, OffsetBatch):
        # Its run may be in the history of another daemon, or have died at its very end.
        return TopicPlans(store, row.batch.topic).is_over(row.batch)
    return run is None


def _failures(
    context: dg.SensorEvaluationContext, done: Sequence[ScoredBatch], alerts: Alerts, since: datetime
) -> Iterator[Delivery]:
    # The last run of a batch may have died while another daemon's finished it.
    over = {row.batch.id for row in done if isinstance(row.batch, OffsetBatch)}
    failed = RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since)
    for record in context.instance.get_run_records(failed, ascending=True):
        run = record.dagster_run
        stage, cause = stage_and_cause(context.instance, run)
        if run.tags.get(BATCH_TAG) in over:
            continue
        if AGAIN_TAG not in run.tags and (run.job_name == "score_customers" or stage in _SCORING_STEPS):
            batch = run.tags.get(BATCH_TAG)
            yield partial(alerts.failed, stage, cause, batch, run.run_id)


def stage_and_cause(instance: dg.DagsterInstance, run: DagsterRun) -> tuple[str, str]:
    """The step that failed first, and why, in words that hold no customer's values."""
    for entry in instance.all_logs(run.run_id, of_type=DagsterEventType.STEP_FAILURE):
        event = entry.get_dagster_event()
        return event.step_key or "unknown step", cause_in_words(event.step_failure_data.error, "the run's log")
    return "run start", "The run's process ended before a step failed. Look at the run's log."
