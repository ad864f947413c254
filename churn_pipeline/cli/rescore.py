"""`churn-pipeline rescore`: records that were scored before, scored again by another model version.

Belongs here: the command, and what it says. Does not: the run (`runs.py`), which messages it takes
(`io_managers/topic_batches.py`).
"""

from __future__ import annotations

import json
from typing import Any

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.score import as_json
from churn_pipeline.cli.scoring import Moment, contract_option, deployment_of, require_home


class Bounds(click.ParamType[dict[int, tuple[int, int]]]):
    """Ranges of offsets as the ledger writes them."""

    name = "json"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[int, tuple[int, int]]:
        """Read `{"0": [100, 250]}`: partition, first offset, and the one after the last."""
        try:
            return {int(partition): (int(start), int(end)) for partition, (start, end) in json.loads(value).items()}
        except (ValueError, TypeError, AttributeError):
            self.fail(
                f'{value!r} names no offsets. Write partitions with bounds, such as {{"0": [100, 250]}}.', param, ctx
            )


@click.command(cls=Command, json=True)
@click.argument("what", metavar="BATCH|kafka:TOPIC")
@contract_option
@click.option("--model", metavar="ALIAS|VERSION", help="Which version scores; by default CHURN_MODEL_ALIAS.")
@click.option("--offsets", type=Bounds(), metavar="JSON", help='Messages of a topic: {"0": [100, 250]}.')
@click.option("--since", type=Moment(), metavar="TIME", help="Messages of a topic from this time on.")
@click.option("--until", type=Moment(), metavar="TIME", help="Messages of a topic up to this time.")
@click.option("--update-current", is_flag=True, help="Let the new scores replace current ones.")
def rescore(what: str, contract: str | None, update_current: bool, **asked: Any) -> Answer:
    """Score records again, by another model version.

    BATCH is the id of a batch that is done; kafka:TOPIC takes messages by offsets or time. The rows stand in the
    tables beside the earlier ones, under a batch id of their own. Current scores stay as they are unless you say
    otherwise; nothing is published, and nobody is alerted.
    """
    ranged = [name for name in ("offsets", "since", "until") if asked[name] is not None]
    if ranged and not what.startswith("kafka:"):
        raise click.UsageError(f"--{ranged[0]} is for messages of a topic. Write kafka:TOPIC in place of {what}.")
    if asked["offsets"] is not None and len(ranged) > 1:
        raise click.UsageError("--offsets says which messages; leave --since and --until out.")

    from dataclasses import replace

    from churn_pipeline import runs
    from churn_pipeline.cli import report
    from churn_pipeline.cli.progress_bar import progress_bar
    from churn_pipeline.resources.run_history import local_instance

    deployment = deployment_of(contract=contract)
    require_home(deployment)
    request = runs.plan_again(deployment, what, asked["model"], asked["offsets"], asked["since"], asked["until"])
    request = replace(request, update_current=update_current)
    with progress_bar("Starting") as progress, local_instance(deployment.settings.folder) as instance:
        outcome = runs.score(deployment, request, instance, progress=progress)
    more = {
        "Tables": report.stored(outcome.tables),
        "Current": "replaced where these scores are newer" if update_current else "as they were",
    }
    done = report.scored(outcome.row, report.unit_of(deployment.contract()), more)
    title = f"Scored again: {outcome.row.batch.id} by version {outcome.row.model_version}"
    return Answer([report.heading(title), "", done], {**as_json(outcome), "again": outcome.row.batch.again})
