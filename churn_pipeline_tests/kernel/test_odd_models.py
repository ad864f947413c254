"""Models that do what few do: they are scored as their estimator scores them, left to it, or named as defective."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    SplineTransformer,
    StandardScaler,
)

from churn_pipeline.kernel.evaluator import Surprise
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput
from churn_pipeline.kernel.plan import make_plan
from churn_pipeline.kernel.proof import RowsDependOnEachOther
from churn_pipeline.kernel.score import score
from churn_pipeline_tests.kernel.foreign_models import (
    EXTREMES,
    INPUTS,
    _boosted,
    _filled,
    _forest,
    _front,
    _logistic,
    _onehot,
    fitted,
    labels,
    members,
    version,
)
from churn_pipeline_tests.kernel.forests.test_plans_of_trees import SMALL, _put, with_and_without_numba
from churn_pipeline_tests.kernel.test_plan import plan_of, probabilities, strange

pytestmark = pytest.mark.filterwarnings("ignore")

ADA = AdaBoostClassifier(n_estimators=10, random_state=0)
SHALLOW = _forest(max_depth=5)


def behind(*parts, classifier, train=None, inputs=INPUTS):
    """A classifier behind (transformer, columns) and the plans as words."""
    train = members(1_500, seed=1) if train is None else train
    named = [(f"part {place}", *part) for place, part in enumerate(parts)]
    front = ColumnTransformer([*named, ("words", _onehot(), ["plan"])])
    return make_pipeline(front, classifier).fit(frame(train, inputs), labels(train))


def says_the_same(plan, *batches: pa.RecordBatch) -> None:
    for batch in batches or (members(1_500, seed=5), strange(500)):
        wanted = plan.estimator.predict_proba(frame(batch, plan.model.inputs))[:, 1]
        found = probabilities(batch, plan)
        assert np.abs(found - wanted).max() <= 1e-12
        assert ((found >= 0.5) == (wanted >= 0.5)).all()


def one_by_one(estimator, batch: pa.RecordBatch, inputs=INPUTS) -> np.ndarray:
    """What the estimator says of each customer alone; NaN where it raises."""
    found = np.full(batch.num_rows, np.nan)
    for row in range(batch.num_rows):
        try:
            found[row] = estimator.predict_proba(frame(batch.slice(row, 1), inputs))[0, 1]
        except (KeyError, ValueError):
            continue
    return found


def leaves_unscored(plan, batch: pa.RecordBatch, rows: list[int]) -> None:
    """Whether exactly these customers have an error, and all others the estimator's probability."""
    scored, wanted = score(batch, plan), one_by_one(plan.estimator, batch, plan.model.inputs)
    found = scored.column("churn_probability").to_numpy(zero_copy_only=False)
    assert np.flatnonzero(np.isnan(wanted)).tolist() == rows
    assert np.flatnonzero(np.isnan(found)).tolist() == rows
    assert np.nanmax(np.abs(found - wanted)) <= 1e-12
    assert np.flatnonzero(scored.column("error").is_valid().to_numpy(False)).tolist() == rows
    assert np.flatnonzero(scored.column("error_type").is_valid().to_numpy(False)).tolist() == rows


def with_values(name: str, values: list, rows: int = 30) -> pa.RecordBatch:
    """Customers the first of whom have these values in a column."""
    batch = members(rows, seed=5)
    return _put(batch, name, pa.array([*values, *batch.column(name).to_pylist()[len(values) :]]))


@pytest.mark.parametrize("classifier", [_logistic(), _boosted()], ids=["linear", "trees"])
@pytest.mark.parametrize("options", [{"add_indicator": True}, {"strategy": "constant", "fill_value": -900.0}])
@pytest.mark.parametrize("sentinel", [17.531, 0])
def test_a_number_that_stands_for_a_missing_one_is_no_neighbour_of_others(sentinel, options, classifier):
    train = members(1_500, seed=1)
    months = np.where(np.arange(1_500) % 9 == 0, sentinel, train.column("months").to_numpy())
    # In a union, where no reading of encoders finds the number that has to be tried.
    filled = make_pipeline(FeatureUnion([("f", SimpleImputer(missing_values=sentinel, **options))]), StandardScaler())
    train = _put(train, "months", pa.array(months))
    plan = plan_of(behind((filled, ["months"]), (_filled(), ["visits"]), classifier=classifier, train=train))
    assert sentinel not in members(1_000, seed=9).column("months").to_pylist()
    assert plan.tier in ("linear", "masks"), plan.why
    beside = [sentinel, np.nextafter(sentinel, 99), np.nextafter(sentinel, -99), sentinel + 0.01, sentinel - 0.01]
    says_the_same(plan, with_values("months", beside, 500), members(1_500, seed=5))


