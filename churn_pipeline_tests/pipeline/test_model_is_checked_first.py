"""Nothing is read before a model is found that can score it."""

import pytest

from churn_pipeline import deployments
from churn_pipeline.definitions import build_defs
from churn_pipeline.resources.model_registry import NoModelYet, UnknownAlias
from churn_pipeline_tests.builders import customer_file, instance_of, score


def test_without_a_model_no_customer_is_read(tmp_path):
    empty = deployments.test(tmp_path / "home", source=str(customer_file(tmp_path / "c.csv", 5)))
    with pytest.raises(NoModelYet, match="churn-pipeline train"):
        score(empty)
    assert empty.table_store().tables() == []


def test_a_run_of_the_ui_reads_nothing_either(tmp_path):
    empty = deployments.test(tmp_path / "home", source=str(customer_file(tmp_path / "c.csv", 5)))
    job = build_defs(empty).resolve_job_def("score_customers")
    with instance_of(empty) as instance:
        result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success and empty.table_store().tables() == []


def test_an_unknown_alias_stops_the_run_and_lists_those_there_are(deployment):
    with pytest.raises(UnknownAlias, match="champion"):
        score(deployment, model="challenger")
    assert deployment.table_store().tables() == []
