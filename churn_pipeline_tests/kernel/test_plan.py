"""Plans: whatever was registered is scored as its estimator scores it, by the fastest tier that was proven."""

import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import AdaBoostClassifier, StackingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    StandardScaler,
)

from churn_pipeline.kernel import structure
from churn_pipeline.kernel.compilation import available
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline.kernel.proof import RowsDependOnEachOther
from churn_pipeline.kernel.score import score
from churn_pipeline_tests.kernel.foreign_models import (
    EXTREMES,
    INPUTS,
    MODELS,
    WORDS,
    _logistic,
    fitted,
    labels,
    members,
    version,
)

pytestmark = pytest.mark.filterwarnings("ignore")

#: Enough to see every kind of evaluator; the others run with the slow tests.
_QUICK = ("logistic", "boosted", "calibrated_svc", "hist_categories", "feature_class", "function_over_all")


def plan_of(estimator, **options):
    return make_plan(version(), estimator, members(1_000, seed=9), EXTREMES, **options)


def probabilities(batch, plan):
    return score(batch, plan).column("churn_probability").to_numpy(zero_copy_only=False)


def strange(n: int) -> pa.RecordBatch:
    """Members with words nobody knows, missing numbers and numbers out of any range."""
    rng = np.random.default_rng(3)
    batch = members(n, seed=4)
    odd = {
        "plan": pa.array([None if i % 7 == 0 else f"plan {i % 90}" for i in range(n)]).dictionary_encode(),
        "visits": pa.array(rng.integers(0, 9_000, n)),
        "spend": pa.array([None if i % 5 == 0 else float(10 ** (i % 12)) for i in range(n)]),
        "age": pa.array([float("nan") if i % 6 == 0 else i / 3 for i in range(n)]),
    }
    for name, values in odd.items():
        batch = batch.set_column(batch.schema.get_field_index(name), name, values)
    return batch


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow) for name in MODELS]
)
def test_any_model_is_scored_as_its_estimator_scores_it(name):
    estimator = fitted(name)
    expected = MODELS[name][1:]
    for compiled in (False, True) if available() else (False,):
        plan = plan_of(estimator, compiled=compiled)
        assert plan.tier == expected[compiled], plan.why
        for batch in (members(3_000, seed=5), strange(500)):
            wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
            found = probabilities(batch, plan)
            assert not np.isnan(found).any()
            assert np.abs(found - wanted).max() <= 1e-12
            assert ((found >= 0.5) == (wanted >= 0.5)).all()


@pytest.mark.parametrize("name", _QUICK)
def test_a_plan_that_was_sent_to_another_process_says_the_same(name):
    plan = plan_of(fitted(name))
    sent = cloudpickle.loads(cloudpickle.dumps(plan))
    for batch in (members(500, seed=5), strange(500)):
        assert (probabilities(batch, sent) == probabilities(batch, plan)).all()
    assert (sent.tier, sent.proof) == (plan.tier, plan.proof)


def test_the_first_class_may_be_the_one_that_is_wanted():
    estimator = fitted("voting")
    plan = make_plan(version(positive=0), estimator, members(1_000, seed=9), EXTREMES)
    batch = members(500, seed=5)
    assert plan.tables is not None
    assert np.abs(probabilities(batch, plan) - estimator.predict_proba(frame(batch, INPUTS))[:, 0]).max() <= 1e-12


def test_a_value_the_model_refuses_leaves_exactly_its_rows_unscored_and_names_column_and_value():
    train = members(1_500, seed=1)
    front = ColumnTransformer([("w", OneHotEncoder(), WORDS), ("n", "passthrough", ["visits", "months"])])
    estimator = make_pipeline(front, _logistic()).fit(frame(train, INPUTS), labels(train))
    plan = plan_of(estimator)
    batch = members(300, seed=5)
    words = batch.column("plan").cast(pa.string()).to_pylist()
    words[7], words[150], words[299] = "gold", "gold", None
    batch = batch.set_column(1, "plan", pa.array(words).dictionary_encode())
    scored = score(batch, plan)
    assert plan.tier == "linear"
    assert [i for i, p in enumerate(scored.column("churn_probability").to_pylist()) if p is None] == [7, 150, 299]
    assert scored.column("error_type")[7].as_py() == "ValueError"
    assert "plan is 'gold'" in scored.column("error")[7].as_py()
    assert "plan is missing" in scored.column("error")[299].as_py()


def test_a_new_value_after_the_proof_is_scored_as_the_estimator_scores_it():
    estimator = fitted("boosted")
    plan = plan_of(estimator)
    for round_ in range(3):
        names = pa.array([f"new {round_} {i % 11}" for i in range(200)]).dictionary_encode()
        batch = members(200, seed=round_).set_column(2, "city", names)
        wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
        assert np.abs(probabilities(batch, plan) - wanted).max() <= 1e-12
    assert plan.tier == "masks"


def test_numbers_no_customer_has_are_left_to_the_estimator():
    estimator = fitted("boosted")
    batch = members(10, seed=1)
    huge = pa.array([1e300, -1e300, float("inf"), *batch.column("months").to_pylist()[3:]])
    scored = score(batch.set_column(7, "months", huge), plan_of(estimator))
    # scikit-learn's trees compute in float32 and refuse what is infinite there.
    assert [p is None for p in scored.column("churn_probability").to_pylist()] == [True] * 3 + [False] * 7


