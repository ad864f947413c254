"""Shapes of messages: what a decoder that was learned from one message takes, and what it must not take."""

import json
from typing import Any

import msgspec
import pytest

from churn_pipeline.contract.columns import rules_of
from churn_pipeline.resources.customer_sources.message_shapes import MessageShape, codes_of, shape_of
from churn_pipeline_tests.resources.customer_sources.telco_messages import TELCO, record, written

RULES = rules_of(TELCO)


def shape(message: dict[str, Any], envelope: str | None = None) -> MessageShape:
    found = shape_of(message, RULES, envelope)
    assert found is not None
    return found


def takes(found: MessageShape, message: dict[str, Any]) -> bool:
    try:
        found.decode(json.dumps(message).encode())
    except msgspec.DecodeError:
        return False
    return True


def test_a_shape_takes_messages_with_just_its_keys_in_any_order():
    known = shape(record(source="web"))
    assert takes(known, record(source=None))
    assert takes(known, dict(reversed(record(source=1.5).items())))
    assert not takes(known, record())
    assert not takes(known, record(source="web", more=1))


@pytest.mark.parametrize("value", [1, 1.0, "7", None, True, [1], {"a": 1}])
def test_a_shape_takes_of_an_integer_column_what_is_a_number(value):
    assert takes(shape(record()), record(tenure=value)) == (type(value) in (int, float))


def test_a_shape_takes_null_and_numbers_as_text_where_the_contract_does():
    assert takes(shape(record()), record(TotalCharges=None))
    assert takes(shape(record()), record(TotalCharges=" 12.5 "))
    assert not takes(shape(record()), record(MonthlyCharges="12.5"))
    assert not takes(shape(record()), record(MonthlyCharges=None))


def test_a_shape_takes_of_a_category_what_is_allowed():
    assert takes(shape(record()), record(Partner="No"))
    assert not takes(shape(record()), record(Partner="no"))


def test_keys_outside_the_contract_hold_scalars_lists_of_them_or_the_same_objects():
    known = shape(record(tags=["a"], meta={"v": 1, "by": {"name": "x"}}))
    assert takes(known, record(tags=[], meta={"by": {"name": None}, "v": "2"}))
    assert not takes(known, record(tags=[[]], meta={"v": 1, "by": {"name": "x"}}))
    assert not takes(known, record(tags=[{}], meta={"v": 1, "by": {"name": "x"}}))
    assert not takes(known, record(tags=[], meta={"v": 1, "by": {}}))


def test_columns_come_in_the_contracts_order_and_those_that_are_lacking_are_missing():
    message = dict(reversed(record(customerID="c7", tenure=9).items()))
    del message["TotalCharges"]
    known = shape(message)
    columns = dict(
        zip([r.source for r in RULES], known.columns([known.decode(json.dumps(message).encode())]), strict=True)
    )
    assert list(columns["customerID"]) == ["c7"]
    assert list(columns["tenure"]) == [9]
    assert list(columns["TotalCharges"]) == [None]


def test_no_messages_are_columns_of_no_values():
    assert [list(values) for values in shape(record()).columns([])] == [[] for _ in RULES]


def test_the_record_of_an_envelope_has_the_columns():
    known = shape({"op": "c", "after": record(), "tenure": 5}, "after")
    assert known.keys == 3 + len(record())
    (ids, *_) = known.columns([known.decode(b'{"op":"u","tenure":"any","after":' + written(customerID="c8") + b"}")])
    assert list(ids) == ["c8"]
    deeper = shape({"payload": {"op": "c", "after": record()}, "schema": None}, "payload.after")
    assert deeper.keys == 4 + len(record())
    (ids, *_) = deeper.columns([deeper.decode(b'{"schema":1,"payload":{"op":"u","after":' + written() + b"}}")])
    assert list(ids) == ["c"]


def test_there_is_no_shape_without_a_column_that_must_be_there():
    message = record()
    del message["tenure"]
    assert shape_of(message, RULES, None) is None


@pytest.mark.parametrize("key", ['a"b', "a\\b", "a\nb"])
def test_there_is_no_shape_for_a_key_that_cannot_be_known_by_name(key: str):
    assert shape_of(record(**{key: 1}), RULES, None) is None


@pytest.mark.parametrize("key", ["", "é", "f0", "Message", "a:b", "class", "__init__", "x" * 1000])
def test_any_other_key_may_stand_beside_the_contracts(key: str):
    assert takes(shape(record(**{key: 1})), record(**{key: 2}))


@pytest.mark.parametrize(
    "twice",
    [
        written()[:-1] + b',"tenure":2}',
        written()[:-1] + b',"tenure" :2}',
        written()[:-1] + b',"tenure"\n:2}',
        b'{"\\u0074enure":2,' + written()[1:],
        written(Partner="Yes")[:-1] + b',"Partner":"No"}',
    ],
)
def test_a_key_that_comes_twice_is_never_missed(twice: bytes):
    known = shape(record())
    known.decode(twice)
    assert known.may_have_key_twice([written(), twice, written()]) == [False, True, False]


def test_a_key_twice_is_not_missed_because_the_example_had_an_object_in_a_column_of_the_contract():
    known = shape(record(tenure={"months": 1}))
    assert known.may_have_key_twice([written()[:-1] + b',"tenure":2}']) == [True]


def test_colons_in_texts_and_spaces_before_those_of_keys_raise_no_doubt():
    known = shape(record(at="2026-01-01T00:00:00"))
    assert known.may_have_key_twice([written(at="10:00:00"), written(at="11:00")]) == [False, False]
    assert known.may_have_key_twice([written(at="none").replace(b'":', b'" :')]) == [False]
    assert known.may_have_key_twice([]) == []


def test_a_text_that_looks_like_a_key_raises_doubt_about_its_own_message_only():
    known = shape(record(at="10:00"))
    assert known.may_have_key_twice([written(at="10:00"), written(at=':"'), written(at='":')]) == [False, True, True]


def test_an_integer_is_as_good_as_the_text_of_a_category():
    assert codes_of(["0", "1", "01", "x"]) == {"0": 0, "1": 1, "01": 2, "x": 3, 0: 0, 1: 1}
