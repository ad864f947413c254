import copy

import pyarrow as pa
import pytest
import yaml
from pydantic import ValidationError

from churn_pipeline.contract.definition import (
    ARROW_TYPES,
    RESERVED_COLUMNS,
    AmbiguousColumn,
    Contract,
    ContractFileError,
    MissingColumn,
    nearest,
    shipped_contracts,
)
from churn_pipeline.errors import ContractError, UsageError

SMALL = {
    "name": "gym",
    "description": "Members of a gym.",
    "id": {"column": "member", "description": "Names the member."},
    "label": {"column": "left", "positive": "yes", "negative": "no", "description": "Whether they left."},
    "event_time": {"column": "seen_at", "description": "When the record was true."},
    "features": {
        "visits": {"type": "integer", "min": 0, "description": "Visits a month.", "source": "Visits / month"},
        "plan": {"type": "category", "allowed": ["day", "night"], "description": "Plan."},
    },
}


@pytest.fixture
def load(tmp_path):
    """Load a contract made of `SMALL` and changes to it; a path like `features.plan.type` sets one value."""

    def changed(**changes):
        value = copy.deepcopy(SMALL)
        for path, new in changes.items():
            *parents, last = path.split("__")
            place = value
            for parent in parents:
                place = place[parent]
            if new is None:
                del place[last]
            else:
                place[last] = new
        return written(yaml.safe_dump(value, sort_keys=False))

    def written(text):
        file = tmp_path / "gym.yaml"
        file.write_text(text, encoding="utf-8")
        return Contract.load(file)

    changed.text = written
    return changed


def test_the_contract_that_ships_has_nineteen_features_and_a_sentence_a_column():
    telco = Contract.load("telco")
    assert shipped_contracts() == ["telco"]
    assert len(telco.features) == 19
    described = [telco, telco.id, telco.label, *telco.features.values()]
    assert all(item.description.endswith(".") and len(item.description) > 10 for item in described)
    assert len({feature.description for feature in telco.features.values()}) == 19


def test_a_blank_total_is_cleaned_by_the_contract_that_ships():
    total = Contract.load("telco").features["TotalCharges"]
    assert total.nullable
    assert total.cleaning.blank_to_null
    assert total.cleaning.number_from_text


def test_anyone_can_bring_a_contract_of_their_own(load):
    gym = load()
    assert gym.columns() == ["member", "seen_at", "Visits / month", "plan"]
    assert [gym.type_of(c) for c in gym.columns()] == ["text", "timestamp", "integer", "category"]
    assert gym.type_of("left") == "category"


def test_every_type_has_an_arrow_type(load):
    for kind in ("number", "integer", "boolean", "text"):
        gym = load(features__plan={"type": kind, "description": "A column."})
        assert isinstance(ARROW_TYPES[gym.type_of("plan")], pa.DataType)


def test_the_label_is_read_to_train_and_never_to_score(load):
    gym = load()
    assert "left" not in gym.columns()
    assert "left" in gym.columns(with_label=True)
    gym.check_columns(["member", "seen_at", "Visits / month", "plan"], "members.csv")
    with pytest.raises(MissingColumn, match="'left'"):
        gym.check_columns(["member", "seen_at", "Visits / month", "plan"], "members.csv", with_label=True)


def test_a_contract_needs_neither_label_nor_event_time_nor_amount(load):
    gym = load(label=None, event_time=None)
    assert gym.columns(with_label=True) == ["member", "Visits / month", "plan"]
    assert gym.amount_at_risk is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"featurs": {}}, r"unknown key 'featurs' \(nearest: 'features'\)"),
        ({"features__plan__allowd": ["x"]}, r"unknown key 'features\.plan\.allowd' \(nearest: 'allowed'\)"),
        ({"id__colum": "x"}, r"unknown key 'id\.colum' \(nearest: 'column'\)"),
        ({"features__plan__cleaning": {"trimm": True}}, r"'features\.plan\.cleaning\.trimm' \(nearest: 'trim'\)"),
        ({"id": None}, "'id' is missing"),
        ({"features__plan__description": None}, r"'features\.plan\.description' is missing"),
        ({"features": {}}, "features: .*at least 1"),
        ({"name": "My Gym"}, "name: "),
        ({"label__positive": True}, "label.positive: YAML reads a bare yes or no .* put these values in quotes"),
        ({"features__plan__allowed": ["a", False]}, "plan.allowed: YAML reads a bare yes or no .* in quotes"),
        ({"features__plan__type": "categorical"}, r"features\.plan\.type: .*'category'"),
    ],
)
def test_a_wrong_field_is_named_with_the_file(load, changes, said):
    with pytest.raises(ContractFileError, match=rf"gym\.yaml: .*{said}"):
        load(**changes)


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        ({"type": "category"}, "a category needs 'allowed'"),
        ({"type": "category", "allowed": []}, "a category needs 'allowed'"),
        ({"type": "number", "allowed": ["1"]}, "'allowed' belongs to a category, and this is a number"),
        ({"type": "text", "min": 1}, "'min' and 'max' belong to numbers, and this is a text"),
        ({"type": "boolean", "max": 1}, "'min' and 'max' belong to numbers, and this is a boolean"),
        ({"type": "integer", "min": 3, "max": 2}, "min 3 is above max 2"),
    ],
)
def test_a_rule_that_does_not_fit_the_type_is_an_error(load, feature, said):
    with pytest.raises(ContractFileError, match=rf"features\.plan: {said}"):
        load(features__plan={"description": "A column.", **feature})


