"""`churn-pipeline doctor`: is everything there that a run needs?

Belongs here: the command and its table. Does not: looking (`examination*.py`).
"""

from __future__ import annotations

from dataclasses import asdict

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.scoring import contract_option

_FAULT_FOUND = 9
_STYLES = {"ok": "green", "look": "yellow", "fault": "bold red"}


@click.command(cls=Command, json=True)
@contract_option
def doctor(contract: str | None) -> Answer:
    """Look whether everything a run needs is there.

    Says what to do about each fault. Writes nothing, sends nothing.
    """
    from rich.text import Text

    from churn_pipeline.cli import report
    from churn_pipeline.cli.examination import examine

    findings = examine(contract)
    faults = sum(finding.status == "fault" for finding in findings)
    lines = []
    for item in findings:
        said = Text(item.found)
        if item.fix:
            gap = "\n" if "\n" in item.found else " " if item.found else ""
            said.append(f"{gap}{item.fix}", style="" if item.status == "ok" else "bold")
        lines.append((Text(item.status, style=_STYLES[item.status]), item.subject, said))
    verdict = "Everything a run needs is there." if not faults else f"{report.count(faults, 'fault')} to repair."
    table = report.table({"Status": "left", "What": "left", "Found, and what to do": "left"}, lines)
    value = {"faults": faults, "findings": [asdict(finding) for finding in findings]}
    return Answer([table, report.heading(verdict)], value, _FAULT_FOUND if faults else 0)
