"""Tables behind transformers of the whole frame that nobody can look into: those run, what they make is looked up."""

import pickle
import re
from functools import cache

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from churn_pipeline.kernel.behind_steps import MadeColumns
from churn_pipeline.kernel.compile import NotCompiled
from churn_pipeline.kernel.evaluator import Surprise
from churn_pipeline.kernel.explanations.reasons import ReasonsUnavailable, reasons
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline.kernel.score import score
from churn_pipeline_tests.kernel.foreign_models import (
    EXTREMES,
    INPUTS,
    NUMBERS,
    WORDS,
    _boosted,
    _filled,
    _forest,
    _logistic,
    _onehot,
    labels,
    members,
    version,
)
from churn_pipeline_tests.kernel.forests.test_plans_of_trees import _put, with_and_without_numba
from churn_pipeline_tests.kernel.test_odd_models import leaves_unscored, says_the_same
from churn_pipeline_tests.kernel.test_plan import plan_of, probabilities, strange

pytestmark = pytest.mark.filterwarnings("ignore")


class Features(TransformerMixin, BaseEstimator):
    """Columns of every kind, as people make them of the whole frame: words, bands, whole numbers, facts, ratios."""

    def fit(self, rows: pd.DataFrame, y=None):
        self.fitted_ = True
        return self

    def transform(self, rows: pd.DataFrame) -> pd.DataFrame:
        rows = rows.copy()
        rows["where"] = rows["plan"].astype(str) + " in " + rows["city"].astype(str)
        rows["band"] = pd.cut(rows["months"], [-1, 6, 12, 36, 300], labels=["new", "half", "some", "long"])
        rows["years"] = (rows["months"] // 12).astype(int)
        rows["often"] = rows["visits"] > 8
        rows["rate"] = rows["spend"] / (rows["visits"] + 1)
        rows["small"] = rows["months"].astype("float32")
        return rows.drop(columns=["months", "city"])


class Recoded(TransformerMixin, BaseEstimator):
    """Writes into the frame it is given: into a column of text, and one such column into another's place."""

    def __init__(self, whole=False):
        self.whole = whole

    def fit(self, rows: pd.DataFrame, y=None):
        self.fitted_ = True
        return self

    def transform(self, rows: pd.DataFrame) -> pd.DataFrame:
        if self.whole:
            rows["plan"] = rows["city"]
        rows.loc[rows["months"] > 20, "plan"] = "loyal"
        rows.loc[rows["months"] > 700, "plan"] = "basic"
        return rows


def after(words=WORDS, numbers=NUMBERS, facts=()) -> ColumnTransformer:
    return ColumnTransformer(
        [("n", _filled(), list(numbers)), ("w", _onehot(), list(words)), ("b", "passthrough", list(facts))]
    )


def after_features() -> ColumnTransformer:
    numbers = ["visits", "age", "spend", "years", "rate", "small"]
    return after(["plan", "where", "band", "member", "often"], numbers)


def adding(function) -> FunctionTransformer:
    """A column more, `new`."""
    return FunctionTransformer(lambda rows: rows.assign(new=function(rows)))


def trained(*steps, classifier=None):
    train = members(1_500, seed=1)
    model = make_pipeline(*steps, _logistic() if classifier is None else classifier)
    return model.fit(frame(train, INPUTS), labels(train))


@cache
def behind_features():
    return plan_of(trained(Features(), after_features()))


def stays(plan, *batches: pa.RecordBatch) -> bool:
    """Whether the tables answer for these customers without the estimator."""
    return all(np.isfinite(plan.tables.answer(batch).probability).all() for batch in batches)


@with_and_without_numba
@pytest.mark.parametrize(
    ("classifier", "tiers"),
    [(_logistic(), ("linear", "linear")), (_boosted(), ("masks", "masks")), (_forest(), ("matrix", "walk"))],
    ids=["logistic", "boosting", "forest"],
)
def test_tables_behind_a_feature_class_say_what_the_estimator_says(classifier, tiers, compiled):
    plan = plan_of(trained(Features(), after_features(), classifier=classifier), compiled=compiled)
    assert plan.tier == tiers[compiled], plan.why
    says_the_same(plan)
    assert stays(plan, members(3_000, seed=5))


#: Name → how it is made, and of what kind it is.
MADE = {
    "text": (lambda rows: rows["plan"].astype(str) + rows["city"].astype(str), "words"),
    "few words": (lambda rows: np.where(rows["visits"] > 8, "often", rows["plan"]), "words"),
    "text of truth values": (lambda rows: rows["member"].astype(str), "words"),
    "bands": (lambda rows: pd.cut(rows["months"], [-1, 9, 40, 90], labels=list("abc")), "words"),
    "categories": (lambda rows: rows["plan"].astype("category"), "words"),
    "whole numbers": (lambda rows: (rows["months"] // 7).astype(int), "numbers"),
    "whole numbers of 32 bits": (lambda rows: (rows["months"] // 12).astype("int32"), "numbers"),
    "whole numbers in a wide range": (lambda rows: (rows["months"] * 1e6).astype(int), "numbers"),
    "ratios": (lambda rows: rows["spend"] / (rows["visits"] + 1), "numbers"),
    "single precision": (lambda rows: rows["months"].astype("float32") / 3, "numbers"),
    "truth values": (lambda rows: rows["visits"] > 8, "facts"),
}


@pytest.mark.parametrize("name", MADE)
def test_columns_of_any_kind_may_be_made(name):
    function, kind = MADE[name]
    used = {"words": ["plan"], "numbers": ["visits"], "facts": ["member"]}
    used[kind].append("new")
    classifier = _boosted() if kind == "numbers" else _logistic()
    plan = plan_of(trained(adding(function), after(**used), classifier=classifier))
    assert plan.tier == ("masks" if kind == "numbers" else "linear"), plan.why
    says_the_same(plan)


@pytest.mark.parametrize("whole", [False, True], ids=["some of a column", "a whole column"])
@pytest.mark.parametrize("classifier", [_logistic(), _boosted()], ids=["linear", "trees"])
def test_text_that_is_written_into_the_given_frame_is_looked_up_as_it_was_written(classifier, whole):
    plan = plan_of(trained(Recoded(whole), after(), classifier=classifier))
    assert plan.tier == ("linear" if hasattr(classifier, "coef_") else "masks"), plan.why
    batch = members(500, seed=5)
    # None of the customers that it was tried on was there for so long.
    says_the_same(plan, members(3_000, seed=5), strange(500), _put(batch, "months", pa.array([750.0] * 500)))


def test_numbers_that_are_written_into_the_given_frame_are_scored():
    def capped(rows: pd.DataFrame) -> pd.DataFrame:
        rows.loc[rows["months"] > 60, "months"] = 60.0
        return rows

    train = members(1_500, seed=1)
    own = frame(train, INPUTS).copy()
    estimator = make_pipeline(FunctionTransformer(capped), after(), _logistic()).fit(own, labels(train))
    plan, batch = plan_of(estimator), members(500, seed=5)
    wanted = estimator.predict_proba(frame(batch, INPUTS).copy())[:, 1]
    assert np.abs(probabilities(batch, plan) - wanted).max() <= 1e-12


def test_columns_that_are_dropped_and_put_in_another_order_are_not_missed():
    kept = FunctionTransformer(lambda rows: rows[["months", "plan", "visits"]])
    plan = plan_of(trained(kept, after(["plan"], ["visits", "months"], ())))
    assert plan.tier == "linear", plan.why
    says_the_same(plan)


def test_several_such_transformers_stand_before_the_tables_together():
    twice = FunctionTransformer(lambda rows: rows.assign(rate=rows["rate"] * 2))
    plan = plan_of(trained(Features(), twice, after_features(), classifier=_boosted()))
    assert re.fullmatch("leaf masks behind Features and FunctionTransformer, equal .* customers", str(plan))
    says_the_same(plan)


@pytest.mark.parametrize("around", [True, False], ids=["around", "inside"])
def test_a_search_changes_nothing(around):
    adds, train = adding(lambda rows: rows["spend"] / (rows["visits"] + 1)), members(1_500, seed=1)
    parts = [after(["plan"], ["new"]), _logistic()]
    pipeline = make_pipeline(adds, *parts) if around else make_pipeline(*parts)
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 1]}, cv=2)
    model = search if around else make_pipeline(adds, search)
    plan = plan_of(model.fit(frame(train, INPUTS), labels(train)))
    assert plan.tier == "linear", plan.why
    says_the_same(plan)


def _none_for_missing(rows: pd.DataFrame) -> pd.DataFrame:
    """Gives missing text as None, which encoders tell from NaN."""
    return rows.assign(plan=np.where((rows["plan"] == "day") | rows["plan"].isna(), None, rows["plan"]))


@pytest.mark.parametrize("sampled", [True, False], ids=["in the sample", "later"])
def test_missing_text_that_is_none_is_scored_by_the_estimator(sampled):
    estimator = trained(FunctionTransformer(_none_for_missing), after())
    sample = members(1_000, seed=9)
    extremes = dict(EXTREMES)
    if not sampled:
        sample = sample.filter(pa.array(np.asarray(sample.column("plan").cast(pa.string())) != "day"))
        extremes["plan"] = ["never seen"]
    plan = make_plan(version(), estimator, sample, extremes)
    assert plan.tier == "reference" or not sampled
    says_the_same(plan, members(1_000, seed=5), strange(500))


@pytest.mark.parametrize(
    ("function", "behind"),
    [
        (lambda rows: rows.assign(visits=rows["visits"].astype(object)), after()),
        (lambda rows: rows.assign(plan=rows["visits"].astype(object)), after()),
        (lambda rows: rows.assign(visits=(rows["visits"] % 100).astype("uint8")), after()),
        (lambda rows: rows[["visits", "months"]].to_numpy(float), None),
        (lambda rows: rows[["visits", "months"]].to_numpy(float), _filled()),
        (lambda rows: rows[["visits", "months"]].rename(columns={"visits": 0, "months": 1}), _filled()),
        (lambda rows: rows.assign(age=rows["age"].astype("Float64")), after()),
        (lambda rows: rows.assign(plan=rows["plan"].astype("string")), after(["city"])),
    ],
    ids=["numbers as objects", "numbers for words", "numbers of a byte", "an array", "an array, then numbers",
         "no names", "masked numbers", "text of pandas"],
)  # fmt: skip
def test_what_no_record_batch_can_hold_is_left_to_the_estimator(function, behind):
    steps = [FunctionTransformer(function)] + ([behind] if behind is not None else [])
    plan = plan_of(trained(*steps))
    assert plan.tier == "reference" and plan.why
    says_the_same(plan)


def test_another_column_than_in_the_sample_is_no_answer_of_the_tables():
    more = FunctionTransformer(lambda rows: rows.assign(**{f"new {len(rows) == 77}": 1}))
    plan = plan_of(trained(more, after(["plan"])))
    assert plan.tier == "linear", plan.why
    says_the_same(plan, members(77, seed=5), members(78, seed=5))
    assert stays(plan, members(78, seed=5))
    with pytest.raises(Surprise):
        plan.tables.answer(members(77, seed=5))


def test_two_columns_of_one_name_are_no_record_batch():
    twice = FunctionTransformer(lambda rows: pd.concat([rows, rows[["age"]]], axis=1))
    with pytest.raises(NotCompiled, match="FunctionTransformer makes no frame with a name for each column"):
        MadeColumns([twice], INPUTS, members(10))


#: Name → how a column is made, and customers of whom another one is made.
CHANGES = {
    "a number is missing": (lambda rows: rows["visits"], {"visits": [None, *[4] * 99]}),
    "text of a number": (lambda rows: rows["visits"].astype(str), {"visits": [None, *[4] * 99]}),
    "a gap": (lambda rows: rows["visits"].mask(rows["visits"] > 900), {"visits": [901, *[4] * 99]}),
    "all whole": (lambda rows: pd.to_numeric(rows["age"], downcast="integer"), {"age": [40.0, 50.0] * 50}),
    "single precision": (
        lambda rows: rows["months"].astype("float32" if (rows["visits"] > 500).all() else "float64"),
        {"visits": [501, 999] * 50},
    ),
    "some text": (lambda rows: rows["plan"].replace({"gone": 2}), {"plan": ["gone", "day"] * 50}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_customers_of_whom_another_frame_is_made_are_scored_all_the_same(name):
    function, change = CHANGES[name]
    behind = after(["new"], ["visits"]) if "text" in name else after(["plan"], ["new"])
    plan = plan_of(trained(adding(function), behind))
    assert plan.tier == "linear", plan.why
    batch = members(100, seed=5)
    for column, values in change.items():
        batch = _put(batch, column, pa.array(values))
    says_the_same(plan, members(500, seed=6), batch, members(500, seed=7))
    assert stays(plan, members(500, seed=6))


def test_numbers_of_few_bits_run_over_as_they_do_in_the_estimator():
    small = FunctionTransformer(lambda rows: rows.assign(new=(rows["months"] // 6).astype("int8")))
    more = ColumnTransformer([("n", FunctionTransformer(lambda rows: rows + 20), ["new"]), ("w", _onehot(), ["plan"])])
    # Of 127 there is no 20 more in a byte; what was tried goes up to 100.
    batch = _put(members(4, seed=5), "months", pa.array([6.0, 600.0, 720.0, 750.0]))
    says_the_same(plan_of(trained(small, more)), batch)


def test_values_that_the_model_does_not_take_behind_a_feature_class_leave_exactly_their_rows_unscored():
    strict = ColumnTransformer([("w", OneHotEncoder(), ["where"]), ("n", "passthrough", ["visits", "years"])])
    places = FunctionTransformer(lambda rows: rows.assign(where=rows["plan"].str[:3], years=rows["months"] // 12))
    plan = plan_of(trained(places, strict))
    assert plan.tier == "linear", plan.why
    batch = members(50, seed=5)
    words = batch.column("plan").cast(pa.string()).to_pylist()
    words[3], words[49] = "gold", None
    batch = _put(batch, "plan", pa.array(words).dictionary_encode())
    leaves_unscored(plan, batch, [3, 49])
    assert "where is 'gol'" in score(batch, plan).column("error")[3].as_py()


def test_a_plan_says_behind_what_its_tables_stand_and_on_how_many_customers_they_were_proven():
    plan = behind_features()
    assert str(plan) == f"linear tables behind Features, equal to the estimator on {plan.proof.rows:,} customers"
    assert plan.proof.rows >= 1_000 + 2_000


def test_customers_that_the_first_transformer_does_not_take_are_exactly_those_left_unscored():
    def guarded(rows: pd.DataFrame) -> pd.DataFrame:
        if (rows["plan"] == "forbidden").any():
            raise KeyError("forbidden")
        return rows.assign(new=rows["visits"] + rows["months"])

    plan = plan_of(trained(FunctionTransformer(guarded), after(["plan"], ["new", "age"]), classifier=_boosted()))
    assert plan.tier == "masks", plan.why
    batch = members(60, seed=5)
    words = batch.column("plan").cast(pa.string()).to_pylist()
    for row in (0, 7, 8, 59):
        words[row] = "forbidden"
    leaves_unscored(plan, _put(batch, "plan", pa.array(words).dictionary_encode()), [0, 7, 8, 59])
    says_the_same(plan)
    assert stays(plan, members(500, seed=6))


def test_a_pickled_plan_answers_the_same():
    plan = behind_features()
    sent = pickle.loads(pickle.dumps(plan))
    assert (sent.tier, sent.proof, str(sent)) == (plan.tier, plan.proof, str(plan))
    for batch in (members(500, seed=5), strange(500)):
        assert (probabilities(batch, sent) == probabilities(batch, plan)).all()
    assert stays(sent, members(500, seed=5))


def test_there_are_no_reasons_behind_a_feature_class_and_the_error_names_it():
    plan = behind_features()
    with pytest.raises(ReasonsUnavailable, match="has no reasons: its tables stand behind Features, which makes"):
        reasons(members(10, seed=5), plan, 3)


def test_one_customer_alone_is_not_for_tables_that_need_a_frame():
    plan = behind_features()
    record = members(1, seed=5).select([item.name for item in INPUTS]).to_pylist()[0]
    assert plan.tables.one(record) is None
