"""Avro messages of a topic as customer rows; their schemas are in a registry.

A message is decoded with the schema that it was written with, and its fields go to the contract's columns by name, so
that messages of several versions of a schema stand beside each other: a field that a version lacks is a missing
value, one that the contract does not name is ignored.

Belongs here: payload to row. Does not: the frame (`registry_messages.py`), which schemas may be used
(`avro_schemas.py`), what types become (`typed_columns.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from typing import Any
from uuid import UUID

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import BrokenLine, SourceRows
from churn_pipeline.errors import UsageError
from churn_pipeline.resources.customer_sources.avro_schemas import avro_schema
from churn_pipeline.resources.customer_sources.json_messages import MessageLimits
from churn_pipeline.resources.customer_sources.message_rows import broken_line, record_in, source_rows
from churn_pipeline.resources.customer_sources.registry_messages import Frames
from churn_pipeline.resources.customer_sources.schema_registry import SchemaRegistry
from churn_pipeline.resources.customer_sources.typed_columns import (
    FittedColumn,
    WantedColumn,
    from_values,
    wanted_columns,
)
from churn_pipeline.resources.topics.base import Messages

#: What fastavro makes of logical types and JSON does not know.
_LOGICAL = {Decimal, datetime, date, UUID}


class AvroUnavailable(UsageError):
    """Messages are Avro, and the package that decodes it is not installed."""


class AvroMessages:
    """Reads the Avro messages of one topic.

    Args:
        envelope: fields that lead to the record, with dots; None where the payload is.
        with_label: read the label column too.

    Raises:
        AvroUnavailable: the extra `registry` is not installed.
    """

    def __init__(
        self,
        registry: SchemaRegistry,
        contract: Contract,
        limits: MessageLimits | None = None,
        envelope: str | None = None,
        *,
        with_label: bool = False,
    ) -> None:
        check_avro_installed()
        from fastavro import schemaless_reader

        limits = limits or MessageLimits()
        self._decode = schemaless_reader
        self._frames = Frames(registry, limits, partial(avro_schema, limits=limits))
        self._envelope = envelope
        self._wanted = wanted_columns(contract, with_label=with_label)

    def rows(self, messages: Messages) -> Iterator[SourceRows]:
        """Every message once, as a row or as a broken line, in one `SourceRows`; none for no messages.

        Raises:
            SchemaRegistryUnreachable, SchemaRegistryRefused
        """
        records, broken = dict[int, Mapping[str, Any]](), list[BrokenLine]()
        for i, value in enumerate(messages.values):
            record = self._record(value)
            if isinstance(record, str):
                broken.append(broken_line(messages, i, record))
            else:
                records[i] = record
        if records or broken:
            columns = {w.name: _fitted([r.get(w.name) for r in records.values()], w) for w in self._wanted}
            yield source_rows(messages, list(records), columns, broken)

    def _record(self, value: bytes | None) -> Mapping[str, Any] | str:
        """The record that a message is, or the rule that it breaks."""
        opened = self._frames.open(value)
        if isinstance(opened, str):
            return opened
        schema, payload = opened
        stream = BytesIO(payload)
        try:
            message: Any = self._decode(stream, schema, None)
        except UnicodeDecodeError:
            return "not_utf8"
        # It ends too early, names a branch or symbol that is not there, is a time that no calendar has, or has a schema
        # whose fault shows in decoding only, such as a decimal without precision.
        except (EOFError, LookupError, ValueError, ArithmeticError, TypeError):
            return "not_avro"
        return record_in(message, self._envelope) if stream.tell() == len(payload) else "not_avro"


def check_avro_installed() -> None:
    """See that Avro can be read.

    Raises:
        AvroUnavailable: it cannot.
    """
    if find_spec("fastavro") is None:
        raise AvroUnavailable(
            "Messages are Avro (CHURN_KAFKA_FORMAT), and fastavro is not installed. Install it: "
            "pip install churn-pipeline[registry]"
        )


def _fitted(values: Sequence[Any], wanted: WantedColumn) -> FittedColumn:
    if not _LOGICAL.isdisjoint(map(type, values)):
        values = [_plain(value, wanted.kind) for value in values]
    return from_values(values, wanted)


def _plain(value: Any, kind: str) -> Any:
    """A value of a logical type as JSON would have it, where the column is of its kind; any other as it is."""
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal) and kind in ("number", "integer"):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, date) and kind == "timestamp":
        # Times of the log are in UTC already; local ones are taken for it, as everywhere.
        return value.replace(tzinfo=None).isoformat() if isinstance(value, datetime) else value.isoformat()
    return value
