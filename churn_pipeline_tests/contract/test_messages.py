"""The messages that a batch publishes: byte for byte, for every cause."""

import base64
import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_pipeline.contract.columns import rules_of
from churn_pipeline.contract.messages import (
    ContractNotPublishable,
    DeadLetters,
    prediction_columns,
    prediction_messages,
    prediction_type,
)
from churn_pipeline_tests.contract.published_rows import (
    BATCH,
    GYM,
    MEMBER,
    SCORED_AT,
    TELCO,
    letter,
    letters,
    malformed,
    predicted,
    rejected,
    rejected_without_rules,
    unscored,
)

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
