"""Rows of tables that a batch publishes, and the messages made of them."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from churn_pipeline.assets.prediction_rows import predictions_schema, unscored_schema
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.messages import (
    DeadLetters,
    Message,
)
from churn_pipeline.contract.rows import BrokenLine, SourceRows
from churn_pipeline.contract.validation import rejected_schema, validate
from churn_pipeline_tests.docs.pages import REPOSITORY

TELCO = Contract.load("telco")
GYM = Contract.load(REPOSITORY / "docs" / "examples" / "gym.yaml")
BATCH = "members-1f0c5b7a9e21"
SCORED_AT = datetime(2026, 3, 1, 9, 31, 12, 4518, UTC)
PREDICTION: dict[str, Any] = {
    "plan": "basic", "churn_probability": 0.7310585786300049, "prediction": 1, "threshold": 0.5,
    "revenue_at_risk": 29.17, "model_name": "churn_model", "model_version": "3", "backend": "sklearn",
    "source_partition": "members/2", "source_position": 40771,
    "event_at": datetime(2026, 3, 1, 9, 0, 0, 250_000, UTC), "scored_at": SCORED_AT,
}  # fmt: skip
MEMBER: dict[str, Any] = {
    "card": "m-2041", "exported_at": "2026-03-01T09:00:00Z", "plan": "basic", "months as member": 14, "visits": 4.0,
    "monthly_fee": 39.9, "has_trainer": False,
}  # fmt: skip
UNSCORED: dict[str, Any] = {
    "card": "m-7", "error_type": "ValueError", "error": "cannot score plan=basic of m-7", "model_name": "churn_model",
    "model_version": "3", "source_partition": "members/2", "source_position": 9, "event_at": SCORED_AT,
    "scored_at": SCORED_AT,
}  # fmt: skip


def predicted(*changes: dict[str, Any], contract: Contract = GYM) -> pa.RecordBatch:
    rows = [{**PREDICTION, contract.id.column: "m-2041", **change} for change in changes]
    return pa.RecordBatch.from_pylist(rows, predictions_schema(contract))


def unscored(**change: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([UNSCORED | change], unscored_schema(GYM))


def rejected(*changes: dict[str, Any], broken: tuple[BrokenLine, ...] = ()) -> pa.RecordBatch:
    """What the validator rejects of messages of `members/0`, their offsets counted from 100."""
    records = [{**MEMBER, **change} for change in changes]
    rows = pa.RecordBatch.from_pydict({name: [record[name] for record in records] for name in GYM.columns()})
    found = SourceRows(
        rows,
        "members/0",
        pa.array(range(100, 100 + len(records)), pa.int64()),
        broken,
        raw=[json.dumps(record).encode() for record in records],
        times=pa.array([0] * len(records), pa.timestamp("ms", "UTC")),
    )
    return validate(found, GYM, SCORED_AT).rejected


def malformed(*raws: bytes | None, rule: str = "not_json") -> pa.RecordBatch:
    """Messages that are no records, their offsets counted from 0."""
    lines = [BrokenLine(offset, rule, repr(raw), raw, 0) for offset, raw in enumerate(raws)]
    return rejected({}, broken=tuple(lines))


def letters(**options: Any) -> DeadLetters:
    return DeadLetters(GYM, BATCH, "churn-pipeline", SCORED_AT, **options)


def letter(message: Message) -> dict[str, Any]:
    return json.loads(message[1])


def every_letter() -> list[Message]:
    """One or more of each cause."""
    rows = [
        rejected({"plan": "platinum", "months as member": -3}, {"card": None}),
        malformed(b"{", None, b"", b"\xff"),
        rejected_without_rules(),
    ]
    found = [message for part in rows for message in letters().of_rejected(part)]
    return [*found, *letters().of_unscored(unscored()), *letters().of_unscored(unscored(error_type=None))]


def rejected_without_rules() -> pa.RecordBatch:
    row = {"card": "m-1", "rules": [], "failures": [], "source_partition": "members/0", "source_position": 3}
    return pa.RecordBatch.from_pylist([row], rejected_schema(GYM))
