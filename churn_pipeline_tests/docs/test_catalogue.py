"""What the documentation lists is what there is: errors, settings, exit codes, rules, keys, columns, layers, links."""

import configparser
import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import BaseModel

import churn_pipeline
from churn_pipeline import errors
from churn_pipeline.assets.prediction_rows import predictions_schema, unscored_schema
from churn_pipeline.cli.app import EXIT_CODES
from churn_pipeline.contract.columns import UNREADABLE
from churn_pipeline.contract.definition import (
    AmountAtRisk,
    Cleaning,
    Contract,
    EventTime,
    Feature,
    IdColumn,
    LabelColumn,
    shipped_contracts,
)
from churn_pipeline.contract.validation import customers_schema, rejected_schema
from churn_pipeline.definitions import defs
from churn_pipeline.deployments import Settings
from churn_pipeline.deployments.kafka_settings import KafkaSettings
from churn_pipeline.deployments.spark_settings import ClusterSettings
from churn_pipeline.errors import ChurnPipelineError
from churn_pipeline.ledger import LEDGER_SCHEMA
from churn_pipeline.resources.customer_sources.duplicates import POLICIES
from churn_pipeline_tests.docs.pages import (
    REPOSITORY,
    anchors,
    blocks,
    links,
    name_of,
    pages,
    prose,
    table_rows,
)

TELCO = Contract.load("telco")
EVERY_PAGE = [*pages(), REPOSITORY / "CHANGELOG.md"]


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def listed(page: str, first_column: str, column: int = 0) -> list[str]:
    """Cells of a table's column, without code marks."""
    rows = table_rows(text_of(page), first_column)
    assert rows, f"{page} has no table whose first column is {first_column!r}"
    return [row[column].replace("`", "") for row in rows]


def words(cells: Iterable[str]) -> set[str]:
    return {word.strip() for cell in cells for word in cell.split(",")}


def every_error() -> set[type[ChurnPipelineError]]:
    """All that modules of the package define, the families left out."""
    for module in pkgutil.walk_packages(churn_pipeline.__path__, "churn_pipeline."):
        importlib.import_module(module.name)
    found, left = set[type[ChurnPipelineError]](), [ChurnPipelineError]
    while left:
        kinds = left.pop().__subclasses__()
        left += kinds
        found |= {kind for kind in kinds if kind.__module__.startswith("churn_pipeline.")}
    return {kind for kind in found if kind.__module__ != errors.__name__}


# --- errors


def test_every_error_has_an_entry_below_its_family_and_no_entry_is_of_an_error_that_is_gone():
    entries: dict[str, str] = {}
    family = ""
    for marks, heading in re.findall(r"^(##|###) (.+)$", text_of("docs/errors.md"), re.MULTILINE):
        family = heading if marks == "##" else family
        entries |= {heading: family} if marks == "###" else {}
    assert entries == {kind.__name__: _family_heading(kind) for kind in every_error()}


def _family_heading(kind: type[ChurnPipelineError]) -> str:
    family = next(base for base in kind.__mro__ if ChurnPipelineError in base.__bases__)
    return f"{(family.__doc__ or '').rstrip('.')} (exit code {kind.exit_code})"


def test_every_entry_says_what_it_means_for_the_data_and_what_to_do():
    _, *entries = re.split(r"^### ", text_of("docs/errors.md"), flags=re.MULTILINE)
    lacking = [entry.split("\n")[0] for entry in entries if "**Data:**" not in entry or "**Do:**" not in entry]
    assert not lacking


def test_entries_are_in_the_order_of_the_alphabet():
    for section in re.split(r"^## ", text_of("docs/errors.md"), flags=re.MULTILINE):
        names = re.findall(r"^### (.+)$", section, re.MULTILINE)
        assert names == sorted(names)


def test_the_exit_codes_are_those_of_the_command_line():
    rows = table_rows(text_of("docs/operations.md"), "code")
    assert {int(code): meaning for code, meaning in rows} == EXIT_CODES


# --- settings

#: Pages that list settings of their own.
SETTINGS_OF = {"docs/kafka.md": KafkaSettings, "docs/spark.md": ClusterSettings}


@pytest.mark.parametrize("page", ["README.md", *SETTINGS_OF])
def test_the_settings_that_are_listed_are_those_there_are(page: str):
    rows = [[cell.replace("`", "") for cell in row] for row in table_rows(text_of(page), "variable")]
    assert rows == [
        [field.metadata["variable"], field.default, field.metadata["sentence"]]
        for name, field in Settings.__dataclass_fields__.items()
        if page == next((other for other, kind in SETTINGS_OF.items() if hasattr(kind, name)), "README.md")
    ]