@pytest.mark.parametrize("classifier", [_boosted(), ADA, SHALLOW], ids=["boosting", "ada", "forest"])
def test_customers_of_whom_a_column_function_makes_no_number_are_unscored(classifier):
    logarithm = FunctionTransformer(np.log1p)
    plan = plan_of(behind((logarithm, ["months"]), (_filled(), ["visits"]), classifier=classifier))
    assert plan.tier == "masks", plan.why
    batch = with_values("months", [3.0, -1.0, -2.0, -0.5])
    # Forests take a number that is missing, which is what a logarithm of less than 0 is.
    leaves_unscored(plan, batch, [1] if classifier is SHALLOW else [1, 2])
    says_the_same(plan, members(1_500, seed=5))


@pytest.mark.parametrize("classifier", [_boosted(), ADA, SHALLOW], ids=["boosting", "ada", "forest"])
def test_customers_of_whom_a_column_function_makes_too_large_a_number_are_unscored(classifier):
    plan = plan_of(behind((FunctionTransformer(np.square), ["months"]), classifier=classifier))
    assert plan.tier == "masks", plan.why
    leaves_unscored(plan, with_values("months", [1e18, 1e20, -1e25, 2.0, float("inf")]), [1, 2, 4])


@pytest.mark.parametrize("classifier", [_boosted(), ADA, SHALLOW], ids=["boosting", "ada", "forest"])
def test_customers_with_a_ratio_by_0_are_unscored(classifier):
    ratio = FunctionTransformer(lambda rows: rows[["spend"]].fillna(0).to_numpy() / rows[["months"]].to_numpy())
    plan = plan_of(behind((ratio, ["spend", "months"]), (_filled(), ["visits"]), classifier=classifier))
    assert plan.tier == "masks", plan.why
    batch = _put(with_values("months", [0.0, 4.0, 0.0]), "spend", pa.array([0.0, 0.0, *[9.5] * 28]))
    leaves_unscored(plan, batch, [2] if classifier is SHALLOW else [0, 2])


@with_and_without_numba
@pytest.mark.parametrize("classifier", [_boosted(), ADA, SHALLOW], ids=["boosting", "ada", "forest"])
def test_customers_are_unscored_for_a_number_at_which_no_tree_looks(classifier, compiled):
    def never(rows: pd.DataFrame) -> np.ndarray:
        months = rows["months"].to_numpy()
        return np.column_stack([months, np.where(months < -50, np.inf, 1.0)])

    estimator = behind((FunctionTransformer(never), ["months"]), classifier=classifier)
    plan = plan_of(estimator, compiled=compiled)
    assert plan.tier == "masks", plan.why
    leaves_unscored(plan, with_values("months", [-49.0, -51.0, -50.0, -1e9]), [1, 3])


@pytest.mark.parametrize("column", ["visits", "member", "months"])
@pytest.mark.parametrize(
    ("encoder", "classifier"),
    [(_onehot(), _logistic()), (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), _boosted())],
    ids=["one-hot", "ordinal"],
)
def test_numbers_and_truth_values_may_be_encoded_as_text(column, encoder, classifier):
    text = FunctionTransformer(lambda rows: pd.DataFrame(rows).astype(str))
    numbers = (_filled(), ["age", "spend"])
    plan = plan_of(behind((make_pipeline(text, encoder), [column, "city"]), numbers, classifier=classifier))
    assert plan.tier in ("linear", "masks", "matrix"), plan.why
    says_the_same(plan)


@pytest.mark.parametrize("classifier", [_logistic(), _boosted()], ids=["linear", "trees"])
def test_a_second_column_transformer_may_know_the_columns_of_the_first_by_name(classifier):
    words = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    first = ColumnTransformer(
        [("n", SimpleImputer(), ["spend", "age"]), ("w", words, ["plan"])], verbose_feature_names_out=False
    ).set_output(transform="pandas")
    second = ColumnTransformer([("n", StandardScaler(), ["age", "spend"]), ("w", _onehot(), ["plan"])])
    train = members(1_500, seed=1)
    plan = plan_of(make_pipeline(first, second, classifier).fit(frame(train, INPUTS), labels(train)))
    assert plan.tables is not None, plan.why
    says_the_same(plan)


