"""`churn-pipeline sample`: customers that nobody is, to try things with.

Belongs here: the command. Does not: making them (`churn_pipeline/sample.py`), file formats (`io_managers/exports.py`).
"""

from __future__ import annotations

from pathlib import Path

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.scoring import contract_option, deployment_of


@click.command(cls=Command)
@click.argument("destination", metavar="DEST")
@click.option("--rows", type=click.IntRange(min=1), default=1000, show_default=True, help="How many customers.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same customers.")
@click.option("--label", is_flag=True, help="Add the label, to train on.")
@click.option("--broken", type=click.IntRange(min=0), default=0, help="Let this many rows break the contract.")
@contract_option
def sample(destination: str, rows: int, seed: int, label: bool, broken: int, contract: str | None) -> Answer:
    """Write made-up customers to a file.

    The ending of DEST says the format: .csv, .parquet or .jsonl.
    """
    from churn_pipeline.cli import report
    from churn_pipeline.io_managers.exports import export_file, format_of
    from churn_pipeline.sample import sample

    if broken > rows:
        raise click.BadParameter(f"{broken:,} of {rows:,} rows cannot be broken.", param_hint="--broken")
    path = Path(destination).expanduser()
    format_of(path)
    table = sample(deployment_of(contract=contract).contract(), rows, seed=seed, label=label, broken=broken)
    export_file(path, table.to_batches(), table.schema)
    return Answer([f"{path}: {report.count(rows, 'customer')}, {report.count(len(table.column_names), 'column')}."])
