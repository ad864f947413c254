"""Messages whose schema is in a registry: a zero byte, the schema's id in four bytes, and the payload.

That is the frame that Confluent's serializers write. Schemas are fetched when a message first names them and kept as
long as the reader. A message that is not framed, or names a schema that the registry does not know or that cannot be
used, becomes a broken line; a registry that cannot be asked is an error of the source, and costs no message.

Belongs here: the frame, and JSON in it. Does not: Avro (`avro_messages.py`), asking the registry
(`schema_registry.py`), JSON itself (`json_messages.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Generic, TypeVar

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.rows import BrokenLine, SourceRows
from churn_pipeline.resources.customer_sources.json_messages import JsonMessages, MessageLimits
from churn_pipeline.resources.customer_sources.message_rows import broken_line, picked, source_rows
from churn_pipeline.resources.customer_sources.schema_registry import RegisteredSchema, SchemaRegistry
from churn_pipeline.resources.customer_sources.typed_columns import from_values, wanted_columns
from churn_pipeline.resources.topics.base import Messages

_FRAME = 5
#: Ids are signed 32-bit integers; registries answer a larger one in ways of their own.
_LAST_ID = 2**31 - 1

Usable = TypeVar("Usable")


class Frames(Generic[Usable]):
    """Takes payloads out of their frames; remembers every schema that it has seen.

    Args:
        use: makes of a schema what payloads are decoded with, or the rule that every message of it breaks.
    """

    def __init__(
        self, registry: SchemaRegistry, limits: MessageLimits, use: Callable[[RegisteredSchema], Usable | str]
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._use = use
        self._known: dict[bytes, Usable | str] = {}

    def open(self, value: bytes | None) -> tuple[Usable, bytes] | str:
        """What `use` made of the schema, and the payload; or the rule that the message breaks.

        Raises:
            SchemaRegistryUnreachable, SchemaRegistryRefused
        """
        if value is None:
            return "tombstone"
        if not value:
            return "empty_message"
        if len(value) > self._limits.bytes:
            return "message_too_large"
        if value[0] or len(value) < _FRAME:
            return "not_framed"
        schema_id = value[1:_FRAME]
        if schema_id not in self._known:
            self._known[schema_id] = self._fetched(int.from_bytes(schema_id, "big"))
        usable = self._known[schema_id]
        return usable if isinstance(usable, str) else (usable, value[_FRAME:])

    def _fetched(self, schema_id: int) -> Usable | str:
        schema = self._registry.schema(schema_id) if schema_id <= _LAST_ID else None
        return "unknown_schema" if schema is None else self._use(schema)


class FramedJsonMessages:
    """Reads JSON messages whose JSON Schema is in a registry.

    The schema must be there and is not held against the message: that was its producer's part, and the contract
    judges what came of it.

    Args:
        envelope: keys that lead to the record, with dots; None where the payload is.
        with_label: read the label column too.
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
        self._frames = Frames(registry, limits or MessageLimits(), _json_schema)
        self._payloads = JsonMessages(contract, limits, envelope, with_label=with_label)
        self._wanted = wanted_columns(contract, with_label=with_label)

    def rows(self, messages: Messages) -> Iterator[SourceRows]:
        """Every message once, as a row or as a broken line; see `JsonMessages.rows`.

        Raises:
            SchemaRegistryUnreachable, SchemaRegistryRefused
        """
        payloads, broken = dict[int, bytes](), list[BrokenLine]()
        for i, value in enumerate(messages.values):
            opened = self._frames.open(value)
            if isinstance(opened, str):
                broken.append(broken_line(messages, i, opened))
            else:
                payloads[i] = opened[1]
        rows, framed = list(payloads), dict[int, Any](zip(messages.offsets, messages.values, strict=True))
        inside = replace(
            messages,
            offsets=picked(messages.offsets, rows),
            timestamps=picked(messages.timestamps, rows),
            values=list(payloads.values()),
        )
        for part in self._payloads.rows(inside):
            lines = tuple(replace(line, raw=framed[line.position]) for line in part.broken)
            yield replace(part, raw=[framed[offset] for offset in part.positions.to_pylist()], broken=lines)
        if broken:
            yield source_rows(messages, [], {w.name: from_values([], w) for w in self._wanted}, broken)


def _json_schema(schema: RegisteredSchema) -> RegisteredSchema | str:
    return schema if schema.kind == "JSON" else "unusable_schema"
