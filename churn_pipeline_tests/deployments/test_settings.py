"""Settings: what is said of a wrong one, before anything is done with it."""

import pytest

from churn_pipeline.deployments import SettingInvalid, Settings


@pytest.mark.parametrize(("given", "most"), [({}, 0), ({"CHURN_REASONS": ""}, 0), ({"CHURN_REASONS": "3"}, 3)])
def test_reasons_are_off_until_a_number_asks_for_them(given, most):
    assert Settings.from_environment(given).reasons_on_a_row() == most


@pytest.mark.parametrize("value", ["three", "-1", "1.5", "²"])
def test_reasons_that_are_no_count_are_refused_by_the_name_of_their_variable(value):
    with pytest.raises(SettingInvalid, match=r"CHURN_REASONS is '.*'\. Write how many"):
        Settings.from_environment({"CHURN_REASONS": value})
