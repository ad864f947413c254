"""Rows against the contract: which are customers, which are rejected and why.

Belongs here: the streaming validator, one record batch at a time, and the limits on rejected rows. Does not:
single columns (`columns.py`), pandas frames (`frame_schema.py`), reading or writing.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.constant_columns import WORD, constant
from churn_pipeline.contract.columns import ColumnRules, Judged, Mask, judge, rules_of
from churn_pipeline.contract.definition import ARROW_TYPES, Contract
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.errors import ContractError

_FAILURE = pa.struct([("rule", pa.string()), ("column", pa.string()), ("value", pa.string())])


class TooManyRejected(ContractError):
    """More rows broke the contract than the limit allows; nothing was written."""


def customers_schema(contract: Contract, *, with_label: bool = False) -> pa.Schema:
    """Columns of `customers`: id, `event_at`, features, (`churned`), `source_partition`, `source_position`.

    Features alone may be missing, and only where the contract says so.
    """
    types = {contract.id.column: pa.string(), "event_at": ARROW_TYPES["timestamp"]}
    types |= {name: ARROW_TYPES[feature.type] for name, feature in contract.features.items()}
    if with_label:
        types["churned"] = pa.bool_()
    types |= {"source_partition": WORD, "source_position": pa.int64()}
    missing = {name for name, feature in contract.features.items() if feature.nullable}
    return pa.schema([pa.field(name, kind, nullable=name in missing) for name, kind in types.items()])


def rejected_schema(contract: Contract) -> pa.Schema:
    """Columns of `rejected_customers`.

    The id if it could be read, `rules` (every rule broken), `failures` (rule, column and offending value of each),
    `record` (the row as found: JSON, or the line itself), `raw` and `source_time` (the message itself and when the
    broker got it; null for rows of files), `source_partition`, `source_position`.
    """
    return pa.schema(
        [
            (contract.id.column, pa.string()),
            ("rules", pa.list_(pa.string())),
            ("failures", pa.list_(_FAILURE)),
            ("record", pa.string()),
            ("raw", pa.binary()),
            ("source_time", ARROW_TYPES["timestamp"]),
            ("source_partition", WORD),
            ("source_position", pa.int64()),
        ]
    )


@dataclass(frozen=True)
class Validated:
    """A stretch of rows after judgement; `customers.num_rows + rejected.num_rows` is what was read.

    Attributes:
        cleaned: column → cells the contract's cleaning changed.
        reasons: (column, rule) → rows.
    """

    customers: pa.RecordBatch
    rejected: pa.RecordBatch
    cleaned: Counter[str]
    reasons: Counter[tuple[str, str]]


def validate(
    found: SourceRows,
    contract: Contract,
    as_of: datetime,
    *,
    with_label: bool = False,
    superseded: Mask | None = None,
) -> Validated:
    """Split a stretch of rows into customers and rejected.

    Args:
        as_of: event time of records that name none, where their source has no times either.
        with_label: also judge the label, and add it as `churned` (training).
        superseded: rows the policy on duplicate ids rejects.
    """
    rules = rules_of(contract, with_label=with_label)
    judged = {
        r.name: judge(
            found.rows.column(r.source),
            r,
            text_only=found.text_only,
            misfits=(found.misfits or {}).get(r.source),
        )
        for r in rules
    }
    if superseded is not None and superseded.any():
        judged[contract.id.column].broken["duplicate_id"] = superseded
    bad = np.zeros(found.rows.num_rows, dtype=bool)
    reasons: Counter[tuple[str, str]] = Counter()
    for r in rules:
        for rule, mask in judged[r.name].broken.items():
            bad |= mask
            reasons[r.source, rule] = int(mask.sum())
    reasons.update(("", line.rule) for line in found.broken)
    customers = _customers(found, contract, judged, as_of, with_label)
    return Validated(
        customers if not bad.any() else customers.filter(pa.array(~bad)),
        _rejected(found, contract, rules, judged, bad),
        Counter({r.source: judged[r.name].cleaned for r in rules if judged[r.name].cleaned}),
        reasons,
    )


def _customers(
    found: SourceRows, contract: Contract, judged: Mapping[str, Judged], as_of: datetime, with_label: bool
) -> pa.RecordBatch:
    """All rows with the columns of `customers`, bad ones still among them."""
    schema = customers_schema(contract, with_label=with_label)
    n = found.rows.num_rows
    columns = {name: judged[name].values for name in [contract.id.column, *contract.features]}
    as_of_value = pa.scalar(as_of, ARROW_TYPES["timestamp"])
    event = judged["event_at"].values if contract.event_time else pa.nulls(n, ARROW_TYPES["timestamp"])
    if found.times is not None:
        event = pc.coalesce(event, found.times.cast(ARROW_TYPES["timestamp"]))
    columns["event_at"] = event.fill_null(as_of_value)
    if with_label and contract.label:
        columns["churned"] = pc.equal(judged["churned"].values.cast(pa.string()), contract.label.positive)
    columns["source_partition"] = constant(found.partition, n, WORD)
    columns["source_position"] = found.positions
    return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


def _rejected(
    found: SourceRows, contract: Contract, rules: list[ColumnRules], judged: Mapping[str, Judged], bad: Mask
) -> pa.RecordBatch:
    """Quarantine rows in source order; a loop over bad rows only."""
    rows = np.flatnonzero(bad)
    cells = found.rows.take(pa.array(rows)).to_pylist() if len(rows) else []
    failures: list[list[dict[str, str | None]]] = [[] for _ in rows]
    for r in rules:
        for rule, mask in judged[r.name].broken.items():
            for i in np.flatnonzero(mask[rows]):
                failures[i].append({"rule": rule, "column": r.source, "value": _text(cells[i][r.source])})
    ids = judged[contract.id.column].values.take(pa.array(rows)).to_pylist() if len(rows) else []
    positions = found.positions.take(pa.array(rows)).to_pylist() if len(rows) else []
    none = [None] * len(rows)
    raw = none if found.raw is None else [found.raw[int(i)] for i in rows]
    times = none if found.times is None else found.times.take(pa.array(rows)).cast(pa.int64()).to_pylist()
    listed = [
        (position, id_, failure, json.dumps({k: _text(v) for k, v in cell.items()}, ensure_ascii=False), message, at)
        for position, id_, failure, cell, message, at in zip(positions, ids, failures, cells, raw, times, strict=True)
    ]
    listed += [
        (line.position, None, [{"rule": line.rule, "column": None, "value": None}], line.text, line.raw, line.at)
        for line in found.broken
    ]
    listed.sort(key=lambda row: row[0])
    schema = rejected_schema(contract)
    columns = [
        pa.array([row[1] for row in listed], pa.string()),
        pa.array([[str(f["rule"]) for f in row[2]] for row in listed], schema.field("rules").type),
        pa.array([row[2] for row in listed], schema.field("failures").type),
        pa.array([row[3] for row in listed], pa.string()),
        pa.array([row[4] for row in listed], pa.binary()),
        pa.array([row[5] for row in listed], pa.timestamp("ms", "UTC")).cast(ARROW_TYPES["timestamp"]),
        constant(found.partition, len(listed), WORD),
        pa.array([row[0] for row in listed], pa.int64()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _text(value: object) -> str | None:
    """A cell as it was found, for the quarantine."""
    if value is None:
        return None
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


@dataclass(frozen=True)
class RejectLimit:
    """How many rejected rows a batch may have: a count, a share of the rows read, both or neither."""

    count: int | None = None
    ratio: float | None = None

    @classmethod
    def parse(cls, text: str) -> "RejectLimit":
        """Read `100` (rows) or `0.05` (a share).

        Raises:
            ValueError: neither.
        """
        if text.isdecimal():
            return cls(count=int(text))
        value = float(text)
        if not 0 <= value <= 1:
            raise ValueError(f"{text} is neither a count such as 100 nor a share such as 0.05")
        return cls(ratio=value)

    def __str__(self) -> str:
        parts = [_rows(self.count)] if self.count is not None else []
        parts += [f"{100 * self.ratio:.3g} % of the rows"] if self.ratio is not None else []
        return " and ".join(parts) or "none"


def _rows(count: int) -> str:
    return f"{count:,} row" + "s" * (count != 1)


@dataclass
class Tally:
    """Counts over the stretches of one batch, and the limit they are held against."""

    limit: RejectLimit = RejectLimit()
    read: int = 0
    customers: int = 0
    rejected: int = 0
    cleaned: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, part: Validated) -> None:
        """Count one stretch.

        Raises:
            TooManyRejected: the count limit is passed; a share is only known at the end (`finish`).
        """
        self.customers += part.customers.num_rows
        self.rejected += part.rejected.num_rows
        self.read += part.customers.num_rows + part.rejected.num_rows
        self.cleaned.update(part.cleaned)
        self.reasons.update(part.reasons)
        self._hold_count()

    def include(self, other: "Tally") -> None:
        """Count what another tally has counted.

        Raises:
            TooManyRejected: see `add`.
        """
        self.read += other.read
        self.customers += other.customers
        self.rejected += other.rejected
        self.cleaned.update(other.cleaned)
        self.reasons.update(other.reasons)
        self._hold_count()

    def _hold_count(self) -> None:
        if self.limit.count is not None and self.rejected > self.limit.count:
            raise self._too_many(f"more than the limit of {_rows(self.limit.count)}")

    def finish(self) -> None:
        """Hold the share of rejected rows against the limit, once all rows were read."""
        ratio = self.limit.ratio
        if ratio is not None and self.rejected > ratio * self.read:
            raise self._too_many(f"more than the limit of {100 * ratio:.3g} %")

    def _too_many(self, than: str) -> TooManyRejected:
        share = 100 * self.rejected / self.read
        return TooManyRejected(
            f"{self.rejected:,} of {self.read:,} rows ({share:.3g} %) broke the contract, {than}. "
            f"Nothing was written. Commonest: {self.commonest()}. Correct the sender or the contract, or raise "
            "CHURN_REJECT_LIMIT, a count such as 100 or a share such as 0.05."
        )

    def commonest(self) -> str:
        """The five commonest reasons: `MonthlyCharges not a number (790), …`."""
        return ", ".join(
            f"{column} {rule.replace('_', ' ')} ({n:,})".strip() for (column, rule), n in self.reasons.most_common(5)
        )
