"""The messages that a batch publishes: byte for byte, for every cause, and as their schemas and their page say."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_pipeline.assets.predictions import predictions_schema, unscored_schema
from churn_pipeline.contract.columns import rules_of
from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.messages import (
    ContractNotPublishable,
    DeadLetter,
    DeadLetters,
    Message,
    dead_letter_schema,
    prediction_columns,
    prediction_messages,
    prediction_schema,
    prediction_type,
)
from churn_pipeline.contract.rows import BrokenLine, SourceRows
from churn_pipeline.contract.validation import rejected_schema, validate
from churn_pipeline_tests.docs.pages import REPOSITORY, blocks

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


# --- predictions


def test_a_prediction_has_the_id_under_the_contract_s_name_for_it():
    rows = predicted({"customerID": "7590-VHVEG"}, contract=TELCO)
    assert list(prediction_messages(rows, TELCO, BATCH)) == [
        (
            b"7590-VHVEG",
            b'{"customerID":"7590-VHVEG","churn_probability":0.7310585786300049,"prediction":1,'
            b'"event_ts":"2026-03-01T09:00:00.250000Z","processed_ts":"2026-03-01T09:31:12.004518Z",'
            b'"model_version":"3"}',
            [("batch_id", b"members-1f0c5b7a9e21"), ("source", b"members/2/40771")],
        )
    ]


def test_messages_come_in_the_order_of_the_rows_each_keyed_by_its_customer():
    rows = predicted({"card": "b"}, {"card": "a", "source_position": 1}, {"card": "é", "source_position": 2})
    got = list(prediction_messages(rows, GYM, BATCH))
    assert [key for key, _, _ in got] == [b"b", b"a", "é".encode()]
    assert [json.loads(value)["card"] for _, value, _ in got] == ["b", "a", "é"]
    assert [dict(headers)["source"] for _, _, headers in got] == [b"members/2/40771", b"members/2/1", b"members/2/2"]


def test_no_rows_are_no_messages():
    assert list(prediction_messages(predicted(), GYM, BATCH)) == []
    assert list(letters().of_rejected(rejected({}))) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_probability_is_read_back_to_the_last_bit(values):
    rows = predicted(*({"churn_probability": value} for value in values))
    assert [json.loads(value)["churn_probability"] for _, value, _ in prediction_messages(rows, GYM, BATCH)] == values


def test_columns_without_dictionaries_give_the_same_bytes():
    rows = predicted({}, {"model_version": "4", "source_partition": "members/1"})
    plain = [c.cast(pa.string()) if pa.types.is_dictionary(c.type) else c for c in rows.columns]
    decoded = pa.RecordBatch.from_arrays(plain, rows.schema.names)
    assert list(prediction_messages(decoded, GYM, BATCH)) == list(prediction_messages(rows, GYM, BATCH))


def test_only_the_columns_named_are_read():
    rows = predicted({}, {"card": "m-2"})
    few = rows.select(prediction_columns(GYM))
    assert list(prediction_messages(few, GYM, BATCH)) == list(prediction_messages(rows, GYM, BATCH))


@pytest.mark.parametrize(
    "at, said",
    [
        (datetime.min, "0001-01-01T00:00:00.000000Z"),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999), "1969-12-31T23:59:59.999999Z"),
        (datetime.max, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_times_have_microseconds_and_say_that_they_are_utc(at, said):
    [(_, value, _)] = prediction_messages(predicted({"event_at": at.replace(tzinfo=UTC)}), GYM, BATCH)
    assert json.loads(value)["event_ts"] == said


@pytest.mark.parametrize("microseconds", [1_770_000_000_000_000_000, -(2**62)])
def test_a_time_that_no_calendar_has_is_null(microseconds):
    rows = predicted({})
    at = pa.array([microseconds], pa.timestamp("us", "UTC"))
    index = rows.schema.get_field_index("event_at")
    [(_, value, _)] = prediction_messages(rows.set_column(index, rows.schema.field(index), at), GYM, BATCH)
    assert json.loads(value)["event_ts"] is None


@pytest.mark.parametrize("column", ["event_ts", 'the "id"', "id\n"])
def test_an_id_column_that_cannot_be_a_key_is_an_error_that_names_it(column):
    contract = GYM.model_copy(update={"id": GYM.id.model_copy(update={"column": column})})
    with pytest.raises(ContractNotPublishable) as caught:
        prediction_type(contract)
    assert repr(column) in str(caught.value)


# --- dead letters


def test_a_dead_letter_is_these_bytes():
    [message] = letters().of_rejected(malformed(b'{"card": "m-1"'))
    assert message == (
        None,
        b'{"original_message":"{\\"card\\": \\"m-1\\"","original_message_base64":null,"original_message_bytes":14,'
        b'"error_type":"processing_error","error_message":"The message is no record: not json.",'
        b'"validation_errors":[{"column":null,"rule":"not_json"}],"source_topic":"members","source_partition":0,'
        b'"source_offset":0,"failed_ts":"2026-03-01T09:31:12.004518Z","consumer_group":"churn-pipeline",'
        b'"retry_count":0}',
        [("batch_id", b"members-1f0c5b7a9e21"), ("source", b"members/0/0")],
    )


def test_a_record_that_breaks_the_contract_is_a_validation_error_with_every_rule():
    [message] = letters().of_rejected(rejected({"plan": "platinum", "months as member": -3}))
    assert message[0] == b"m-2041"
    said = letter(message)
    assert said["error_type"] == "validation_error"
    assert said["error_message"] == (
        "The record breaks the contract: plan not allowed, months as member below minimum."
    )
    assert said["validation_errors"] == [
        {"column": "plan", "rule": "not_allowed"},
        {"column": "months as member", "rule": "below_minimum"},
    ]
    assert json.loads(said["original_message"]) == {**MEMBER, "plan": "platinum", "months as member": -3}


@pytest.mark.parametrize("rule", ["not_json", "tombstone", "message_too_large", "envelope_missing"])
def test_a_message_that_is_no_record_is_a_processing_error(rule):
    [message] = letters().of_rejected(malformed(b"{", rule=rule))
    said = letter(message)
    assert (said["error_type"], said["validation_errors"]) == ("processing_error", [{"column": None, "rule": rule}])


def test_a_customer_whom_the_model_cannot_score_is_an_inference_error():
    [message] = letters().of_unscored(unscored(), {(2, 9): b'{"card":"m-7"}'})
    said = letter(message)
    assert message[0] == b"m-7"
    assert (said["error_type"], said["validation_errors"]) == ("inference_error", [])
    assert said["error_message"] == (
        "The model cannot score this customer (ValueError); its words are in unscored_customers."
    )
    assert (said["original_message"], said["source_partition"], said["source_offset"]) == ('{"card":"m-7"}', 2, 9)


def test_what_has_no_cause_on_record_is_an_unknown_error():
    [refused] = letters().of_rejected(rejected_without_rules())
    [left] = letters().of_unscored(unscored(error_type=None))
    assert [letter(refused)["error_type"], letter(left)["error_type"]] == ["unknown_error", "unknown_error"]


def test_nothing_but_the_original_holds_a_value_of_the_customer_s():
    odd = {
        "exported_at": "SECRET", "plan": "SECRET", "months as member": "SECRET", "visits": "SECRET",
        "monthly_fee": "SECRET", "has_trainer": "SECRET",
    }  # fmt: skip
    [message] = letters().of_rejected(rejected(odd))
    said = letter(message)
    assert len(said["validation_errors"]) == len(rules_of(GYM)) - 1
    assert "SECRET" in said.pop("original_message")
    assert "SECRET" not in json.dumps(said)
    [message] = letters().of_unscored(unscored(error="SECRET"))
    assert b"SECRET" not in message[1]


def test_bytes_that_are_not_text_are_in_base64():
    [message] = letters().of_rejected(malformed(b'{"card": "\xff\x00"}', rule="not_utf8"))
    said = letter(message)
    assert (said["original_message"], said["original_message_bytes"]) == (None, 14)
    assert base64.b64decode(said["original_message_base64"]) == b'{"card": "\xff\x00"}'


@given(st.binary(max_size=60))
def test_the_original_is_had_back_byte_for_byte(original):
    [message] = letters().of_rejected(malformed(original))
    said = letter(message)
    text, encoded = said["original_message"], said["original_message_base64"]
    assert (text is None) != (encoded is None)
    assert original == (base64.b64decode(encoded) if text is None else text.encode())


def test_a_tombstone_has_no_original_and_an_empty_message_an_empty_one():
    tombstone, empty = letters().of_rejected(malformed(None, b"", rule="tombstone"))
    assert (letter(tombstone)["original_message"], letter(tombstone)["original_message_bytes"]) == (None, None)
    assert (letter(empty)["original_message"], letter(empty)["original_message_bytes"]) == ("", 0)


def test_a_message_that_is_nowhere_at_hand_is_named_by_its_offset():
    [message] = letters().of_unscored(unscored())
    said = letter(message)
    assert (said["original_message"], said["original_message_base64"], said["original_message_bytes"]) == (None,) * 3
    assert (said["source_topic"], said["source_partition"], said["source_offset"]) == ("members", 2, 9)


@pytest.mark.parametrize("original", [b"x" * 900_000, b"\x01" * 160_000, b"\xff" * 700_000])
def test_an_original_too_large_for_a_broker_is_left_out_and_its_size_is_told(original):
    [message] = letters().of_rejected(malformed(original))
    assert len(message[1]) < 1_000
    said = letter(message)
    assert (said["original_message"], said["original_message_base64"]) == (None, None)
    assert said["original_message_bytes"] == len(original)


def test_a_letter_that_just_fits_keeps_its_original():
    [(_, value, _)] = letters().of_rejected(malformed(b"{"))
    [kept] = letters(limit=len(value)).of_rejected(malformed(b"{"))
    [cut] = letters(limit=len(value) - 1).of_rejected(malformed(b"{"))
    assert (letter(kept)["original_message"], letter(cut)["original_message"]) == ("{", None)


@pytest.mark.parametrize("id_", [None, ""])
def test_a_message_that_names_no_customer_has_no_key(id_):
    [message] = letters().of_rejected(rejected({"card": id_}))
    assert message[0] is None


def test_a_message_that_was_replayed_says_how_often():
    got = letters(retry_counts={(0, 1): 1}).of_rejected(malformed(b"{", b"["))
    assert [letter(message)["retry_count"] for message in got] == [0, 1]


def test_the_time_of_failure_is_in_utc_wherever_it_was_taken():
    east = SCORED_AT.astimezone(datetime.strptime("+0530", "%z").tzinfo)
    [message] = DeadLetters(GYM, BATCH, "churn-pipeline", east).of_unscored(unscored())
    assert letter(message)["failed_ts"] == "2026-03-01T09:31:12.004518Z"


# --- schemas and page

_WRITE = """The schema is another than docs/schemas/ has. If that is meant, it is a change for every consumer; write it:
{text}"""


@pytest.mark.parametrize(
    "name, schema", [("prediction", prediction_schema(TELCO)), ("dead-letter", dead_letter_schema())]
)
def test_the_schemas_in_docs_are_those_of_the_messages(name, schema):
    text = json.dumps(schema, indent=2) + "\n"
    path = REPOSITORY / "docs" / "schemas" / f"{name}.schema.json"
    assert path.read_text(encoding="utf-8") == text, _WRITE.format(text=text)


@pytest.mark.parametrize("contract", [TELCO, GYM], ids=lambda contract: contract.name)
def test_every_prediction_keeps_its_schema(contract):
    days = [SCORED_AT + timedelta(days=n) for n in range(3)]
    rows = predicted(*({"event_at": day, "churn_probability": n / 2} for n, day in enumerate(days)), contract=contract)
    decoder = msgspec.json.Decoder(prediction_type(contract))
    for _, value, _ in prediction_messages(rows, contract, BATCH):
        assert msgspec.json.encode(decoder.decode(value)) == value


def test_every_dead_letter_keeps_its_schema_and_every_error_type_comes():
    kinds = set()
    for _, value, _ in every_letter():
        decoded = msgspec.json.decode(value, type=DeadLetter)
        assert msgspec.json.encode(decoded) == value
        kinds.add(decoded.error_type)
    assert kinds == set(dead_letter_schema()["$defs"]["DeadLetter"]["properties"]["error_type"]["enum"])


def test_the_page_shows_messages_as_they_are():
    page = (REPOSITORY / "docs" / "messages.md").read_text(encoding="utf-8")
    shown = [block.text for block in blocks(page) if block.language == "text"]
    [prediction] = prediction_messages(predicted({}), GYM, BATCH)
    [dead] = letters().of_rejected(rejected({"plan": "platinum", "months as member": -3}))
    assert shown == [msgspec.json.format(value).decode() + "\n" for _, value, _ in (prediction, dead)]
