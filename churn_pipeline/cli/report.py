"""Words, numbers and tables as people see them on a terminal.

Belongs here: how results look. Does not: which results (the commands), alerts (`resources/alerts.py`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

    from churn_pipeline.batches import Batch
    from churn_pipeline.contract.definition import Contract
    from churn_pipeline.ledger import ScoredBatch


def count(number: int, noun: str) -> str:
    """`1 row`, `2,000 rows`, `3 batches`."""
    plural = "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def share(part: float | None) -> str:
    """`26.5 %` of 0.265; a dash for none."""
    return "–" if part is None else f"{100 * part:.1f} %"


def amount(value: float | None, unit: str = "") -> str:
    """`25,310 dollars a month`; a dash for none."""
    return "–" if value is None else f"{value:,.0f} {unit}".strip()


def size(number: int) -> str:
    """`34.8 kB` of 34,826 bytes."""
    value = float(number)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def moment(at: datetime) -> str:
    """`2026-11-24 18:53`, UTC."""
    return f"{at:%Y-%m-%d %H:%M}"


def place(location: str) -> str:
    """A path as short as it can be from here; a URI as it is."""
    here = Path.cwd()
    path = Path(location)
    return str(path.relative_to(here)) if "://" not in location and path.is_relative_to(here) else location


def unit_of(contract: Contract) -> str:
    """Unit of the revenue at risk; empty if the contract names none."""
    return contract.amount_at_risk.unit if contract.amount_at_risk else ""


def facts(pairs: Mapping[str, str | None]) -> RenderableType:
    """Label and value, a line each, aligned; pairs without a value are left out."""
    from rich.text import Text

    given = {label: value for label, value in pairs.items() if value}
    width = max((len(label) for label in given), default=0) + 2
    lines = [Text.assemble((label.ljust(width), "dim"), value) for label, value in given.items()]
    return Text("\n").join(lines)


def heading(title: str) -> RenderableType:
    """A line that stands out where a terminal can show it."""
    from rich.text import Text

    return Text(title, style="bold")


def cell(value: object) -> str:
    """A customer's value as text that cannot move the cursor; a dash for none."""
    return "–" if value is None else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))


def table(columns: Mapping[str, str], rows: Sequence[Sequence[RenderableType]]) -> RenderableType:
    """A table that fits 80 columns.

    Args:
        columns: heading → `left` or `right`.
    """
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name, side in columns.items():
        drawn.add_column(name, justify="right" if side == "right" else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def source_of(batch: Batch) -> str:
    """What a batch was read from."""
    from churn_pipeline.batches import SQL_SCHEME, FileBatch, TableBatch

    if not isinstance(batch, FileBatch | TableBatch):
        return batch.describe()
    if isinstance(batch, TableBatch):
        kind, many = "Delta table", f", version {batch.version}"
    else:
        kind = "snapshot" if batch.source.startswith(SQL_SCHEME) else batch.format
        many = f", {count(len(batch.files), 'file')}" if len(batch.files) != 1 else ""
    first = "" if batch.limit is None else f", first {count(batch.limit, 'row')}"
    return f"{place(batch.source)} ({kind}, {size(batch.size)}{many}{first})"


def cleaned(cells: Mapping[str, int]) -> str | None:
    """`11 cells (TotalCharges 11)`, or None."""
    each = ", ".join(f"{column} {number:,}" for column, number in cells.items())
    return f"{count(sum(cells.values()), 'cell')} ({each})" if cells else None


def explained(reasons: Mapping[str, Any] | None) -> str | None:
    """`3 reasons up and 3 down a row, exact, in log-odds`, of what the ledger says; None if there are none."""
    if reasons is None:
        return None
    most, unit = reasons["most"], reasons["unit"]
    return (
        f"{count(most, 'reason')} up and {most} down a row, {'exact' if reasons['exact'] else 'approximate'}, in {unit}"
    )


def scored(row: ScoredBatch, unit: str, more: Mapping[str, str | None]) -> RenderableType:
    """A finished batch, and more that is known of it."""
    left_out = {"rejected_customers": row.rows_rejected, "unscored_customers": row.rows_unscored}
    return facts(
        {
            "Batch": row.batch.id,
            "Source": source_of(row.batch),
            "Rows": f"{row.rows_read:,} read, {row.rows_scored:,} scored, {row.rows_rejected:,} rejected, "
            f"{row.rows_unscored:,} unscored",
            "Look at": ", ".join(f"{name} ({n:,})" for name, n in left_out.items() if n),
            "Same id": count(row.rows_duplicate, "row") if row.rows_duplicate else None,
            "Cleaned": cleaned(row.cells_cleaned),
            "Output shape": f"{row.output_shape[0]:,} rows × {row.output_shape[1]} columns",
            "Model": f"{row.model_name} version {row.model_version}, threshold {row.threshold:.3g}",
            "Backend": row.scored_by,
            "Explained": explained(row.kernel_proof.get("reasons")),
            "To churn": f"{row.rows_churn:,} of {row.rows_scored:,} ({share(row.share_churn)})",
            "At risk": None if row.revenue_at_risk is None else amount(row.revenue_at_risk, unit),
            "Took": f"{row.seconds:.1f} s",
            **more,
        }
    )


def stored(tables: Mapping[str, str]) -> str:
    """Where tables are: their folder, and their names."""
    folders = {location.rpartition("/")[0] for location in tables.values()}
    return ", ".join(place(folder) for folder in sorted(folders)) + f" ({', '.join(tables)})"


def plain(value: Any) -> Any:
    """Values that JSON takes: times as ISO 8601."""
    return json.loads(json.dumps(value, default=lambda item: item.isoformat()))
