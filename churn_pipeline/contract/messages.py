"""What a batch publishes: a prediction for each customer it scored, a dead letter for each message it did not.

Every byte follows from rows of the tables and from the batch, never from the clock, so that a retry publishes what the
first attempt would have.

Belongs here: rows of `churn_predictions`, `rejected_customers` and `unscored_customers` as keys, JSON and headers, and
the JSON Schemas (2020-12) of both messages. Does not: topics and transactions (`resources/topics/`), the schema of a
customer record (`json_schema.py`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Meta

from churn_pipeline.contract.definition import ARROW_TYPES, Contract
from churn_pipeline.errors import UsageError

#: Partition and offset of the message that a row was read from.
Place = tuple[int, int]

#: Headers of a message: `batch_id`, and `source` as `topic/partition/offset`.
Headers = list[tuple[str, bytes]]

#: Key (the customer's id in UTF-8; None where none could be read), value (a JSON object) and headers.
Message = tuple[bytes | None, bytes, Headers]

ErrorType = Literal["validation_error", "inference_error", "processing_error", "unknown_error"]

#: Largest dead letter, in bytes of key and JSON; librdkafka by default sends 1,000,000, headers counted.
DEAD_LETTER_BYTES = 900_000

_encode = msgspec.json.Encoder().encode


class ContractNotPublishable(UsageError):
    """The contract's id column cannot be a key of prediction messages."""


def _time(description: str) -> Meta:
    return Meta(description=f"{description} RFC 3339, UTC, microseconds.", extra_json_schema={"format": "date-time"})


