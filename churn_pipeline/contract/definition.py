"""The contract file: what a customer record must look like, read and checked.

Belongs here: the contract's model, its loading, and which columns a table must have. Does not: judging values
(`validation.py` for record batches, `frame_schema.py` for pandas), the JSON Schema (`json_schema.py`).
"""

import difflib
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, Self

import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from churn_pipeline.contract import strict_yaml
from churn_pipeline.errors import ContractError, UsageError

FeatureType = Literal["number", "integer", "category", "boolean", "text"]

#: Arrow type of a column once it was read as what the contract says.
ARROW_TYPES: dict[str, pa.DataType] = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "category": pa.dictionary(pa.int32(), pa.string()),
    "boolean": pa.bool_(),
    "text": pa.string(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}

#: Columns the tables add to a customer's own; a contract may not use them.
RESERVED_COLUMNS = frozenset(
    {
        "amount_at_risk", "backend", "batch_date", "batch_id", "churn_probability", "churned", "error", "error_type",
        "event_at", "failures", "id_bucket", "model_name", "model_version", "prediction", "reasons_down",
        "reasons_up", "record", "rejected_at", "revenue_at_risk", "rules", "scored_at", "source_partition",
        "source_position", "threshold",
    }
)  # fmt: skip


class ContractFileError(UsageError):
    """The contract file itself is missing or malformed."""


class MissingColumn(ContractError):
    """A table lacks columns that the contract asks for."""