def test_a_ratio_that_only_recombined_customers_have_by_0_keeps_no_model_from_a_plan():
    ratio = FunctionTransformer(lambda rows: rows[["spend"]].to_numpy() / rows[["months"]].to_numpy())
    estimator = behind((ratio, ["spend", "months"]), (_filled(), ["visits"]), classifier=SHALLOW)
    # The first customer's 0 / 0 is a missing number, which a forest takes; 5 / 0 is infinite, which it does not.
    sample = members(1_000, seed=9)
    sample = _put(sample, "spend", pa.array([0.0, *sample.column("spend").to_pylist()[1:]]))
    plan = make_plan(version(), estimator, sample, EXTREMES)
    assert plan.tier == "masks", plan.why
    batch = _put(with_values("months", [0.0, 4.0, 0.0]), "spend", pa.array([0.0, 0.0, *[9.5] * 28]))
    leaves_unscored(plan, batch, [2])


@pytest.mark.parametrize(
    ("function", "columns", "classifier"),
    [
        (lambda rows: rows.fillna(rows.mean()), ["age", "spend"], _boosted()),
        (lambda rows: rows / rows.max(), ["months", "visits"], _logistic()),
        (lambda rows: pd.get_dummies(rows).astype(float), ["plan", "member"], _logistic()),
        (lambda rows: rows.fillna(0) + 20 if rows.isna().any().any() else rows, ["age", "spend"], _boosted()),
    ],
    ids=["the batch's mean for missing", "by the batch's maximum", "dummies of the batch", "if anything is missing"],
)
def test_what_looks_at_the_whole_batch_is_named_as_defective(function, columns, classifier):
    estimator = behind((FunctionTransformer(function), columns), classifier=classifier)
    sample = members(100, seed=9)
    # The first customer misses what the others may have.
    sample = _put(sample, "age", pa.array([None, *sample.column("age").to_pylist()[1:]]))
    with pytest.raises(RowsDependOnEachOther, match="differently for the same customer in other company"):
        make_plan(version(), estimator, sample, EXTREMES)


@pytest.mark.parametrize("fill", [lambda rows: rows.mode().iloc[0], lambda rows: rows.median()], ids=["mode", "median"])
def test_what_fills_gaps_from_the_batch_is_named_as_defective_however_few_there_are(fill):
    filled = FunctionTransformer(lambda rows: rows.fillna(fill(rows)))
    estimator = behind((filled, ["age"]), (_filled(), ["spend"]), classifier=_boosted())
    # Values so alike that the batch's mode and median hardly ever change.
    ages = [40.0] * 900
    ages[450:460] = [20.0, 60.0] * 5
    ages[437] = None
    sample = _put(members(900, seed=9), "age", pa.array(ages))
    with pytest.raises(RowsDependOnEachOther):
        make_plan(version(), estimator, sample, EXTREMES)


@pytest.mark.parametrize(
    "slow", [PowerTransformer(), SplineTransformer(extrapolation="linear")], ids=["power", "spline"]
)
def test_tables_beside_which_code_runs_are_taken_only_if_they_are_faster(slow, monkeypatch):
    numbers = make_pipeline(SimpleImputer(), slow)
    estimator = behind((numbers, ["spend", "months"]), classifier=_logistic())
    monkeypatch.setattr("churn_pipeline.kernel.plan._WORTH", 0)
    plan = plan_of(estimator)
    assert plan.tier == "reference"
    said = "linear tables would not be faster; the estimator on a matrix from codes would not be faster"
    assert str(plan) == f"the estimator itself: {said}"
    assert plan_of(fitted("logistic")).tier == "linear"  # no code runs beside those
    monkeypatch.setattr("churn_pipeline.kernel.plan._WORTH", np.inf)
    plan = plan_of(estimator)
    assert plan.tier == "linear"
    says_the_same(plan)


@pytest.mark.parametrize("name", ["logistic", "boosted"])
def test_tables_that_met_more_words_than_can_be_coded_do_not_look_again(name, monkeypatch):
    monkeypatch.setattr("churn_pipeline.kernel.codes.MOST_CODES", 200)
    plan = plan_of(fitted(name))
    small = members(50, seed=6)
    assert np.isfinite(plan.tables.answer(small).probability).all()
    towns = pa.array([f"town {i}" for i in range(400)]).dictionary_encode()
    says_the_same(plan, _put(members(400, seed=5), "city", towns))
    with pytest.raises(Surprise):
        plan.tables.answer(small)
    assert plan.tables.one(small.select([item.name for item in INPUTS]).to_pylist()[0]) is None
    says_the_same(plan, small)


@pytest.mark.parametrize("wide", [False, True], ids=["few numbers", "many numbers"])
@pytest.mark.parametrize("classifier", [_logistic(), _boosted()], ids=["linear", "trees"])
def test_a_number_that_does_not_fit_into_32_bits_is_its_own_customers_error(classifier, wide):
    def spread(batch: pa.RecordBatch) -> pa.RecordBatch:
        return _put(batch, "visits", pa.array(batch.column("visits").to_numpy() * (1_000_003 if wide else 1)))

    scaled = (StandardScaler(), ["visits", "months"])
    estimator = behind(scaled, classifier=classifier, train=spread(members(1_500, seed=1)), inputs=SMALL)
    plan = make_plan(version(SMALL), estimator, spread(members(1_000, seed=9)), EXTREMES)
    assert plan.tier in ("linear", "masks"), plan.why
    leaves_unscored(plan, with_values("visits", [4, 3_000_000_000, 2**31 - 1, 2**31, -(2**31), -(2**40)]), [1, 3, 5])


