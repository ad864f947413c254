"""What a run asks of its scoring step."""

import pytest

from churn_pipeline.assets.scoring_step import reasons_asked


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({}, 2),
        ({"ops": {"score_customers_of_batch": {"config": {"backend": "sklearn"}}}}, 2),
        ({"ops": {"score_customers_of_batch": {"config": {"reasons": 0}}}}, 0),
        ({"ops": {"score_customers_of_batch": {"config": {"reasons": 5}}}}, 5),
    ],
)
def test_what_a_run_says_of_reasons_wins_over_the_setting(config, most):
    assert reasons_asked(config, 2) == most