class AmbiguousColumn(ContractError):
    """A table has a contract column more than once."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


def _quoted(value: object) -> object:
    """What stands for values of a column: texts, or numbers, which are their digits."""
    if any(isinstance(item, bool) for item in (value if isinstance(value, list) else [value])):
        raise ValueError("YAML reads a bare yes or no as true or false; put these values in quotes")
    return value


class Cleaning(_Strict):
    """Repairs that the contract allows, each counted; whatever is not named here is judged as it stands.

    Attributes:
        trim: remove white space around a text.
        blank_to_null: a text of white space only, or of nothing, is a missing value.
        number_from_text: read a text as a number in sources that know types (Parquet, JSON, data frames).
            In CSV everything is text and every number is read from it.
    """

    trim: bool = False
    blank_to_null: bool = False
    number_from_text: bool = False


class IdColumn(_Strict):
    """Column that names the customer; never null, never a feature."""

    column: str
    description: str
    cleaning: Cleaning = Cleaning()


class LabelColumn(_Strict):
    """Column that says whether the customer left; needed to train, never to score."""

    column: str
    positive: str
    negative: str
    description: str

    _values_are_text = field_validator("positive", "negative", mode="before")(_quoted)


class EventTime(_Strict):
    """Column that says when the record was true: ISO 8601, UTC where it names no zone."""

    column: str
    description: str
    nullable: bool = False


class AmountAtRisk(_Strict):
    """Feature whose value is lost when the customer leaves."""

    feature: str
    unit: str = ""


class Feature(_Strict):
    """One input of the model.

    Attributes:
        type: `number` and `integer` know `min` and `max` (inclusive), `category` needs `allowed`.
        source: name of the column in the customer's file, where it differs from the feature's.
    """

    type: FeatureType
    description: str
    source: str | None = None
    min: float | None = None
    max: float | None = None
    allowed: tuple[str, ...] | None = None
    nullable: bool = False
    cleaning: Cleaning = Cleaning()

    _values_are_text = field_validator("allowed", mode="before")(_quoted)

    @model_validator(mode="after")
    def _rules_fit_the_type(self) -> Self:
        if self.type == "category" and not self.allowed:
            raise ValueError("a category needs 'allowed', the list of its values")
        if self.type != "category" and self.allowed:
            raise ValueError(f"'allowed' belongs to a category, and this is a {self.type}")
        if self.type not in ("number", "integer") and (self.min is not None or self.max is not None):
            raise ValueError(f"'min' and 'max' belong to numbers, and this is a {self.type}")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class Contract(_Strict):
    """What a customer record must look like.

    Attributes:
        name: short name; tables of this contract live in a folder of this name.
        passthrough: features copied onto every prediction row, beside the id.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    description: str
    id: IdColumn
    label: LabelColumn | None = None
    event_time: EventTime | None = None
    amount_at_risk: AmountAtRisk | None = None
    passthrough: tuple[str, ...] = ()
    features: Annotated[dict[str, Feature], Field(min_length=1)]

    @field_validator("features", mode="before")
    @classmethod
    def _names_are_text(cls, value: object) -> object:
        return {str(name): feature for name, feature in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _columns_are_distinct(self) -> Self:
        columns = self.columns(with_label=True)
        if twice := sorted({c for c in columns if columns.count(c) > 1}):
            raise ValueError(f"column {twice[0]!r} is named twice; id, label, event time and features are distinct")
        if taken := sorted(RESERVED_COLUMNS & {self.id.column, *self.features}):
            raise ValueError(f"{taken[0]!r} is a column the tables add themselves; use another name with 'source'")
        for name in [*self.passthrough, *([self.amount_at_risk.feature] if self.amount_at_risk else [])]:
            if name not in self.features:
                raise ValueError(f"{name!r} is not a feature{nearest(name, self.features)}")
        if self.amount_at_risk and self.features[self.amount_at_risk.feature].type not in ("number", "integer"):
            raise ValueError(f"amount_at_risk: {self.amount_at_risk.feature!r} is not a number")
        return self

    @classmethod
    def load(cls, name_or_path: str | Path) -> "Contract":
        """Read a contract file, or one that ships by its name (`telco`).

        Raises:
            ContractFileError: no such file, not YAML, or a field is wrong; names file and field.
        """
        path = _path_of(str(name_or_path))
        found = path.stat()
        return _read(path.absolute(), (found.st_mtime_ns, found.st_size, found.st_ino))

    def columns(self, *, with_label: bool = False) -> list[str]:
        """Columns to read from a source, in order: id, event time, label (training only), features."""
        names = [self.id.column]
        if self.event_time:
            names.append(self.event_time.column)
        if with_label and self.label:
            names.append(self.label.column)
        return names + [feature.source or name for name, feature in self.features.items()]

    def type_of(self, column: str) -> str:
        """Contract type of a source column: a `FeatureType`, or `timestamp` for the event time."""
        if self.event_time and column == self.event_time.column:
            return "timestamp"
        if self.label and column == self.label.column:
            return "category"
        feature = self._by_source.get(column)
        return feature.type if feature else "text"

    def _key_of(self, column: str) -> str:
        """The key of the contract file that says what a source column is called."""
        for key, part in (("id", self.id), ("event_time", self.event_time), ("label", self.label)):
            if part and part.column == column:
                return f"{key}.column"
        return "features.<name>.source"

    @cached_property
    def _by_source(self) -> dict[str, Feature]:
        return {feature.source or name: feature for name, feature in self.features.items()}

    def check_columns(self, present: Sequence[str], where: str, *, with_label: bool = False) -> None:
        """Fail at once when a source lacks a column, or has one twice.

        Args:
            present: the source's column names.
            where: what to call the source in the message.

        Raises:
            MissingColumn: names every missing column and the nearest name present.
            AmbiguousColumn: a contract column appears more than once.
        """
        wanted = self.columns(with_label=with_label)
        missing = [column for column in wanted if column not in present]
        if missing:
            said = ", ".join(f"{column!r}{nearest(column, present)}" for column in missing)
            raise MissingColumn(
                f"{where} has no column {said}. Rename it, or map it in the contract file of {self.name!r} "
                f"under {', '.join(dict.fromkeys(map(self._key_of, missing)))}."
            )
        if twice := [column for column in wanted if list(present).count(column) > 1]:
            raise AmbiguousColumn(f"{where} has column {twice[0]!r} more than once. Keep one of them.")


# A run asks for its contract a dozen times; a contract never changes, but its file may.
@lru_cache(maxsize=16)
def _read(path: Path, mark: tuple[int, ...]) -> Contract:  # noqa: ARG001  the mark is part of the key
    try:
        value = strict_yaml.load(path.read_text(encoding="utf-8"))
    except strict_yaml.KeyTwice as error:
        raise ContractFileError(
            f"The contract names {error.key!r} twice, the second time at line {error.line}. Keep one of them."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise ContractFileError(f"{path} is not readable YAML{line}. Compare it with contracts/telco.yaml.") from None
    if not isinstance(value, dict):
        raise ContractFileError(f"{path} holds no contract: expected name, id and features.")
    try:
        return Contract.model_validate(value)
    except ValidationError as error:
        raise ContractFileError(f"{path}: {_in_words(error)}") from None


def nearest(name: str, names: Iterable[str]) -> str:
    """` (nearest: 'x')` if one of `names` is close to `name`, else nothing."""
    by_lower = {n.lower(): n for n in names}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f" (nearest: {by_lower[found[0]]!r})" if found else ""


def shipped_contracts() -> list[str]:
    """Names of the contracts that come with the package."""
    folder = resources.files("churn_pipeline") / "contracts"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def _path_of(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.is_file():
        return path
    if name_or_path in shipped_contracts():
        return Path(str(resources.files("churn_pipeline") / "contracts" / f"{name_or_path}.yaml"))
    shipped = ", ".join(shipped_contracts())
    raise ContractFileError(
        f"No contract {name_or_path!r}{nearest(name_or_path, shipped_contracts())}: neither a file nor one that "
        f"ships ({shipped}). Copy contracts/telco.yaml and name your own columns."
    )


def _in_words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    known: Iterable[str] = Contract.model_fields
    if len(first["loc"]) > 1:
        known = {**Feature.model_fields, **LabelColumn.model_fields, **IdColumn.model_fields, **Cleaning.model_fields}
    if first["type"] == "extra_forbidden":
        return f"unknown key '{where}'{nearest(str(first['loc'][-1]), known)}."
    if first["type"] == "missing":
        return f"'{where}' is missing."
    said = first["msg"].removeprefix("Value error, ")
    return f"{where}: {said}." if where else f"{said}."
