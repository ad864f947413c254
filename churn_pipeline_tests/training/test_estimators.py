import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from churn_pipeline.contract.definition import ARROW_TYPES
from churn_pipeline.kernel.frame import frame
from churn_pipeline.training.estimators import ESTIMATORS, UnknownEstimator, pipeline, signature
from churn_pipeline.training.fitting import split
from churn_pipeline_tests.training.gym_members import GYM, members

pytestmark = pytest.mark.slow


def test_the_signature_follows_the_contract_and_a_nullable_integer_is_a_double():
    assert [(item.name, item.type, item.required) for item in signature(GYM)] == [
        ("fee", "double", True),
        ("visits", "double", False),
        ("plan", "string", True),
        ("coached", "boolean", False),
        ("city", "string", False),
    ]


def one_member(**values):
    known = {"fee": 30.0, "visits": 4, "plan": "year", "coached": True, "city": "a", **values}
    return pa.RecordBatch.from_pydict(
        {item.name: pa.array([known[item.name]], ARROW_TYPES[GYM.features[item.name].type]) for item in signature(GYM)}
    )


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_estimator_scores_what_it_never_saw_and_what_is_missing(name, complete):
    table = members()
    if complete:
        table = table.filter(pc.and_(pc.is_valid(table["coached"]), pc.is_valid(table["visits"])))
    rows = split(table, GYM, signature(GYM))
    fitted = pipeline(GYM, name).fit(rows.train, rows.train_churned)
    for strange in ({}, {"plan": "decade", "city": "nowhere", "fee": 1e9}, dict.fromkeys(GYM.features)):
        found = fitted.predict_proba(frame(one_member(**strange), signature(GYM)))
        assert found.shape == (1, 2)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_same_customers_and_seed_give_the_same_model_in_whatever_order(name):
    first, again = members(), members().take(np.random.default_rng(1).permutation(400))
    scores = []
    for table in (first, again):
        rows = split(table, GYM, signature(GYM))
        fitted = pipeline(GYM, name, seed=3).fit(rows.train, rows.train_churned)
        scores.append(fitted.predict_proba(frame(first.combine_chunks().to_batches()[0], signature(GYM)))[:, 1])
    assert np.array_equal(*scores)


def test_a_mistyped_estimator_names_the_nearest():
    with pytest.raises(UnknownEstimator, match=r"nearest: 'random_forest'"):
        pipeline(GYM, "random_forrest")
