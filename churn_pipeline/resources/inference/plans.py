"""Plans of registered model versions, made and proven once a process.

Belongs here: when a plan is made, where its proof is written down, and versions that are pinned to their estimator.
Does not: making and proving (`kernel/`), the registry.
"""

from __future__ import annotations

import json
import logging
import threading
from importlib.metadata import version as version_of
from typing import Any

import numpy as np

from churn_pipeline.contract.definition import Contract
from churn_pipeline.errors import ModelError
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.kernel.plan import Plan, make_plan
from churn_pipeline.kernel.rows import as_signature, stacked
from churn_pipeline.kernel.score import score
from churn_pipeline.reference_sample import extremes, reference_sample
from churn_pipeline.resources.model_registry import ModelRegistry

#: Tags of a registered version: what it was proven on, and that it must be scored by its estimator.
PROOF, PINNED = "kernel_proof", "kernel_pinned"

#: Customers that two versions are compared on.
_COMPARED = 200

#: Kept with the estimator they were made for, so that no other object can come to have its identity.
_made: dict[tuple[int, ModelVersion, str], Plan] = {}
_lock = threading.Lock()
_log = logging.getLogger(__name__)


class Plans:
    """How each version of a registry is scored, for customers of one contract."""

    def __init__(self, registry: ModelRegistry, contract: Contract) -> None:
        self._registry, self._contract = registry, contract

    def of(self, version: ModelVersion) -> Plan:
        """The plan of a version; a process makes and proves it once.

        Raises:
            RowsDependOnEachOther: the model's rows depend on each other.
        """
        estimator = self._registry.load(version)
        if version.flavour == "spark":
            return Plan(version, estimator, why="it is a Spark ML pipeline")
        tags = self._registry.find(version.name, version.version).tags
        if pinned := tags.get(PINNED):
            return Plan(version, estimator, why=pinned)
        key = id(estimator), version, self._contract.model_dump_json()
        with _lock:
            if key not in _made:
                _made[key] = self._make(version, estimator)
                self._write_down(_made[key], tags.get(PROOF))
            return _made[key]

    def pin(self, version: ModelVersion, reason: str) -> None:
        """Let nothing but its estimator score this version from now on, in any process."""
        self._registry.tag(version.name, version.version, {PINNED: reason})

    def difference(self, one: ModelVersion, other: ModelVersion) -> float:
        """The largest difference of two versions' probabilities over made-up customers of the contract."""
        rows = reference_sample(self._contract, _COMPARED)
        found = [score(rows, self.of(version)).column("churn_probability") for version in (one, other)]
        ours, theirs = (values.to_numpy(zero_copy_only=False) for values in found)
        return float(np.nanmax(np.abs(ours - theirs)))

    def _make(self, version: ModelVersion, estimator: Any) -> Plan:
        sample = as_signature(reference_sample(self._contract, whole_range=True), version.inputs)
        example = self._registry.example(version)
        if example is not None and example.num_rows:
            sample = stacked([as_signature(example, version.inputs), sample])
        return make_plan(version, estimator, sample, extremes(self._contract))

    def _write_down(self, plan: Plan, before: str | None) -> None:
        """Keep the proof with the version, for people: the next process proves it again."""
        said = {"tier": plan.tier, "why": plan.why, "contract": self._contract.name, "scikit-learn": _sklearn()}
        text = json.dumps({**said, "proof": plan.proof.to_json() if plan.proof else None})
        if text == before:
            return
        try:
            self._registry.tag(plan.model.name, plan.model.version, {PROOF: text})
        except ModelError as error:
            _log.warning("The proof of %s could not be kept with it: %s", plan.model, error)


def _sklearn() -> str:
    return version_of("scikit-learn")
