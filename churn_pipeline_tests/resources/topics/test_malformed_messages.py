"""Every way of spoiling a message makes one that the reader and the contract reject, and no neighbour of it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.validation import validate
from churn_pipeline.resources.customer_sources.json_messages import JsonMessages
from churn_pipeline.resources.topics.base import Messages
from churn_pipeline.resources.topics.malformed_messages import (
    IN_COLUMN,
    IN_ENVELOPE,
    IN_MESSAGE,
    message,
    variants,
)
from churn_pipeline.sample import sample

TELCO = Contract.load("telco")
#: A column of every kind, with and without bounds, nullable and not, cleaned and not.
EVERY_KIND = {
    "name": "every_kind",
    "description": "One column of each kind.",
    "id": {"column": "id", "description": "d"},
    "event_time": {"column": "at", "description": "d"},
    "features": {
        "plain": {"type": "number", "description": "d"},
        "bounded": {"type": "number", "min": -5, "max": 1e12, "nullable": True, "description": "d"},
        "cleaned": {
            "type": "number",
            "nullable": True,
            "cleaning": {"trim": True, "blank_to_null": True, "number_from_text": True},
            "description": "d",
        },
        "whole": {"type": "integer", "min": 0, "description": "d"},
        "whole_from_text": {"type": "integer", "cleaning": {"number_from_text": True}, "description": "d"},
        "flag": {"type": "boolean", "description": "d"},
        "maybe_flag": {"type": "boolean", "nullable": True, "description": "d"},
        "word": {"type": "category", "allowed": ["yes", "YES", "no"], "description": "d"},
        "digits": {"type": "category", "allowed": ["1", "2"], "nullable": True, "description": "d"},
        "trimmed": {"type": "category", "allowed": ["a"], "cleaning": {"trim": True}, "description": "d"},
        "note": {"type": "text", "description": "d"},
    },
}


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory) -> Contract:
    path: Path = tmp_path_factory.mktemp("contract") / "every_kind.yaml"
    path.write_text(yaml.safe_dump(EVERY_KIND), encoding="utf-8")
    return Contract.load(path)


def rejected(contract: Contract, envelope: str | None, values: list[bytes | None]) -> list[int]:
    """Which of the messages are rejected."""
    messages = Messages("t", 0, range(len(values)), [1] * len(values), values)
    found = [
        row["source_position"]
        for rows in JsonMessages(contract, envelope=envelope).rows(messages)
        for row in validate(rows, contract, datetime.now(UTC)).rejected.to_pylist()
    ]
    return sorted(found)


@pytest.mark.parametrize("envelope", [None, "payload", "payload.after"])
@pytest.mark.parametrize("name", ["telco", "every_kind"])
def test_every_variant_is_rejected_alone_whatever_the_record(name, envelope, every_kind):
    contract = TELCO if name == "telco" else every_kind
    records = sample(contract, 3, seed=7).to_pylist()
    good = [message(record, envelope) for record in records]
    for variant in variants(contract, envelope):
        spoilt = [variant.spoil(record, envelope) for record in records]
        values = [value for pair in zip(good, spoilt, strict=True) for value in pair]
        assert rejected(contract, envelope, values) == [1, 3, 5], variant.name
    assert rejected(contract, envelope, good) == []


def test_every_way_breaks_some_column_of_a_contract_that_has_every_kind(every_kind):
    used = {variant.name.partition(":")[0] for variant in variants(every_kind, "payload")}
    assert used == {*IN_MESSAGE, *IN_ENVELOPE, *IN_COLUMN}


def test_there_are_hundreds_of_variants_no_two_of_them_alike():
    record = sample(TELCO, 1).to_pylist()[0]
    found = variants(TELCO)
    assert len({variant.name for variant in found}) == len({v.spoil(record, None) for v in found}) == len(found) > 400
