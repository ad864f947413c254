"""Every estimator: trained, registered, promoted or kept back, and scored as the estimator itself does."""

import numpy as np
import pytest

from churn_pipeline import runs
from churn_pipeline.kernel.frame import frame
from churn_pipeline_tests.builders import instance_of, score

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "estimator", ["logistic_regression", "gradient_boosting", "hist_gradient_boosting", "random_forest"]
)
def test_an_estimator_is_registered_and_scores_exactly_as_it_does_by_itself(deployment, estimator):
    with instance_of(deployment) as instance:
        trained = runs.train(deployment, None, estimator, instance)
    assert 0.5 < trained.metrics["roc_auc"] <= 1 and set(trained.metrics) >= {"brier", "log_loss", "lift_top_decile"}
    row = score(deployment, model=trained.model_version).row
    assert row.model_version == trained.model_version and row.rows_scored == 200
    registry, store = deployment.model_registry(), deployment.table_store()
    model = registry.resolve("churn_model", trained.model_version, deployment.contract())
    [customers] = store.open("customers").to_arrow().combine_chunks().to_batches()
    direct = registry.load(model).predict_proba(frame(customers, model.inputs))[:, model.positive]
    stored = store.open("churn_predictions").to_pandas(["churn_probability"])["churn_probability"].to_numpy()
    assert np.abs(stored - direct).max() <= 1e-12
