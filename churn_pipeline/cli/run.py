"""`churn-pipeline run`: a job from configuration files.

Belongs here: the command. Does not: jobs and their files (`inference_job/`).
"""

from __future__ import annotations

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.scoring import deployment_of


@click.command(cls=Command)
@click.argument("configurations", metavar="CONF...", nargs=-1)
@click.option(
    "-e", "--extra", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value; wins over files."
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a configuration file, and run nothing.")
def run(configurations: tuple[str, ...], overrides: tuple[str, ...], schema: bool) -> Answer:
    """Run the job that YAML files describe.

    Files are merged from left to right: mappings key by key, any other value of a later file wins.
    """
    import json

    from churn_pipeline.inference_job import job_schema, load_job

    if schema:
        return Answer([json.dumps(job_schema(), ensure_ascii=False, indent=2)])
    if not configurations:
        raise click.UsageError("Missing argument 'CONF...'. Name a file such as confs/inference.yaml, or use --schema.")
    from churn_pipeline.cli import report

    job = load_job(list(configurations), list(overrides))
    unit = report.unit_of(deployment_of(contract=getattr(job, "contract", None)).contract())
    results = job.run()
    more = {"Tables": report.stored(results["tables"]), "File": results["file"]}
    return Answer([report.heading(results["alert"].title), "", report.scored(results["ledger_row"], unit, more)])
