"""`churn-pipeline batches`: the ledger.

Belongs here: the command. Does not: the ledger (`ledger.py`, `io_managers/scored_batches.py`).
"""

from __future__ import annotations

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.scoring import contract_option, deployment_of


@click.command(cls=Command, json=True)
@contract_option
def batches(contract: str | None) -> Answer:
    """List the batches that are done, the newest first."""
    from churn_pipeline.cli import report
    from churn_pipeline.io_managers.scored_batches import Ledger

    deployment = deployment_of(contract=contract)
    rows = Ledger(deployment.table_store()).all()
    value = [{"batch_id": row.batch.id, "output_shape": list(row.output_shape), **row.to_json()} for row in rows]
    if not rows:
        return Answer(["No batch has been scored yet. Start with: churn-pipeline score FILE"], value)
    columns = {"Batch": "left", "Scored at (UTC)": "left", "Read": "right", "Scored": "right", "Rejected": "right",
               "Churn": "right", "Model": "right"}  # fmt: skip
    lines = [
        (row.batch.id, report.moment(row.scored_at), f"{row.rows_read:,}", f"{row.rows_scored:,}",
         f"{row.rows_rejected:,}", report.share(row.share_churn), f"v{row.model_version}")
        for row in rows
    ]  # fmt: skip
    return Answer([report.table(columns, lines)], value)
