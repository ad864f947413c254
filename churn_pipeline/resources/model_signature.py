"""Does a model take what the contract gives?

Belongs here: comparing a signature with a contract, before any customer is read. Does not: where the signature comes
from (`model_loading.py`), making one for training (`training/estimators.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from churn_pipeline.contract.definition import Contract, nearest
from churn_pipeline.errors import ModelError
from churn_pipeline.kernel.model_version import ModelInput
from churn_pipeline.kernel.plan import UnusableModel
from churn_pipeline.resources.model_loading import StoredModel

#: Contract type → types of the signature that can hold it.
_FITTING = {
    "number": ("double", "float"),
    "integer": ("long", "integer", "double", "float"),
    "category": ("string",),
    "text": ("string",),
    "boolean": ("boolean",),
}


class SignatureMissing(ModelError):
    """The model version does not say which columns it takes."""


class ContractMismatch(UnusableModel):
    """The model takes other features than the contract gives."""


def check_signature(contract: Contract, stored: StoredModel) -> tuple[ModelInput, ...]:
    """Compare what the model takes with what the contract gives.

    Returns:
        The model's inputs.

    Raises:
        SignatureMissing: the model does not name its columns.
        ContractMismatch: lists every difference, one sentence each.
    """
    if not stored.inputs:
        raise SignatureMissing(
            f"{stored.said} has no signature with named columns, so nobody can tell what it takes. "
            "Log it again with signature=mlflow.models.infer_signature(frame)."
        )
    problems = list(_differences(contract, stored.inputs))
    if problems:
        raise ContractMismatch(
            f"{stored.said} does not fit contract {contract.name!r}: {' '.join(problems)} "
            "Choose another version, train one on this contract, or correct the contract file."
        )
    return stored.inputs


def _differences(contract: Contract, inputs: Sequence[ModelInput]) -> Iterator[str]:
    taken = {item.name for item in inputs}
    for item in inputs:
        feature = contract.features.get(item.name)
        if feature is None:
            hint = nearest(item.name, contract.features.keys() - taken)
            yield f"The model takes {item.name!r}, which the contract does not give{hint}."
        elif item.type not in _FITTING[feature.type]:
            yield f"The model takes {item.name!r} as {item.type}, and the contract gives a {feature.type}."
    for name in contract.features:
        if name not in taken:
            yield f"The contract gives {name!r}, which the model does not take{nearest(name, taken)}."
