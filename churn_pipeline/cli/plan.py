"""`churn-pipeline plan`: what `score` would do, found out by reading everything and writing nothing.

Belongs here: the command. Does not: the arguments it shares with `score` (`scoring.py`), counting (`rehearsal.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.scoring import Asked, asked, scoring_arguments

if TYPE_CHECKING:
    from rich.console import RenderableType

    from churn_pipeline.batches import Batch
    from churn_pipeline.cli.rehearsal import Rehearsal
    from churn_pipeline.runs import Plan


@click.command(cls=Command, json=True)
@scoring_arguments
def plan(**arguments: Any) -> Answer:
    """Say what scoring SOURCE would do; write nothing.

    Reads and validates every row, so that its counts are those of the run, and its errors too. What a database answers
    is kept as a snapshot, which the run would read.
    """
    from churn_pipeline.cli.progress_bar import progress_bar

    with progress_bar("Starting") as progress:
        from churn_pipeline import runs
        from churn_pipeline.cli.rehearsal import rehearse

        what = asked(**arguments)
        planned = runs.plan_scoring(what.deployment, what.request)
        found = rehearse(what.deployment, planned.batch, planned.reject_limit, planned.duplicates, progress)
    return Answer(_for_people(what, planned, found), _as_json(what, planned, found))


def _for_people(what: Asked, planned: Plan, found: Rehearsal) -> list[RenderableType]:
    from churn_pipeline.cli import report

    batch, model, tally, done = planned.batch, planned.model, found.tally, planned.done
    before = (
        done and f"scored on {report.moment(done.scored_at)} UTC by version {done.model_version}; would be replaced"
    )
    wanted = len(what.deployment.contract().columns())
    present = max((len(names) for names in planned.columns.values()), default=wanted)
    return [
        report.heading(f"Planned, not done: {_written(batch)} was written."),
        "",
        report.facts(
            {
                "Batch": batch.id,
                "Before": before or "not scored yet",
                "Source": report.source_of(batch),
                "Columns": f"{wanted} of the {present} in the source are read",
                "Rows": f"{tally.read:,} to read, {tally.customers:,} to score, {tally.rejected:,} to reject",
                "Reasons": tally.commonest() if tally.rejected else None,
                "Reject limit": str(planned.reject_limit),
                "Same id": f"{report.count(found.rows_duplicate, 'row')} ({planned.duplicates})",
                "Cleaned": report.cleaned(tally.cleaned),
                "Model": f"{model}, threshold {model.threshold:.3g}",
                "Backend": f"{planned.backend}. {planned.backend_reason}",
                "Kernel": f"{planned.kernel.tier}: {planned.kernel}",
                "Explained": report.explained(planned.reasons),
                "Tables": report.stored(planned.tables),
                "File": str(what.output.file) if what.output.file else None,
            }
        ),
    ]


def _written(batch: Batch) -> str:
    from churn_pipeline.batches import SQL_SCHEME

    return "only the snapshot of what the database answered" if batch.source.startswith(SQL_SCHEME) else "nothing"


def _bounds(batch: Batch) -> dict[str, Any]:
    from churn_pipeline.batches import FileBatch

    if not isinstance(batch, FileBatch):
        return batch.to_json()
    files = [{"path": file.path, "bytes": file.size, "sha256": file.sha256} for file in batch.files]
    return {"format": batch.format, "files": files, "bytes": batch.size}


def _as_json(what: Asked, planned: Plan, found: Rehearsal) -> dict[str, Any]:
    batch, tally = planned.batch, found.tally
    return {
        "batch_id": batch.id,
        "source": batch.source,
        **_bounds(batch),
        "columns": planned.columns,
        "rows_read": tally.read,
        "rows_customers": tally.customers,
        "rows_rejected": tally.rejected,
        "rows_duplicate": found.rows_duplicate,
        "cells_cleaned": dict(tally.cleaned),
        "reject_limit": str(planned.reject_limit),
        "duplicates": planned.duplicates,
        "model_name": planned.model.name,
        "model_version": planned.model.version,
        "threshold": planned.model.threshold,
        "backend": planned.backend,
        "kernel_tier": planned.kernel.tier,
        "kernel_plan": str(planned.kernel),
        "reasons": planned.reasons,
        "scored_before": planned.done is not None,
        "tables": planned.tables,
        "output": what.output.file and str(what.output.file),
    }