def test_a_number_that_does_not_fit_into_32_bits_does_not_keep_tables_from_the_next_customers():
    estimator = behind((StandardScaler(), ["visits", "months"]), classifier=_boosted(), inputs=SMALL)
    plan = make_plan(version(SMALL), estimator, members(1_000, seed=9), EXTREMES)
    score(with_values("visits", [3_000_000_000]), plan)
    assert np.isfinite(plan.tables.answer(members(50, seed=6)).probability).all()


@pytest.mark.parametrize("classifier", [_logistic(), _boosted()], ids=["linear", "trees"])
def test_whole_numbers_that_doubles_cannot_hold_keep_no_model_from_its_tables(classifier):
    def long(n, seed):
        rng = np.random.default_rng(seed)
        return _put(members(n, seed), "visits", pa.array(rng.integers(1, 2**62, n), mask=rng.random(n) < 0.1))

    inputs = tuple(ModelInput(item.name, item.type, required=False) for item in INPUTS)
    estimator = behind((_filled(), ["visits", "months"]), classifier=classifier, train=long(1_500, 1), inputs=inputs)
    plan = make_plan(version(inputs), estimator, long(1_000, 9), {**EXTREMES, "visits": [0, 2**53 + 1, None]})
    assert plan.tier in ("linear", "masks"), plan.why
    says_the_same(
        plan, long(500, 5), members(500, seed=5), _put(members(3), "visits", pa.array([None, 2**53 + 1, 2**63 - 1]))
    )


def test_an_error_in_taking_a_model_apart_leaves_it_to_its_estimator(monkeypatch):
    def divided(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr("churn_pipeline.kernel.plan.compile_tables", divided)
    plan = plan_of(fitted("logistic"))
    assert plan.tier == "reference"
    assert str(plan) == "the estimator itself: taking it apart raised ZeroDivisionError"
    says_the_same(plan)


def test_a_number_for_a_missing_word_is_no_value_of_the_column():
    # SimpleImputer of text: what stands for a missing word is tried too, and a number is none of the column's values.
    filled = make_pipeline(SimpleImputer(missing_values="day", strategy="most_frequent"), OneHotEncoder())
    plan = plan_of(behind((filled, ["plan"]), (_filled(), ["visits"]), classifier=_logistic()))
    assert plan.tier == "linear", plan.why
    says_the_same(plan, members(1_500, seed=5))


def test_a_word_that_is_missing_in_the_dictionary_itself_is_as_missing_as_any():
    plan, batch = plan_of(fitted("logistic")), members(3, seed=5)
    inside = pa.DictionaryArray.from_arrays(pa.array([0, 0, 1], pa.int32()), pa.array([None, "city 3"]))
    outside = pa.array([None, None, "city 3"]).dictionary_encode()
    one, other = (_put(batch, "city", values) for values in (inside, outside))
    assert frame(one, INPUTS).equals(frame(other, INPUTS))
    assert (probabilities(one, plan) == probabilities(other, plan)).all()
    says_the_same(plan, one, other)


def test_a_plan_says_all_that_was_in_the_way_of_a_faster_one(monkeypatch):
    monkeypatch.setattr("churn_pipeline.kernel.plan._WORTH", 0)
    monkeypatch.setattr("churn_pipeline.kernel.plan._CLEARLY", 0)
    train = members(1_500, seed=1)
    chain = make_pipeline(FunctionTransformer(_with_ratio), ColumnTransformer([("n", _filled(), ["visits", "ratio"])]))
    plan = plan_of(make_pipeline(chain, _logistic()).fit(frame(train, INPUTS), labels(train)))
    assert plan.tier == "reference"
    assert "FunctionTransformer may combine any columns of the customer; linear tables behind " in plan.why


def _with_ratio(customers):
    return customers.assign(ratio=customers["spend"] / (customers["visits"] + 1))


def test_a_scaler_that_clips_is_no_affine_map():
    train = members(1_500, seed=1)
    steps = [_front(sparse_threshold=0), PCA(6), MinMaxScaler(clip=True)]
    plan = plan_of(make_pipeline(*steps, _logistic()).fit(frame(train, INPUTS), labels(train)))
    assert plan.tier == "matrix", plan.why
    says_the_same(plan)
