"""Which model version scores: the port every registry keeps to, and the registry in memory.

Belongs here: what is checked of a version before a customer is read, in which order, and in which words. Does not:
MLflow (`mlflow_registry.py`), opening the files (`model_loading.py`).
"""

from __future__ import annotations

import logging
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from churn_pipeline.contract.definition import Contract, nearest
from churn_pipeline.errors import ModelError, SparkCannotScore, UsageError
from churn_pipeline.kernel.classes import class_names, positive_class
from churn_pipeline.kernel.model_version import ModelInput, ModelVersion
from churn_pipeline.resources.model_loading import StoredModel, example_batch
from churn_pipeline.resources.model_signature import check_signature

if TYPE_CHECKING:
    import pandas as pd


_log = logging.getLogger(__name__)


class ModelReferenceInvalid(UsageError):
    """What was given as model is neither an alias nor a version."""


class RegisteredModelNotFound(ModelError):
    """The registry has no model of this name."""


class NoModelYet(RegisteredModelNotFound):
    """The registry is empty."""


class UnknownAlias(ModelError):
    """The model has no such alias."""


class UnknownVersion(ModelError):
    """The model has no such version."""


class ThresholdInvalid(ModelError):
    """The registered threshold is not a number between 0 and 1."""


@dataclass(frozen=True)
class Reference:
    """One version of one model, by `alias` or by `version`; the other is None."""

    name: str
    alias: str | None = None
    version: str | None = None

    @classmethod
    def parse(cls, name: str, alias_or_version: str) -> Reference:
        """Read `champion`, `@champion`, `3`, `name@champion`, `name/3`, `models:/name@champion` or `models:/name/3`.

        Raises:
            ModelReferenceInvalid: it is none of these.
        """
        text = str(alias_or_version).strip().removeprefix("models:/")
        match = re.fullmatch(r"(?:(?P<name>[^@/:]+)(?P<by>[@/])|@)?(?P<which>[\w-]+)", text)
        if not match or (match["by"] == "/" and not match["which"].isdigit()):
            raise ModelReferenceInvalid(
                f"{alias_or_version!r} names no model version. Write an alias such as 'champion', "
                f"a version number such as '3', or 'models:/{name}@champion'."
            )
        which = match["which"]
        is_version = which.isdigit() and not text.startswith("@") and match["by"] != "@"
        return cls(match["name"] or name, None if is_version else which, which if is_version else None)


@dataclass(frozen=True)
class RegisteredVersion:
    """What the registry knows of a version without opening it."""

    name: str
    version: str
    run_id: str
    tags: Mapping[str, str]
    description: str = ""
    alias: str | None = None

    def __str__(self) -> str:
        return f"Model {self.name}{f'@{self.alias}' if self.alias else ''} (version {self.version})"


class ModelRegistry(ABC):
    """Where registered models live.

    Attributes:
        location: for people: the registry's URI without credentials.
    """

    location: str

    def resolve(
        self, name: str, alias_or_version: str, contract: Contract, *, may_fall_back: bool = False
    ) -> ModelVersion:
        """Resolve an alias to a version once, and prove that the version can score customers of this contract.

        Looks it up, compares contract and signature, loads it, finds threshold and churn column, scores the stored
        example; reads no customer. Tags of the version: `threshold` (default 0.5) and `positive_class`, and for a
        Spark ML pipeline `fallback_version`.

        Args:
            alias_or_version: see `Reference.parse`.
            may_fall_back: where Spark cannot score, take the version that the tag `fallback_version` names.

        Raises:
            ModelError: one error a cause; see docs/errors.md.
        """
        found = self.find(name, alias_or_version)
        try:
            return self._resolved(found, contract)
        except SparkCannotScore as error:
            other = found.tags.get("fallback_version")
            if not may_fall_back or other is None:
                raise
            _log.warning("%s is scored by version %s in its place: %s", found, other, error)
            version = self._resolved(self.find(name, other), contract)
            return replace(version, alias=found.alias, stands_in_for=f"version {found.version}: {error.cause}")

    def fallback_of(self, version: ModelVersion, contract: Contract) -> ModelVersion | None:
        """The version that would stand in for this one where Spark cannot score; None if its tags name none.

        Raises:
            ModelError: that version cannot score customers of this contract.
        """
        other = self.find(version.name, version.version).tags.get("fallback_version")
        return None if other is None else self._resolved(self.find(version.name, other), contract)

    def _resolved(self, found: RegisteredVersion, contract: Contract) -> ModelVersion:
        stored = self._stored(found)
        inputs = check_signature(contract, stored)
        threshold = _threshold(found)
        estimator = stored.load()
        classes, tagged = getattr(estimator, "classes_", None), found.tags.get("positive_class")
        wanted = tagged if tagged is not None else (contract.label.positive if contract.label else None)
        positive = positive_class(classes, wanted, only_wanted=tagged is not None)
        stored.check_example(estimator)
        return ModelVersion(
            name=found.name,
            version=found.version,
            uri=f"models:/{found.name}/{found.version}",
            run_id=found.run_id,
            flavour=stored.flavour,
            inputs=inputs,
            threshold=threshold,
            classes=class_names(classes),
            positive=positive,
            alias=found.alias,
        )

    def load(self, version: ModelVersion) -> Any:
        """The estimator of a resolved version: by the process's cache, else read again by name and version."""
        found = self.find(version.name, version.version)
        return self._stored(found).load()

    def example(self, version: ModelVersion) -> pa.RecordBatch | None:
        """Customers that were stored with a version, in its signature's types; None if there are none."""
        return self._stored(self.find(version.name, version.version)).example

    def reference_share(self, version: ModelVersion) -> float | None:
        """Share of the holdout that the version predicted to churn; None if nobody registered it."""
        text = self.find(version.name, version.version).tags.get("reference_share")
        return None if text is None else float(text)

    def page(self, version: ModelVersion) -> str:
        """Where a person finds the version: its page on an MLflow server, else its URI."""
        if self.location.startswith("http"):
            return f"{self.location.rstrip('/')}/#/models/{version.name}/versions/{version.version}"
        return version.uri

    @abstractmethod
    def find(self, name: str, alias_or_version: str) -> RegisteredVersion:
        """Look a version up, quickly and without opening it.

        Raises:
            RegistryUnreachable, NoModelYet, RegisteredModelNotFound, UnknownAlias, UnknownVersion
        """

    @abstractmethod
    def register(
        self,
        name: str,
        estimator: Any,
        *,
        inputs: tuple[ModelInput, ...],
        example: pd.DataFrame,
        tags: Mapping[str, str],
        description: str,
        run: Any,
    ) -> str:
        """Keep a fitted estimator as a new version, under no alias.

        Args:
            inputs: the signature, in the order of the estimator's columns.
            example: some rows the estimator can score.
            run: the open run of `experiment_tracking.py` that made it.

        Returns:
            The version.
        """

    @abstractmethod
    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias stand for a version; takes effect at once for whoever resolves it next."""

    @abstractmethod
    def version_of_alias(self, name: str, alias: str) -> str | None:
        """Version an alias stands for; None without such a model or alias."""

    @abstractmethod
    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version."""

    @abstractmethod
    def _stored(self, found: RegisteredVersion) -> StoredModel:
        """The version as it is kept; its `open` reads the files once a process."""


