"""The code location as Dagster loads it: complete, light, and without anything deprecated."""

import os
import subprocess
import sys
import warnings

import dagster as dg
import pytest

from churn_pipeline import deployments, jobs
from churn_pipeline.definitions import build_defs, defs
from churn_pipeline_tests.builders import ephemeral_instance

TABLES = {"training_customers", *jobs.TABLES}
HEAVY = (
    "mlflow",
    "pandas",
    "sklearn",
    "dagster_mlflow",
    "pandera",
    "skops",
    "apprise",
    "pyspark",
    "confluent_kafka",
    "shap",
)


def _nodes():
    graph = defs.resolve_asset_graph()
    return {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}


def test_the_definitions_are_loadable():
    dg.Definitions.validate_loadable(defs)


@pytest.mark.parametrize("name", sorted(_nodes()))
def test_every_asset_says_what_it_is_and_whose(name):
    node = _nodes()[name]
    assert node.description and node.owners and node.kinds and node.group_name != "default"
    assert node.code_version or node.is_external


@pytest.mark.parametrize("table", sorted(TABLES))
def test_every_table_has_a_blocking_check(table):
    checks = defs.resolve_asset_graph().asset_check_keys
    mine = [key for key in checks if key.asset_key.to_user_string() == table]
    blocking = [key for key in mine if defs.resolve_asset_graph().get(key).blocking]
    assert blocking, f"{table} has {len(mine)} checks, none of them blocking"


def test_checks_are_predicates_that_start_with_their_table():
    for key in defs.resolve_asset_graph().asset_check_keys:
        assert key.name.startswith(key.asset_key.to_user_string())


def test_scoring_leaves_training_out():
    job = defs.resolve_job_def("score_customers")
    assert not {"training_customers", "trained_model"} & {
        key.to_user_string() for key in job.asset_layer.executable_asset_keys
    }


def test_schedules_are_off_until_somebody_turns_them_on():
    for name in ("score_daily", "maintain_daily"):
        assert defs.resolve_schedule_def(name).default_status is dg.DefaultScheduleStatus.STOPPED


def test_maintenance_sweeps_old_snapshots_of_queries_with_the_values_of_old_runs(tmp_path):
    deployment = deployments.test(tmp_path / "home")
    old = [tmp_path / "home" / place / "telco" / "old" for place in ("snapshots", "runs")]
    for folder in (*old, *(path.with_name("new") for path in old)):
        folder.mkdir(parents=True)
    for folder in old:
        os.utime(folder, (0, 0))
    job = jobs.code_location(deployment.resources()).resolve_job_def("maintain_tables")
    assert job.execute_in_process(instance=ephemeral_instance()).success
    assert [path.name for path in sorted((tmp_path / "home").glob("*/telco/*"))] == ["new", "new"]


def test_building_definitions_warns_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dg.Definitions.validate_loadable(build_defs(deployments.test(tmp_path)))


def test_importing_the_definitions_imports_nothing_heavy_and_reads_no_environment():
    code = (
        "import os; os.environ.clear(); import sys, churn_pipeline.definitions; "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_override_replaces_a_role_without_patching(tmp_path):
    marker = object()
    built = build_defs(deployments.test(tmp_path), progress=marker)
    assert built.resources is not None and built.resources["progress"] is marker
