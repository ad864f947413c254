"""The messages that a batch publishes, as their schemas and their page say."""

import json
from datetime import timedelta

import msgspec
import pytest

from churn_pipeline.contract.messages import (
    DeadLetter,
    dead_letter_schema,
    prediction_messages,
    prediction_schema,
    prediction_type,
)
from churn_pipeline_tests.contract.published_rows import (
    BATCH,
    GYM,
    SCORED_AT,
    TELCO,
    every_letter,
    letters,
    predicted,
    rejected,
)
from churn_pipeline_tests.docs.pages import REPOSITORY, blocks

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
