"""`customer_batches`: messages of the customer topic become batches, in order, one at a time.

Belongs here: when to ask for a run, and what the UI shows of the topic. Does not: which offsets come next
(`offset_planning.py`), what was planned (`io_managers/topic_batches.py`), reading messages (the run).
"""

from collections.abc import Mapping, Sequence

import dagster as dg
from dagster import DagsterRun, DagsterRunStatus, RunsFilter

from churn_pipeline.batches import OffsetBatch
from churn_pipeline.io_managers.topic_batches import CustomerTopic, TopicState
from churn_pipeline.jobs import score_customers
from churn_pipeline.resources.run_processes import BATCH_TAG, lost_runs
from churn_pipeline.sensors.batch_alerts import AGAIN_TAG
from churn_pipeline.sensors.topic_news import mark_of, news_of

#: What a tick says of a batch that is asked for no more, among other words.
WAITS = "waits for a person"

#: States of a run that may still finish its batch.
_GOING = frozenset(
    {
        DagsterRunStatus.QUEUED,
        DagsterRunStatus.NOT_STARTED,
        DagsterRunStatus.MANAGED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.CANCELING,
    }
)


@dg.sensor(
    job=score_customers,
    minimum_interval_seconds=10,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Score the messages of the customer topic as they come: one batch at a time, in order, none left out.",
)
def customer_batches(
    context: dg.SensorEvaluationContext, customer_topic: dg.ResourceParam[CustomerTopic]
) -> dg.SensorResult | dg.SkipReason:
    """Ask for the next batch of the customer topic, or for an unfinished one again; red while no broker answers."""
    batches = customer_topic.batches
    if batches is None:
        return dg.SkipReason("No topic is named. Set CHURN_KAFKA_TOPIC and KAFKA_BOOTSTRAP_SERVERS to score one.")
    # Those of batches that are done too: one can die at its very end, or be overtaken by another daemon's.
    _end_lost_runs(context.instance, {"dagster/sensor_name": customer_batches.name})
    state = batches.look()
    batch = batches.give_out(state)
    runs = _runs_of(context.instance, batch) if batch else []
    asked = request(batch, runs, state, customer_topic.attempts)
    cursor = mark_of(state)
    return dg.SensorResult(
        run_requests=[] if isinstance(asked, str) else [asked],
        skip_reason=asked if isinstance(asked, str) else None,
        # A history of what never changes would only hide what does.
        asset_events=news_of(batches.topic.name, state) if cursor != context.cursor else [],
        cursor=cursor,
    )


def _runs_of(instance: dg.DagsterInstance, batch: OffsetBatch) -> Sequence[DagsterRun]:
    """Every run of a batch, the newest first."""
    tags = {BATCH_TAG: batch.id}
    _end_lost_runs(instance, tags)
    return instance.get_runs(RunsFilter(tags=tags))


def _end_lost_runs(instance: dg.DagsterInstance, tags: Mapping[str, str]) -> None:
    """Runs whose process is gone have failed."""
    for run in lost_runs(instance, tags):
        instance.report_run_failed(run, "The process of this run ended before the run did.")


def request(
    batch: OffsetBatch | None, runs: Sequence[DagsterRun], state: TopicState, attempts: int
) -> dg.RunRequest | str:
    """The run to ask for, or why none is.

    Args:
        runs: of this batch, the newest first.
    """
    if batch is None:
        known = sum(state.scored.values())
        return f"Nothing new: {len(state.marks.end)} partitions are scored up to their end, {known:,} offsets in all."
    going = next((run for run in runs if run.status in _GOING), None)
    if going:
        return f"Batch {batch.id} is being scored since run {going.run_id[:8]} was asked for; {_waiting(state)}."
    if len(runs) >= attempts:
        return (
            f"Batch {batch.id} failed {len(runs)} times and {WAITS}: look at run {runs[0].run_id[:8]}, "
            f"repair the cause and re-execute it; {_waiting(state)}."
        )
    return dg.RunRequest(
        run_key=f"{batch.id}/{len(runs) + 1}",
        run_config={"ops": {"read_customers": {"config": {"batch": batch.to_json()}}}},
        tags={
            BATCH_TAG: batch.id,
            # It is this sensor that asks again, and nobody needs to be told before it gives up.
            "dagster/max_retries": "0",
            **({AGAIN_TAG: "true"} if len(runs) + 1 < attempts else {}),
        },
    )


def _waiting(state: TopicState) -> str:
    return f"{sum(state.lag.values()):,} messages wait"
