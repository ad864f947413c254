"""Messages of the Telco contract as a producer writes them, and what is read from them."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.contract.validation import Validated, validate
from churn_pipeline.resources.customer_sources.json_messages import JsonMessages
from churn_pipeline.resources.topics.base import Messages

TELCO = Contract.load("telco")

#: Offset and time of the first of `messages`; each comes a millisecond after the one before.
FIRST = 100
EPOCH = datetime(2026, 1, 2, tzinfo=UTC)
TIME_OF_FIRST = int(EPOCH.timestamp() * 1000)


def record(**changes: Any) -> dict[str, Any]:
    """A customer that keeps the contract, but for the changes."""
    found: dict[str, Any] = {"customerID": "c"}
    for name, feature in TELCO.features.items():
        found[name] = feature.allowed[0] if feature.allowed else 1 if feature.type == "integer" else 29.85
    return found | changes


def written(**changes: Any) -> bytes:
    """The same as a message."""
    return json.dumps(record(**changes), ensure_ascii=False).encode()


def messages(*values: bytes | None) -> Messages:
    """A stretch of partition 3 of the topic `customers`."""
    offsets = range(FIRST, FIRST + len(values))
    return Messages("customers", 3, offsets, [TIME_OF_FIRST + n for n in range(len(values))], values)


def read(*values: bytes | None, reader: JsonMessages | None = None) -> list[SourceRows]:
    """The messages as rows."""
    return list((reader or JsonMessages(TELCO)).rows(messages(*values)))


def judged(found: Sequence[SourceRows], contract: Contract = TELCO) -> list[Validated]:
    """The rows held against the contract."""
    return [validate(part, contract, EPOCH) for part in found]


def customers(found: Sequence[SourceRows]) -> list[dict[str, Any]]:
    """The customers among the rows, in the order in which they are written."""
    return [row for part in judged(found) for row in part.customers.to_pylist()]


def rejected(found: Sequence[SourceRows]) -> dict[int, list[str]]:
    """Offset → rules broken, of the messages that are no customers."""
    return {row["source_position"]: row["rules"] for part in judged(found) for row in part.rejected.to_pylist()}
