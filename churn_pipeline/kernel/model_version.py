"""Which model scores: an alias resolved once, as a value that can stand on every row.

Belongs here: the value and how it is written down. Does not: the registry that resolves it
(`resources/model_registry.py`), the estimator itself (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class ModelInput:
    """One column of the model's signature.

    Attributes:
        type: MLflow's name: `double`, `float`, `long`, `integer`, `boolean`, `string`.
        required: False where the column may be missing a value.
    """

    name: str
    type: str
    required: bool = True


@dataclass(frozen=True)
class ModelVersion:
    """One version of a registered model.

    Attributes:
        name: registered name.
        version: version number, as text as MLflow has it.
        uri: `models:/name/version`; loads exactly this version.
        run_id: the MLflow run that made it, or empty.
        flavour: `sklearn` or `spark`.
        inputs: the signature, in the order the estimator was fitted with.
        threshold: a customer with this probability or more is predicted to churn.
        classes: `classes_` of the estimator as text; empty if it has no list of classes.
        positive: column of `predict_proba` that is the probability of churn.
        alias: what was asked for, where it was an alias.
        stands_in_for: the version that was asked for and why it cannot score, where this is another one.
    """

    name: str
    version: str
    uri: str
    run_id: str
    flavour: str
    inputs: tuple[ModelInput, ...]
    threshold: float
    classes: tuple[str, ...]
    positive: int
    alias: str | None = None
    stands_in_for: str = ""

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        inputs = tuple(ModelInput(**item) for item in value["inputs"])
        return cls(**{**value, "inputs": inputs, "classes": tuple(value["classes"])})
