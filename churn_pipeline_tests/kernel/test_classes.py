from unittest.mock import MagicMock

import numpy as np
import pytest

from churn_pipeline.kernel.classes import ClassesUnclear, class_names, positive_class


@pytest.mark.parametrize(
    ("classes", "wanted", "column"),
    [
        (["No", "Yes"], "Yes", 1),
        (np.array(["Churned", "Stayed"]), "Churned", 0),
        (["no", "yes"], "Yes", 1),
        (np.array([0, 1]), "Yes", 1),
        (np.array([0.0, 1.0]), None, 1),
        (np.array([False, True]), None, 1),
        (np.array([1, 0]), None, 0),
        (np.array([0, 1]), "0", 0),
        (np.array([0.0, 1.0]), "1", 1),
        (["A", "a"], "a", 1),
    ],
)
def test_the_churn_column_is_found_by_name_or_because_it_is_the_one_of_zero_and_one(classes, wanted, column):
    assert positive_class(classes, wanted) == column


@pytest.mark.parametrize("classes", [None, MagicMock(), "ab"])
def test_an_estimator_without_a_list_of_classes_counts_its_second_column(classes):
    assert positive_class(classes, "Yes") == 1
    assert class_names(classes) == ()


def test_classes_of_which_none_is_churn_ask_for_the_tag():
    with pytest.raises(ClassesUnclear, match=r"'Churned', 'Stayed'.*'Yes' is none of them.*tag positive_class"):
        positive_class(["Churned", "Stayed"], "Yes")
    with pytest.raises(ClassesUnclear):
        positive_class([0, 1, 2], None)


def test_a_class_that_was_stated_for_this_model_is_not_guessed_around():
    with pytest.raises(ClassesUnclear, match="'Churn' is none of them"):
        positive_class([0, 1], "Churn", only_wanted=True)
