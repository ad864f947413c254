"""Messages decoded by their shape, and one by one: random ones, most of them ordinary, come out alike."""

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_pipeline.contract.definition import Cleaning, Contract
from churn_pipeline.contract.rows import SourceRows
from churn_pipeline.resources.customer_sources.json_messages import JsonMessages
from churn_pipeline.resources.customer_sources.json_objects import is_spaced, object_in
from churn_pipeline.resources.customer_sources.typed_columns import from_values, rows_of, wanted_columns
from churn_pipeline.resources.topics.base import Messages
from churn_pipeline_tests.resources.customer_sources import shops
from churn_pipeline_tests.resources.customer_sources.telco_messages import (
    FIRST,
    TELCO,
    TIME_OF_FIRST,
    judged,
    messages,
    record,
)

_NUMBERS = [0, 1, -1, 1.0, 7.5, 1e300, 2**53 + 1, 2**63, 2**64, -(2**70)]
_TEXTS = ["", " ", "1", "1.0", "0x10", "Yes", " No ", "small", "NaN", "true", 'a":1', ":", "é", "2024-05-01T10:00Z"]
_OTHERS = [None, True, False, [], [1], {}, {"a": 1}, [{"a": {"b": []}}]]
_NO_RECORDS = st.sampled_from([None, b"", b"{}", b"null", b"[]", b'{"a":1}{"a":1}', b'{"a":NaN}', b'{"a":1e999}'])
_WAYS = [*["plain"] * 5, "value", "value", "key", "lacking", "order", "spaces", "escapes", "twice", "damage", "none"]

EVERY_TYPE = shops.CONTRACT.model_copy(
    update={"id": shops.CONTRACT.id.model_copy(update={"cleaning": Cleaning(trim=True)})}
)


@st.composite
def _record(draw: st.DrawFn, contract: Contract) -> dict[str, Any]:
    found = record() if contract is TELCO else dict(shops.SHOPS[0])
    found[contract.id.column] = draw(st.sampled_from(["a", "a", " a", "b", "7", 7]))
    for name, feature in contract.features.items():
        if feature.allowed:
            found[feature.source or name] = draw(st.sampled_from(feature.allowed))
    return found


@st.composite
def _message(draw: st.DrawFn, contract: Contract) -> bytes | None:
    found, way = draw(_record(contract)), draw(st.sampled_from(_WAYS))
    column = draw(st.sampled_from(contract.columns()))
    if way == "none":
        return draw(_NO_RECORDS)
    if way in ("value", "key"):
        key = column if way == "value" else draw(st.sampled_from(["more", "x:y", 'q"']))
        found[key] = draw(st.sampled_from([*_NUMBERS, *_TEXTS, *_OTHERS]))
    if way == "lacking":
        del found[column]
    if way == "order":
        found = dict(reversed(found.items()))
    separators = (" ,\n", " : ") if way == "spaces" else (",", ":")
    text = json.dumps(found, separators=separators, ensure_ascii=False).encode()
    if way == "escapes":
        return text.replace(b'"s', b'"\\u0073').replace(b'"t', b'"\\u0074')
    if way == "twice":
        return text[:-1] + b"," + json.dumps({column: found[column]}, separators=separators).encode()[1:]
    if way == "damage":
        at = draw(st.integers(0, len(text)))
        return text[:at] + draw(st.binary(max_size=2)) + text[at + draw(st.integers(0, 2)) :]
    return text


def _one_by_one(given: Messages, contract: Contract) -> tuple[SourceRows, dict[int, str]]:
    """Rows as single objects and columns of plain values make them; offset → rule of what is no object."""
    values = dict(zip(given.offsets, given.values, strict=True))
    objects = {offset: object_in(value, spaced=is_spaced(value)) for offset, value in values.items() if value}
    records = {offset: found for offset, found in objects.items() if isinstance(found, dict)}
    broken = {offset: found for offset, found in objects.items() if isinstance(found, str)}
    broken |= {o: "tombstone" if value is None else "empty_message" for o, value in values.items() if not value}
    columns = {
        wanted.name: from_values([found.get(wanted.name) for found in records.values()], wanted)
        for wanted in wanted_columns(contract, with_label=False)
    }
    times = pa.array([TIME_OF_FIRST + offset - FIRST for offset in records], pa.timestamp("ms", "UTC"))
    rows = rows_of(columns, f"{given.topic}/{given.partition}", list(records))
    return replace(rows, raw=[values[offset] or b"" for offset in records], times=times), broken


def _verdicts(found: list[SourceRows], contract: Contract) -> tuple[dict[int, Any], dict[int, Any]]:
    """Offset → customer; offset → what a rejected row is kept with.

    Left out is how a value is shown: a column of several kinds writes 30 for 30.0.
    """
    parts = judged(found, contract)
    faults = {
        row["source_position"]: (
            row[contract.id.column],
            [(failure["rule"], failure["column"]) for failure in row["failures"]],
            row["raw"],
            row["source_time"],
        )
        for part in parts
        for row in part.rejected.to_pylist()
        if row["failures"][0]["column"]
    }
    return {row["source_position"]: row for part in parts for row in part.customers.to_pylist()}, faults


@pytest.mark.parametrize("contract", [TELCO, EVERY_TYPE], ids=["telco", "every type"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_which_way_a_message_was_decoded_shows_in_nothing(contract: Contract, data: st.DataObject):
    reader = JsonMessages(contract)
    for _ in range(data.draw(st.integers(1, 3))):
        given_messages = messages(*data.draw(st.lists(_message(contract), min_size=1, max_size=10)))
        found = list(reader.rows(given_messages))
        reference, broken = _one_by_one(given_messages, contract)
        assert _verdicts(found, contract) == _verdicts([reference], contract)
        assert {line.position: line.rule for part in found for line in part.broken} == broken
        for name, places in _places(found, contract).items():
            assert places == sorted(places), name


def _places(found: list[SourceRows], contract: Contract) -> dict[str, list[int]]:
    """Id → offsets of its customers, in the order in which they are written."""
    places: dict[str, list[int]] = {}
    for part in judged(found, contract):
        for row in part.customers.to_pylist():
            places.setdefault(row[contract.id.column], []).append(row["source_position"])
    return places
