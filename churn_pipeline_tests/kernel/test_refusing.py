"""Columns that a selector drops: what a transformer before it refuses is refused all the same."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import SelectKBest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.score import score
from churn_pipeline_tests.kernel.foreign_models import INPUTS, _filled, _logistic, labels, members
from churn_pipeline_tests.kernel.forests.test_plans_of_trees import _put
from churn_pipeline_tests.kernel.test_plan import plan_of

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("kept", [1, 2])
def test_what_an_encoder_refuses_is_refused_where_a_selector_drops_all_that_it_makes(kept):
    train = members(1_500, seed=1)
    strict = OneHotEncoder(handle_unknown="error", sparse_output=False)
    front = ColumnTransformer([("words", strict, ["plan"]), ("numbers", _filled(), ["visits", "months"])])
    chosen = SelectKBest(lambda x, _: np.arange(x.shape[1]), k=kept)
    estimator = make_pipeline(front, chosen, _logistic()).fit(frame(train, INPUTS), labels(train))
    plan = plan_of(estimator)
    assert plan.tier == "linear"
    batch = _put(members(4, seed=2), "plan", pa.array(["basic", "never seen", "day", "new today"]))
    scored = score(batch, plan)
    assert scored.column("prediction").is_null().to_pylist() == [False, True, False, True]
    assert "plan is 'new today'" in scored.column("error")[3].as_py()
    assert plan.tables.one(batch.slice(1, 1).to_pylist()[0]) is None
    assert plan.tables.one(batch.slice(2, 1).to_pylist()[0]) is not None


def test_a_missing_number_is_refused_where_a_selector_that_refuses_it_drops_its_column():
    numbers = ["visits", "months"]  # of which none may be missing
    train = members(1_500, seed=1)
    front = ColumnTransformer([("numbers", "passthrough", numbers)])
    estimator = make_pipeline(front, SelectKBest(k=1), _logistic()).fit(frame(train, INPUTS), labels(train))
    plan = plan_of(estimator)
    assert plan.tier == "linear"
    dropped = numbers[int(not estimator[1].get_support()[1])]
    scored = score(_put(members(2, seed=2), dropped, pa.array([None, 3], members(1).column(dropped).type)), plan)
    assert scored.column("prediction").is_null().to_pylist() == [True, False]