class BrokenRule(msgspec.Struct, frozen=True):
    """A rule of the contract that the record breaks."""

    column: Annotated[str | None, Meta(description="The record's column; null if the whole message breaks the rule.")]
    rule: Annotated[str, Meta(description="Name of the rule, such as not_a_number.")]


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that was read and not scored."""

    original_message: Annotated[str | None, Meta(description="The message, if it is text in UTF-8.")]
    original_message_base64: Annotated[str | None, Meta(description="The message, if it is not.")]
    original_message_bytes: Annotated[
        int | None,
        Meta(description="Size of the message, also where it is too large to be in here; null for a tombstone, or if "
             "only the source topic has the message."),
    ]  # fmt: skip
    error_type: Annotated[
        ErrorType,
        Meta(description="The record breaks the contract (validation_error), the model cannot score the customer "
             "(inference_error), the message is no record at all (processing_error), or no cause is on record."),
    ]  # fmt: skip
    error_message: Annotated[str, Meta(description="What went wrong, in a sentence without the customer's values.")]
    validation_errors: Annotated[list[BrokenRule], Meta(description="Every rule broken; empty for other errors.")]
    source_topic: Annotated[str, Meta(description="Where the message was read.")]
    source_partition: Annotated[int, Meta(ge=0, description="Partition of that topic.")]
    source_offset: Annotated[int, Meta(ge=0, description="Offset in that partition.")]
    failed_ts: Annotated[str, _time("When scoring of the batch began.")]
    consumer_group: Annotated[str, Meta(description="Group whose offsets were committed with this letter.")]
    retry_count: Annotated[int, Meta(ge=0, description="How many times the message had been replayed before.")]


def prediction_columns(contract: Contract) -> list[str]:
    """The columns of `churn_predictions` that `prediction_messages` reads."""
    own = ["churn_probability", "prediction", "event_at", "scored_at", "model_version"]
    return [contract.id.column, *own, "source_partition", "source_position"]


def prediction_messages(rows: pa.RecordBatch, contract: Contract, batch_id: str) -> Iterator[Message]:
    """The messages of n rows of `churn_predictions` that were read from a topic, in order.

    Raises:
        ContractNotPublishable: see `prediction_type`.
    """
    ids = rows.column(contract.id.column)
    predictions = map(
        prediction_type(contract),
        ids.to_pylist(),
        rows.column("churn_probability").to_pylist(),
        rows.column("prediction").to_pylist(),
        _times(rows.column("event_at")).to_pylist(),
        _few(rows.column("scored_at"), _times),
        _few(rows.column("model_version")),
    )
    keys = ids.cast(pa.binary()).to_pylist()
    return zip(keys, map(_encode, predictions), _headers(rows, batch_id), strict=True)


class DeadLetters:
    """Makes the dead letters of one batch of a topic.

    Args:
        consumer_group: the group that the batch's offsets are committed for.
        failed_at: the batch's `scored_at`, as the ledger has it.
        retry_counts: of messages that were replayed before; 0 for all others.
        limit: a letter that would have more bytes goes without the original message.
    """

    def __init__(
        self,
        contract: Contract,
        batch_id: str,
        consumer_group: str,
        failed_at: datetime,
        *,
        retry_counts: Mapping[Place, int] | None = None,
        limit: int = DEAD_LETTER_BYTES,
    ) -> None:
        self._id_column = contract.id.column
        self._batch_id = batch_id
        self._group = consumer_group
        self._failed_ts: str = _times(pa.array([failed_at.astimezone(UTC)], ARROW_TYPES["timestamp"]))[0].as_py()
        self._retry_counts = retry_counts or {}
        self._limit = limit

    def of_rejected(self, rows: pa.RecordBatch) -> Iterator[Message]:
        """The letters of n rows of `rejected_customers`, in order."""
        originals, failures = rows.column("raw").to_pylist(), rows.column("failures").to_pylist()
        for origin, original, failed in zip(self._origins(rows), originals, failures, strict=True):
            broken = [BrokenRule(failure["column"], failure["rule"]) for failure in failed or ()]
            yield self._message(origin, original, *_of_rules(broken), broken)

    def of_unscored(self, rows: pa.RecordBatch, originals: Mapping[Place, bytes] | None = None) -> Iterator[Message]:
        """The letters of n rows of `unscored_customers`, in order.

        Args:
            originals: their messages, as far as they are at hand: no table has them.
        """
        for origin, kind in zip(self._origins(rows), rows.column("error_type").to_pylist(), strict=True):
            yield self._message(origin, (originals or {}).get(origin.at), *_of_model(kind), [])

    def _origins(self, rows: pa.RecordBatch) -> Iterator[_Origin]:
        partitions = (text.rpartition("/") for text in _few(rows.column("source_partition")))
        offsets = rows.column("source_position").to_pylist()
        ids = rows.column(self._id_column).cast(pa.binary()).to_pylist()
        headers = _headers(rows, self._batch_id)
        for id_, (topic, _, partition), offset, found in zip(ids, partitions, offsets, headers, strict=True):
            # An empty id names nobody.
            yield _Origin(id_ or None, topic, (int(partition), offset), found)

    def _message(
        self, origin: _Origin, original: bytes | None, kind: ErrorType, sentence: str, broken: list[BrokenRule]
    ) -> Message:
        text, encoded = _as_text(original)
        partition, offset = origin.at
        letter = DeadLetter(
            original_message=text,
            original_message_base64=encoded,
            original_message_bytes=None if original is None else len(original),
            error_type=kind,
            error_message=sentence,
            validation_errors=broken,
            source_topic=origin.topic,
            source_partition=partition,
            source_offset=offset,
            failed_ts=self._failed_ts,
            consumer_group=self._group,
            retry_count=self._retry_counts.get(origin.at, 0),
        )
        value = _encode(letter)
        if len(value) + len(origin.key or b"") > self._limit:
            # One message that the broker refuses would hold up the whole batch, and every batch after it.
            without = msgspec.structs.replace(letter, original_message=None, original_message_base64=None)
            value = _encode(without)
        return origin.key, value, origin.headers


class _Origin(NamedTuple):
    key: bytes | None
    topic: str
    at: Place
    headers: Headers


def prediction_type(contract: Contract) -> Callable[..., msgspec.Struct]:
    """The struct of a prediction message: the id under the contract's name for it, and what the model says.

    Raises:
        ContractNotPublishable: the id column has a name that cannot stand there.
    """
    return _prediction_type(contract.id.column, contract.id.description)


@lru_cache(maxsize=16)
def _prediction_type(id_column: str, id_description: str) -> type[msgspec.Struct]:
    fields = [
        ("id", Annotated[str, Meta(min_length=1, description=id_description)]),
        ("churn_probability", Annotated[float, Meta(ge=0, le=1, description="As the registered estimator gives it.")]),
        ("prediction", Annotated[Literal[0, 1], Meta(description="1 from the model version's threshold on, else 0.")]),
        ("event_ts", Annotated[str | None, _time("When the record was true; null outside the years 1 to 9999.")]),
        ("processed_ts", Annotated[str, _time("When scoring of the batch began.")]),
        ("model_version", Annotated[str, Meta(description="Version of the registered model.")]),
    ]
    try:
        # Not tracked by the garbage collector: its fields are scalars.
        return msgspec.defstruct(
            "Prediction",
            fields,
            rename={"id": id_column},
            namespace={"__doc__": "What the model says of one customer."},
            frozen=True,
            gc=False,
        )
    except ValueError:
        keys = ", ".join(name for name, _ in fields[1:])
        raise ContractNotPublishable(
            f"The contract's id column {id_column!r} cannot be a key of prediction messages: it is one of their own "
            f"({keys}), or has a quote, a backslash or a control character in it. Give the column another name, or "
            "publish no predictions."
        ) from None


def prediction_schema(contract: Contract) -> dict[str, Any]:
    """JSON Schema of a prediction message.

    Raises:
        ContractNotPublishable: see `prediction_type`.
    """
    return _schema(prediction_type(contract))


def dead_letter_schema() -> dict[str, Any]:
    """JSON Schema of a dead letter."""
    return _schema(DeadLetter)


def _schema(kind: Any) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}


def _of_rules(broken: Sequence[BrokenRule]) -> tuple[ErrorType, str]:
    if not broken:
        return "unknown_error", "The message was rejected, and no rule that it breaks is on record."
    said = ", ".join(f"{b.column or ''} {b.rule.replace('_', ' ')}".strip() for b in broken)
    if any(b.column is None for b in broken):
        return "processing_error", f"The message is no record: {said}."
    return "validation_error", f"The record breaks the contract: {said}."


def _of_model(kind: str | None) -> tuple[ErrorType, str]:
    if not kind:
        return "unknown_error", "The customer was not scored, and no error of the model is on record."
    return "inference_error", f"The model cannot score this customer ({kind}); its words are in unscored_customers."


def _as_text(original: bytes | None) -> tuple[str | None, str | None]:
    """Bytes as text, or else in base64."""
    if original is None:
        return None, None
    try:
        return original.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(original).decode()


def _headers(rows: pa.RecordBatch, batch_id: str) -> Iterator[Headers]:
    batch = ("batch_id", batch_id.encode())
    partitions, offsets = rows.column("source_partition").cast(pa.string()), rows.column("source_position")
    sources = pc.binary_join_element_wise(partitions, offsets.cast(pa.string()), "/").cast(pa.binary())
    return ([batch, ("source", source)] for source in sources.to_pylist())


def _few(values: pa.Array, written: Callable[[pa.Array], pa.Array] | None = None) -> Iterator[Any]:
    """Values of which many are equal: each is made, and written if need be, only once."""
    if not pa.types.is_dictionary(values.type):
        values = values.dictionary_encode()
    words = values.dictionary if written is None else written(values.dictionary)
    return map(words.to_pylist().__getitem__, values.indices.to_pylist())


def _times(values: pa.TimestampArray) -> pa.StringArray:
    """UTC timestamps in RFC 3339, all of one length; null where the year has no four digits."""
    plain = values.cast(pa.timestamp("us"))
    inside = pc.and_(pc.greater_equal(plain, datetime.min), pc.less_equal(plain, datetime.max))
    # Arrow writes a time without a zone in a twentieth of the time it takes for one with it.
    texts = pc.binary_replace_slice(pc.if_else(inside, plain, None).cast(pa.string()), 10, 11, "T")
    return pc.binary_join_element_wise(texts, "Z", "")