def test_every_variable_that_a_page_names_is_a_setting():
    known = {field.metadata["variable"] for field in Settings.__dataclass_fields__.values()}
    for page in EVERY_PAGE:
        named = set(re.findall(r"\bCHURN_[A-Z_]+\b", page.read_text(encoding="utf-8")))
        assert named <= known, name_of(page)


# --- contract and sources


@pytest.mark.parametrize(
    ("first_column", "models"),
    [
        ("key", [Contract]),
        ("key of part", [IdColumn, LabelColumn, EventTime, AmountAtRisk]),
        ("key of feature", [Feature]),
        ("key of cleaning", [Cleaning]),
    ],
)
def test_every_key_of_a_contract_is_explained(first_column: str, models: list[type[BaseModel]]):
    keys = {key for model in models for key in model.model_fields}
    assert set(listed("docs/contract.md", first_column)) == keys


def test_every_rule_of_a_value_is_explained_and_every_rule_explained_is_one():
    rules = set(listed("docs/contract.md", "rule"))
    source = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "churn_pipeline").rglob("*.py"))
    assert set(UNREADABLE.values()) <= rules
    assert [rule for rule in rules if f'"{rule}"' not in source] == []


def test_the_policies_on_duplicates_are_those_there_are():
    assert listed("docs/sources.md", "policy") == list(POLICIES)


@pytest.mark.parametrize("path", sorted((REPOSITORY / "docs" / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_example_contracts_are_sound(path: Path):
    assert Contract.load(path).name not in shipped_contracts()


# --- tables, jobs, layers


@pytest.mark.parametrize(
    ("table", "schema"),
    [
        ("rejected_customers", rejected_schema(TELCO)),
        ("churn_predictions", predictions_schema(TELCO)),
        ("unscored_customers", unscored_schema(TELCO)),
        ("scored_batches", LEDGER_SCHEMA),
    ],
)
def test_every_column_of_a_table_is_explained(table: str, schema: pa.Schema):
    assert listed("docs/tables.md", f"column of {table}") == schema.names


def test_the_columns_of_customers_are_id_features_and_those_explained():
    own = {TELCO.id.column, *TELCO.features}
    assert listed("docs/tables.md", "column of customers") == [n for n in customers_schema(TELCO).names if n not in own]


def test_every_job_schedule_and_sensor_is_listed():
    there = [*(defs.jobs or []), *(defs.schedules or []), *(defs.sensors or [])]
    assert set(listed("docs/operations.md", "name")) == {item.name for item in there}


def test_the_layers_are_those_of_the_import_law():
    law = configparser.ConfigParser()
    law.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    layers = law["importlinter:contract:layers"]["layers"].split("\n")
    lawful = [set(re.split(r" [:|] ", layer)) for layer in layers if layer]
    assert [words([cell]) for cell in listed("docs/architecture.md", "layer, from the top")] == lawful


def test_every_port_and_every_thing_that_stands_behind_it_exists():
    source = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "churn_pipeline").rglob("*.py"))
    for row in table_rows(text_of("docs/architecture.md"), "port"):
        for name in re.findall(r"`(\w+)`", " ".join(row)):
            assert re.search(rf"^class {name}\b", source, re.MULTILINE), name


# --- pages


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_links_lead_somewhere(page: Path):
    for link in links(page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} points to {link}"
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{name_of(page)} points to {link}"


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_a_page_has_one_title_and_names_no_machine(page: Path):
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^# ", prose(text), re.MULTILINE)) == 1
    assert not re.search(r"(?<![\w.])/(home|root|work|Users|tmp|private|mnt)/", text)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=name_of)
def test_commands_stand_where_they_are_run(page: Path):
    text = page.read_text(encoding="utf-8")
    found = blocks(text)
    assert text.count("```") == 2 * len(found), f"{name_of(page)} has a block that nobody sees"
    for block in found:
        assert block.language in ("console", "python", "text", "yaml"), f"{name_of(page)}:{block.line}"
        assert block.language != "console" or list(block.commands())


def test_every_page_of_docs_is_in_its_index():
    there = {page.name for page in (REPOSITORY / "docs").glob("*.md")} - {"README.md"}
    assert there == {link.partition("#")[0] for link in links(text_of("docs/README.md"))}


def test_files_of_the_repository_that_a_page_names_exist():
    roots = (REPOSITORY, REPOSITORY / "churn_pipeline")
    for page in EVERY_PAGE:
        for path in re.findall(r"`((?:[\w.-]+/)+[\w.-]*)`", prose(page.read_text(encoding="utf-8"))):
            homes = [root for root in roots if (root / path.split("/")[0]).is_dir() and not path.startswith("data/")]
            assert not homes or any((root / path).exists() for root in homes), f"{name_of(page)} names {path}"