@pytest.mark.parametrize("taken", ["batch_id", "churn_probability", "scored_at"])
def test_a_feature_or_id_cannot_be_called_as_a_column_the_tables_add(load, taken):
    assert taken in RESERVED_COLUMNS
    with pytest.raises(ContractFileError, match=f"'{taken}' is a column the tables add themselves"):
        load(**{f"features__{taken}": {"type": "text", "description": "A column."}})
    with pytest.raises(ContractFileError, match=f"'{taken}' is a column the tables add themselves"):
        load(id__column=taken)


def test_a_source_column_may_be_called_so_as_long_as_the_feature_is_not(load):
    assert "batch_id" in load(features__plan__source="batch_id").columns()


@pytest.mark.parametrize(
    "changes",
    [
        {"id__column": "plan"},
        {"label__column": "plan"},
        {"event_time__column": "member"},
        {"features__plan__source": "Visits / month"},
    ],
    ids=["id is a feature", "label is a feature", "event time is the id", "two features from one column"],
)
def test_one_column_cannot_be_two_things(load, changes):
    with pytest.raises(ContractFileError, match="is named twice; id, label, event time and features are distinct"):
        load(**changes)


def test_the_amount_at_risk_and_passthrough_are_features(load):
    assert load(amount_at_risk={"feature": "visits"}, passthrough=["plan"]).passthrough == ("plan",)
    with pytest.raises(ContractFileError, match=r"'visit' is not a feature \(nearest: 'visits'\)"):
        load(amount_at_risk={"feature": "visit"})
    with pytest.raises(ContractFileError, match=r"'plans' is not a feature \(nearest: 'plan'\)"):
        load(passthrough=["plans"])
    with pytest.raises(ContractFileError, match="amount_at_risk: 'plan' is not a number"):
        load(amount_at_risk={"feature": "plan"})


def test_values_that_yaml_reads_as_numbers_are_texts(load):
    gym = load(features__plan__allowed=[1, 2])
    assert gym.features["plan"].allowed == ("1", "2")
    assert list(load(features={2024: {"type": "number", "description": "A year."}}).features) == ["2024"]


def test_an_unquoted_yes_or_no_among_the_allowed_values_is_an_error_and_not_another_word(load):
    with pytest.raises(ContractFileError, match=r"features\.plan\.allowed"):
        load.text(yaml.safe_dump(SMALL, sort_keys=False).replace("- day", "- yes"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no contract"),
        ("- a list", "holds no contract"),
        ("name: [", "is not readable YAML at line 1"),
        ("name: a\n\tid: b", "is not readable YAML at line 2"),
    ],
)
def test_a_file_that_is_no_contract_says_where(load, text, said):
    with pytest.raises(ContractFileError, match=rf"gym\.yaml {said}"):
        load.text(text)


def test_a_file_that_is_not_text_is_an_error(tmp_path):
    (tmp_path / "gym.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ContractFileError, match=r"gym\.yaml is not readable YAML"):
        Contract.load(tmp_path / "gym.yaml")


def test_a_contract_that_is_not_there_names_those_that_ship():
    with pytest.raises(ContractFileError, match=r"No contract 'telko' \(nearest: 'telco'\).*ships \(telco\)"):
        Contract.load("telko")


def test_a_missing_column_is_named_with_the_nearest_one_present(load):
    with pytest.raises(MissingColumn) as raised:
        load().check_columns(["Member", "seen_at", "visits", "unrelated"], "members.csv")
    assert "members.csv has no column 'member' (nearest: 'Member')" in str(raised.value)
    assert "'Visits / month'" in str(raised.value)
    assert "'plan'." in str(raised.value)
    assert str(raised.value).endswith("under id.column, features.<name>.source.")
    with pytest.raises(MissingColumn, match=r"under event_time\.column, label\.column\.$"):
        load().check_columns(["member", "Visits / month", "plan"], "members.csv", with_label=True)


def test_a_column_that_is_there_twice_is_an_error_only_if_the_contract_needs_it(load):
    columns = ["member", "seen_at", "Visits / month", "plan"]
    load().check_columns([*columns, "note", "note"], "members.csv")
    with pytest.raises(AmbiguousColumn, match=r"members\.csv has column 'plan' more than once"):
        load().check_columns([*columns, "plan"], "members.csv")


def test_columns_may_come_in_any_order_and_with_others(load):
    load().check_columns(["plan", "extra", "Visits / month", "left", "member", "seen_at"], "members.csv")


def test_nearest_ignores_case_and_says_nothing_where_nothing_is_near():
    assert nearest("TENURE", ["tenure", "Contract"]) == " (nearest: 'tenure')"
    assert nearest("zebra", ["tenure", "Contract"]) == ""
    assert nearest("zebra", []) == ""


def test_a_wrong_contract_is_wrong_usage_and_a_wrong_table_is_a_broken_contract():
    assert issubclass(ContractFileError, UsageError)
    assert issubclass(MissingColumn, ContractError)
    assert issubclass(AmbiguousColumn, ContractError)


def test_a_contract_cannot_be_changed_once_it_is_loaded(load):
    with pytest.raises(ValidationError, match="frozen"):
        load().name = "other"
