"""`churn-pipeline show`: whom to call first.

Belongs here: the command, and finding the rows with most at risk in flat memory. Does not: the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from churn_pipeline.cli.command import Answer, Command
from churn_pipeline.cli.scoring import contract_option, deployment_of

if TYPE_CHECKING:
    from rich.console import RenderableType

    from churn_pipeline.contract.definition import Contract
    from churn_pipeline.io_managers.base import TableHandle


#: As many as fit beside the rest on 80 columns.
_REASONS_SHOWN = 2


@click.command(cls=Command, json=True)
@click.option("--top", type=click.IntRange(min=1), default=10, show_default=True, help="How many.")
@contract_option
def show(top: int, contract: str | None) -> Answer:
    """Show whom to call first: most revenue at risk."""
    from churn_pipeline.cli import report

    deployment = deployment_of(contract=contract)
    found = deployment.contract()
    handle = deployment.table_store().open("current_churn_scores")
    if handle is None or not handle.rows:
        return Answer(["No customer has a score yet. Start with: churn-pipeline score FILE"], [])
    rows = most_at_risk(handle, found, top)
    title = report.heading(f"{len(rows)} of {report.count(handle.rows, 'customer')}, most at risk first")
    return Answer([title, as_table(rows, found)], report.plain(rows))


def most_at_risk(handle: TableHandle, contract: Contract, top: int) -> list[dict[str, Any]]:
    """The rows with most revenue at risk, or highest probability where the contract names no amount.

    Reads the table once and keeps `top` rows; equal ones are in the order of their ids.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    key = contract.id.column
    names = [key, *contract.passthrough, "churn_probability", "prediction", "revenue_at_risk", "event_at",
             "model_version", "batch_id"]  # fmt: skip
    # A table of an earlier release has no reasons until the next batch.
    names += [name for name in ("reasons_up", "reasons_down") if name in handle.schema.names]
    order = [("revenue_at_risk", "descending"), ("churn_probability", "descending"), (key, "ascending")]
    best: pa.Table | None = None
    for batch in handle.stream(names):
        words = [c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in batch.columns]
        part = pa.Table.from_batches([pa.RecordBatch.from_arrays(words, names)])
        both = part if best is None else pa.concat_tables([best, part])
        best = both.take(pc.sort_indices(both, sort_keys=order).slice(0, top)).combine_chunks()
    return best.to_pylist() if best is not None else []


def as_table(rows: list[dict[str, Any]], contract: Contract) -> RenderableType:
    """The customers as people see them."""
    from churn_pipeline.cli import report

    unit = report.unit_of(contract)
    columns = {contract.id.column: "left", **dict.fromkeys(contract.passthrough, "left"), "Probability": "right"}
    if contract.amount_at_risk:
        columns[f"At risk ({unit})" if unit else "At risk"] = "right"
    columns["To churn"] = "left"
    why = any(row.get("reasons_up") for row in rows)
    if why:
        columns["Why"] = "left"
    lines = []
    for row in rows:
        line = [report.cell(row[name]) for name in (contract.id.column, *contract.passthrough)]
        line.append(report.share(row["churn_probability"]))
        if contract.amount_at_risk:
            line.append("–" if row["revenue_at_risk"] is None else f"{row['revenue_at_risk']:,.2f}")
        line.append("yes" if row["prediction"] else "no")
        lines.append([*line, _why(row)] if why else line)
    return report.table(columns, lines)


def _why(row: dict[str, Any]) -> str:
    """What raised a customer's score most, a line each: the column, and what is in it."""
    from churn_pipeline.cli import report

    first = (row.get("reasons_up") or [])[:_REASONS_SHOWN]
    said = [report.cell(f"{r['column']}: {'missing' if r['value'] is None else r['value']}") for r in first]
    return "\n".join(said) or report.cell(None)