class InMemoryRegistry(ModelRegistry):
    """Models of this process: for tests and trials, by the same rules."""

    location = "memory"

    def __init__(self) -> None:
        self._versions: dict[str, list[tuple[RegisteredVersion, StoredModel]]] = {}
        self._aliases: dict[tuple[str, str], str] = {}

    def find(self, name: str, alias_or_version: str) -> RegisteredVersion:
        reference = Reference.parse(name, alias_or_version)
        aliases = {alias: version for (model, alias), version in self._aliases.items() if model == reference.name}
        require_model(reference.name, list(self._versions), self.location)
        version = reference.version or require_alias(reference, aliases)
        found = [item for item, _ in self._versions[reference.name] if item.version == version]
        if not found:
            raise unknown_version(reference.name, version, str(len(self._versions[reference.name])))
        return replace(found[0], alias=reference.alias)

    def register(
        self,
        name: str,
        estimator: Any,
        *,
        inputs: tuple[ModelInput, ...],
        example: pd.DataFrame,
        tags: Mapping[str, str],
        description: str,
        run: Any,
    ) -> str:
        kept = self._versions.setdefault(name, [])
        found = RegisteredVersion(name, str(len(kept) + 1), run.mlflow_run_id, dict(tags), description)
        rows = example_batch({item.name: example[item.name].tolist() for item in inputs}, inputs)
        stored = StoredModel(str(found), "sklearn", inputs, open=lambda: estimator, example=rows)
        kept.append((found, stored))
        return found.version

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._aliases[name, alias] = self.find(name, version).version

    def version_of_alias(self, name: str, alias: str) -> str | None:
        return self._aliases.get((name, alias))

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        found, stored = self._versions[name][int(version) - 1]
        self._versions[name][int(version) - 1] = replace(found, tags={**found.tags, **tags}), stored

    def _stored(self, found: RegisteredVersion) -> StoredModel:
        return self._versions[found.name][int(found.version) - 1][1]


def require_model(name: str, names: Sequence[str], location: str) -> None:
    """Raise `NoModelYet` or `RegisteredModelNotFound` unless `name` is one of `names`."""
    if not names:
        raise NoModelYet(
            f"There is no model yet in the registry {location}. Train one with `churn-pipeline train FILE`, "
            "or run `make demo`."
        )
    if name not in names:
        known = ", ".join(sorted(names)[:10])
        raise RegisteredModelNotFound(
            f"The registry {location} has no model {name!r}{nearest(name, names)}. It has: {known}."
        )


def require_alias(reference: Reference, aliases: Mapping[str, str]) -> str:
    """The version an alias stands for, or `UnknownAlias`."""
    alias = reference.alias or ""
    if alias not in aliases:
        known = ", ".join(f"{a} (version {v})" for a, v in sorted(aliases.items())) or "none"
        raise UnknownAlias(
            f"Model {reference.name} has no alias {alias!r}{nearest(alias, aliases)}. Aliases it has: {known}. "
            "Name one of them or a version number, or set the alias in MLflow."
        )
    return aliases[alias]


def unknown_version(name: str, version: str, newest: str) -> UnknownVersion:
    """The error for a version that is not there."""
    return UnknownVersion(f"Model {name} has no version {version}. Its newest is {newest}.")


def _threshold(found: RegisteredVersion) -> float:
    text = found.tags.get("threshold", "0.5")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise ThresholdInvalid(
            f"The tag threshold of {found} is {text!r}. Set it to the probability, between 0 and 1, "
            "from which a customer counts as leaving."
        )
    return value
