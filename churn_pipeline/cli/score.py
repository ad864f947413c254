"""`churn-pipeline score`: customers in, predictions out.

Belongs here: the command. Does not: the run (`runs.py`), the arguments it shares with `plan` (`scoring.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.scoring import Asked, asked, require_home, scoring_arguments

if TYPE_CHECKING:
    from churn_pipeline.runs import Outcome


@click.command(cls=Command, json=True)
@scoring_arguments
def score(**arguments: Any) -> Answer:
    """Score the customers in SOURCE.

    SOURCE is a file, folder or glob of CSV, Parquet or JSON Lines, or kafka:TOPIC for what is new there. Rows that
    break the contract are kept in rejected_customers; scoring the same files again replaces what the first time wrote.
    """
    from churn_pipeline.cli import report
    from churn_pipeline.cli.progress_bar import progress_bar

    with progress_bar("Starting") as progress:
        # Importing Dagster takes seconds, in which a person should see that something happens.
        from churn_pipeline import runs
        from churn_pipeline.resources.run_history import local_instance

        what = asked(**arguments)
        require_home(what.deployment)
        with local_instance(what.deployment.settings.folder) as instance:
            outcome = runs.score(what.deployment, what.request, instance, progress=progress)
        rows = _export(what, outcome)
    file = None if what.output.file is None else str(what.output.file)
    more = {
        "Tables": report.stored(outcome.tables),
        "File": file and f"{file} ({report.count(rows, 'row')})",
        "Alert": "sent" if outcome.alert_sent else "sent before, not again",
    }
    done = report.scored(outcome.row, report.unit_of(what.deployment.contract()), more)
    return Answer([report.heading(outcome.alert.title), "", done], {**as_json(outcome), "output": file})


def as_json(outcome: Outcome) -> dict[str, Any]:
    """What programs are told of a finished batch."""
    row = outcome.row
    return {
        "batch_id": row.batch.id,
        "rows_read": row.rows_read,
        "rows_scored": row.rows_scored,
        "rows_rejected": row.rows_rejected,
        "rows_unscored": row.rows_unscored,
        "rows_duplicate": row.rows_duplicate,
        "cells_cleaned": row.cells_cleaned,
        "output_shape": list(row.output_shape),
        "model_name": row.model_name,
        "model_version": row.model_version,
        "threshold": row.threshold,
        "backend": row.backend,
        "kernel_tier": row.kernel_tier,
        "fallback": row.kernel_proof.get("fallback"),
        "reasons": row.kernel_proof.get("reasons"),
        "share_churn": row.share_churn,
        "revenue_at_risk": row.revenue_at_risk,
        "seconds": row.seconds,
        "run_id": row.run_id,
        "alert_sent": outcome.alert_sent,
        "tables": outcome.tables,
    }


def _export(what: Asked, outcome: Outcome) -> int:
    """Write the batch's predictions to the file that was asked for, and count them."""
    if what.output.file is None:
        return 0
    from churn_pipeline.assets.prediction_rows import predictions_schema, stream_predictions
    from churn_pipeline.io_managers.exports import export_file
    from churn_pipeline.io_managers.scored_batches import Ledger

    contract = what.deployment.contract()
    handle = Ledger(what.deployment.table_store()).open("churn_predictions", outcome.row)
    rows = stream_predictions(handle, contract) if handle else []
    return export_file(what.output.file, rows, predictions_schema(contract))
