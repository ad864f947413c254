"""`churn-pipeline contract`: a contract file checked, held against data, or told as a JSON Schema.

Belongs here: the commands. Does not: contracts (`contract/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from churn_pipeline.cli.command import Answer, Commands
from churn_pipeline.cli.scoring import deployment_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from churn_pipeline.contract.definition import Contract


@click.group(cls=Commands)
def contract() -> None:
    """What a customer record must look like."""


@contract.command()
@click.argument("file")
@click.option(
    "--data",
    metavar="SOURCE",
    help="Customers to hold against it: a file, folder or glob, or what is new in kafka:TOPIC.",
)
def check(file: str, data: str | None) -> Answer:
    """Check the contract in FILE (or one that ships, by its name), and data against it."""
    from churn_pipeline.cli import report

    deployment = deployment_of(contract=file)
    found = deployment.contract()
    more: dict[str, str | None] = {}
    if data is not None:
        from churn_pipeline.cli.progress_bar import progress_bar
        from churn_pipeline.cli.rehearsal import rehearse

        batch, settings = deployment.open_source(data).plan(), deployment.settings
        with progress_bar("Reading") as progress:
            tally = rehearse(deployment, batch, settings.limit(), settings.duplicates, progress).tally
        kept = f"{tally.customers:,} of {report.count(tally.read, 'row')} keep it, {tally.rejected:,} do not"
        reasons = tally.commonest() if tally.rejected else None
        more = {"Data": f"{data}: {kept}", "Reasons": reasons, "Cleaned": report.cleaned(tally.cleaned)}
    return Answer([report.heading(f"The contract {found.name} is sound."), "", _summary(found, more)])


@contract.command("json-schema")
@click.argument("name_or_file", required=False)
def json_schema(name_or_file: str | None) -> Answer:
    """Print the JSON Schema of one customer record, for NAME_OR_FILE or the contract of the settings."""
    import json

    from churn_pipeline.contract.json_schema import json_schema

    schema = json_schema(deployment_of(contract=name_or_file).contract())
    return Answer([json.dumps(schema, ensure_ascii=False, indent=2)])


def _summary(found: Contract, more: Mapping[str, str | None]) -> RenderableType:
    from churn_pipeline.cli import report

    kinds = [feature.type for feature in found.features.values()]
    each = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return report.facts(
        {
            "About": found.description,
            "Id": found.id.column,
            "Label": found.label.column if found.label else "none: it can score, not train",
            "Event time": found.event_time.column if found.event_time else "none: the file's own time stands for it",
            "At risk": found.amount_at_risk.feature if found.amount_at_risk else "none",
            "Features": f"{len(kinds)} ({each})",
            **more,
        }
    )
