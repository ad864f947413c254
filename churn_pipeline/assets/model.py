"""`churn_model`: the registered model as one version, resolved once a run.

Belongs here: fetching and wrapping. Does not: the registry (`resources/`), training (`training.py`).
"""

from typing import Any

import dagster as dg
from pydantic import Field

from churn_pipeline.assets.defaults import RunDefaults
from churn_pipeline.assets.scored_ahead import Expected, ScoredAhead
from churn_pipeline.assets.scoring_step import SCORING_STEP, reasons_asked, scoring_config
from churn_pipeline.contract.definition import Contract
from churn_pipeline.kernel.explanations.reasons import explanation_of
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.resources.inference.choice import Inference
from churn_pipeline.resources.model_registry import ModelRegistry
from churn_pipeline.resources.run_processes import this_process


class ChurnModelConfig(dg.Config):
    """Which version scores."""

    alias_or_version: str | None = Field(None, description="Alias such as champion, or a version number.")


@dg.asset(
    # Reads nothing of it: the lineage is whole, and materialising everything trains before it resolves.
    deps=["trained_model"],
    group_name="model",
    io_manager_key="model_versions",
    owners=["team:data-science"],
    kinds={"mlflow", "scikitlearn"},
    code_version="1",
    # First of a run: nothing is read before a model is found that can score it (see `customers`).
    op_tags={"dagster/priority": "1"},
)
def churn_model(
    context: dg.AssetExecutionContext,
    config: ChurnModelConfig,
    model_registry: dg.ResourceParam[ModelRegistry],
    inference: dg.ResourceParam[Inference],
    contract: dg.ResourceParam[Contract],
    defaults: dg.ResourceParam[RunDefaults],
    scored_ahead: dg.ResourceParam[ScoredAhead],
) -> dg.MaterializeResult[ModelVersion]:
    """The model version that scores: its alias resolved once, held against the contract, its example scored."""
    # First thing in a run, so that one that is killed is not taken for one that goes on.
    context.instance.add_run_tags(context.run.run_id, this_process())
    asked = config.alias_or_version or defaults.alias
    version = model_registry.resolve(defaults.model_name, asked, contract, may_fall_back=inference.may_fall_back)
    context.log.info("%s is %s, threshold %.3g.", asked, version, version.threshold)
    if most := reasons_asked(context.run.run_config, defaults.reasons):
        explanation_of(inference.plan(version))
    if SCORING_STEP in [node.name for node in context.job_def.nodes]:
        backend = scoring_config(context.run.run_config).get("backend") or defaults.backend
        scored_ahead.expected = Expected(version, most, lambda rows: inference.choose(backend, rows, version))
    # The version is the data: `champion` moving to another one makes everything below stale.
    return dg.MaterializeResult(
        value=version,
        data_version=dg.DataVersion(f"{version.name}/{version.version}"),
        metadata={
            "model_name": version.name,
            "model_version": version.version,
            "model_uri": version.uri,
            "asked_for": asked,
            **({"stands_in_for": version.stands_in_for} if version.stands_in_for else {}),
            **_stand_in(version, model_registry, inference, contract),
            "mlflow_run_id": version.run_id,
            "mlflow": _link(model_registry.page(version)),
            "threshold": version.threshold,
            "classes": ", ".join(version.classes) or "unnamed",
            "churn_class": version.classes[version.positive] if version.classes else "second column",
            "features": len(version.inputs),
        },
    )


def _stand_in(
    version: ModelVersion, registry: ModelRegistry, inference: Inference, contract: Contract
) -> dict[str, Any]:
    """What would stand in for a Spark ML pipeline, and how far it differs, found out while both can score."""
    other = registry.fallback_of(version, contract) if version.flavour == "spark" else None
    if other is None:
        return {}
    return {"fallback_version": other.version, "fallback_difference": inference.difference(version, other)}


def _link(page: str) -> dg.MetadataValue:
    return dg.MetadataValue.url(page) if page.startswith("http") else dg.MetadataValue.text(page)