def test_a_model_whose_rows_depend_on_each_other_is_named_as_defective():
    train = members(1_500, seed=1)
    centred = FunctionTransformer(lambda rows: rows - rows.mean())
    front = ColumnTransformer([("n", centred, ["visits", "months"]), ("w", OneHotEncoder(), ["plan"])])
    estimator = make_pipeline(front, _logistic()).fit(frame(train, INPUTS), labels(train))
    with pytest.raises(RowsDependOnEachOther, match="in other company"):
        plan_of(estimator)


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize(
    "classifier",
    [
        CalibratedClassifierCV(AdaBoostClassifier(n_estimators=5, random_state=0), cv=2),
        StackingClassifier([("a", AdaBoostClassifier(n_estimators=5, random_state=0)), ("l", _logistic())], cv=2),
    ],
)
def test_weighted_trees_below_another_model_are_read_whichever_class_is_wanted(classifier, positive):
    train = members(1_500, seed=1)
    front = ColumnTransformer([("n", StandardScaler(), ["visits", "months"]), ("w", OneHotEncoder(), ["plan"])])
    estimator = make_pipeline(front, classifier).fit(frame(train, INPUTS), labels(train))
    plan = make_plan(version(positive=positive), estimator, members(1_000, seed=9), EXTREMES)
    batch = members(500, seed=5)
    wanted = estimator.predict_proba(frame(batch, INPUTS))[:, positive]
    assert plan.tier in ("linear", "masks")
    assert np.abs(probabilities(batch, plan) - wanted).max() <= 1e-12
    row = batch.slice(0, 1).select([item.name for item in INPUTS]).to_pylist()[0]
    assert plan.tables is not None and abs((plan.tables.one(row) or np.nan) - wanted[0]) <= 1e-12


def test_a_stack_with_trees_on_top_is_not_taken_apart_as_a_rounding_below_could_turn_it_over():
    assert isinstance(structure.read(fitted("stacked_trees"), 1), structure.Leaf)


def test_a_plan_says_why_nothing_faster_scores():
    class Numbers(TransformerMixin, BaseEstimator):
        def fit(self, rows, y=None):
            return self

        def transform(self, rows):
            return rows[["visits", "months"]].to_numpy(float)

    train = members(1_500, seed=1)
    estimator = make_pipeline(Numbers(), _logistic()).fit(frame(train, INPUTS), labels(train))
    said = "Numbers may combine any columns of the customer; Numbers makes no frame with a name for each column"
    assert str(plan_of(estimator)) == f"the estimator itself: {said}"


def test_a_model_that_scores_none_of_the_made_up_customers_is_left_as_it_is():
    class Refusing:
        classes_ = np.array([0, 1])

        def predict_proba(self, rows):
            raise ValueError("no")

    assert str(plan_of(Refusing())) == "the estimator itself: it scores none of the customers made up to try it"


def test_a_matrix_is_filled_block_by_block(monkeypatch):
    monkeypatch.setattr("churn_pipeline.kernel.matrix._BLOCK", 64)
    estimator = fitted("network")
    plan = plan_of(estimator)
    assert plan.tier == "matrix"
    for batch in (members(64, seed=5), strange(200)):
        wanted = estimator.predict_proba(frame(batch, INPUTS))[:, 1]
        assert np.abs(probabilities(batch, plan) - wanted).max() <= 1e-12


def test_a_column_of_more_words_than_can_be_coded_goes_to_the_estimator(monkeypatch):
    monkeypatch.setattr("churn_pipeline.kernel.codes.MOST_CODES", 200)
    estimator = fitted("logistic")
    plan = plan_of(estimator)
    names = pa.array([f"town {i}" for i in range(400)]).dictionary_encode()
    batch = members(400, seed=5).set_column(2, "city", names)
    for _ in range(2):
        assert np.abs(probabilities(batch, plan) - estimator.predict_proba(frame(batch, INPUTS))[:, 1]).max() <= 1e-12


def test_a_proof_covers_every_break_point_and_its_neighbours():
    plan = plan_of(fitted("boosted"))
    assert plan.tables is not None and plan.proof is not None
    points = sum(len(found) for found in plan.tables.breaks().values())
    assert points > 20
    assert plan.proof.rows >= 1_000 + 2_000 + 2 * points


def test_nothing_of_the_front_is_known_of_columns_it_does_not_take():
    train = members(1_500, seed=1)
    front = ColumnTransformer([("n", StandardScaler(), ["months"])])
    estimator = make_pipeline(front, _logistic()).fit(frame(train, INPUTS), labels(train))
    batch = strange(100)
    assert (
        np.abs(probabilities(batch, plan_of(estimator)) - estimator.predict_proba(frame(batch, INPUTS))[:, 1]).max()
        <= 1e-12
    )


def test_values_of_several_columns_that_the_model_refuses_are_found_in_one_question_and_each_named_with_its_column():
    train = members(1_500, seed=1)
    front = ColumnTransformer([("w", OneHotEncoder(), [*WORDS, "member"]), ("n", "passthrough", ["visits", "months"])])
    estimator = make_pipeline(front, _logistic()).fit(frame(train, INPUTS), labels(train))
    batch = members(3, seed=5)
    batch = batch.set_column(1, "plan", pa.array(["basic", "never seen", "basic"]).dictionary_encode())
    batch = batch.set_column(2, "city", pa.array(["city 1", "city 1", "nowhere"]).dictionary_encode())
    scored = score(batch, plan_of(estimator))
    known, plan_said, city_said = scored.column("error").to_pylist()
    assert known is None and "plan is 'never seen'" in plan_said and "city is 'nowhere'" in city_said
    assert scored.column("churn_probability").is_null().to_pylist() == [False, True, True]
