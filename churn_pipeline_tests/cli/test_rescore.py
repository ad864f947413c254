"""`rescore`: the same records, another version, history kept."""

import pytest

from churn_pipeline_tests.builders import customer_file
from churn_pipeline_tests.cli.conftest import Shop


@pytest.fixture(scope="module")
def retrained(tmp_path_factory):
    """A home with a scored batch, and a second version that did not take over."""
    folder = tmp_path_factory.mktemp("retrained")
    shop = Shop(folder, customer_file(folder / "customers.csv", 40, seed=2))
    settings = {"MLFLOW_TRACKING_URI": ""}
    for seed in (1, 9):
        training = customer_file(folder / f"training{seed}.csv", 600, seed=seed, label=True)
        assert shop.call("train", training, **settings).exit_code == 0
    batch = shop.value("score", shop.customers, "--model", "1", **settings)["batch_id"]
    return shop, batch, settings


@pytest.mark.slow
def test_a_batch_is_scored_again_by_another_version_and_both_stay(retrained):
    shop, batch, settings = retrained
    said = shop.value("rescore", batch, "--model", "2", **settings)
    assert said["batch_id"] != batch and said["model_version"] == "2" and said["again"] == "churn_model/2"
    assert said["rows_scored"] == 40 and not said["alert_sent"]
    assert {row["batch_id"] for row in shop.value("batches", **settings)} >= {batch, said["batch_id"]}
    # The call list is still the first version's.
    assert {row["model_version"] for row in shop.value("show", **settings)} == {"1"}


@pytest.mark.slow
def test_current_scores_are_replaced_if_that_is_asked_for(retrained):
    shop, batch, settings = retrained
    assert shop.call("rescore", batch, "--model", "2", "--update-current", **settings).exit_code == 0
    assert {row["model_version"] for row in shop.value("show", **settings)} == {"2"}


@pytest.mark.slow
def test_a_batch_that_is_not_there_is_answered_with_the_nearest(retrained):
    shop, batch, settings = retrained
    result = shop.call("rescore", batch[:-1], **settings)
    assert result.exit_code == 2 and f"nearest: '{batch}'" in result.stderr.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a-batch", "--offsets", '{"0": [1, 2]}'], "is for messages of a topic"),
        (["kafka:customers", "--offsets", "[1]"], "names no offsets"),
        (["kafka:customers", "--offsets", '{"0": [1, 2]}', "--since", "2026-11-01"], "leave --since"),
        (["kafka:customers", "--since", "yesterday"], "is no time"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, arguments, said):
    result = Shop(tmp_path, tmp_path / "none.csv").call("rescore", *arguments)
    assert result.exit_code == 2 and said in result.stderr
