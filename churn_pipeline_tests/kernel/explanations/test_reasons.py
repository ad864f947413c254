"""Reasons: what columns contribute adds up to the answer, and is what `shap` says where it is said to be exact."""

from functools import cache
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from churn_pipeline.kernel.compilation import available
from churn_pipeline.kernel.explanations.reasons import ReasonsUnavailable, contributions, reasons
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.plan import Plan, make_plan
from churn_pipeline.kernel.score import score
from churn_pipeline_tests.kernel.foreign_models import (
    EXTREMES,
    INPUTS,
    WORDS,
    _boosted,
    _forest,
    _front,
    _logistic,
    fitted,
    labels,
    members,
    version,
)
from churn_pipeline_tests.kernel.forests.forests import needs_numba

pytestmark = pytest.mark.filterwarnings("ignore")

WAYS = (pytest.param(False, id="numpy"), pytest.param(True, id="numba", marks=needs_numba))
SAMPLE = members(300, seed=9)
BATCH = members(300, seed=5)
TRAIN = members(1_500, seed=1)


@cache
def model(kind: str):
    made = {
        "logistic": lambda: make_pipeline(_front(), _logistic()),
        "boosted": lambda: make_pipeline(_front(), _boosted(max_depth=3)),
        "lightgbm": lambda: make_pipeline(
            _front(), LGBMClassifier(n_estimators=15, num_leaves=8, n_jobs=1, verbose=-1)
        ),
        "hist": lambda: make_pipeline(
            _front(words=OneHotEncoder(handle_unknown="ignore", max_categories=9, sparse_output=False)),
            HistGradientBoostingClassifier(max_iter=15, max_leaf_nodes=8, random_state=0),
        ),
        "shallow forest": lambda: make_pipeline(_front(), _forest(max_depth=3)),
        "deeper boosted": lambda: make_pipeline(_front(), _boosted(max_depth=5)),
        "forest": lambda: make_pipeline(_front(), _forest(max_depth=12)),
    }[kind]()
    return made.fit(frame(TRAIN, INPUTS), labels(TRAIN))


def plan_of(estimator, *, compiled: bool | None = None, positive: int = 1) -> Plan:
    return _plan_of(estimator, available() if compiled is None else compiled, positive)


@cache
def _plan_of(estimator, compiled: bool, positive: int) -> Plan:
    return make_plan(version(positive=positive), estimator, SAMPLE, EXTREMES, compiled=compiled)


def answers(batch: pa.RecordBatch, plan: Plan) -> np.ndarray:
    return score(batch, plan).column("churn_probability").to_numpy(zero_copy_only=False)


def added_up(found) -> np.ndarray:
    """Probabilities that base and contributions make."""
    total = found.base + found.values.sum(axis=0)
    return total if found.unit == "probability" else 1 / (1 + np.exp(-total))


def differences(found, estimator, shares: np.ndarray) -> np.ndarray:
    """From what `shap` says of the matrix's columns, added up for each of the customer's: (columns, n)."""
    outputs = [name.partition("__")[2] for name in estimator[0].get_feature_names_out()]
    mine = dict(zip(found.names, found.values, strict=True))
    return np.array(
        [
            mine.pop(item.name, 0) - shares[:, [output.startswith(item.name) for output in outputs]].sum(axis=1)
            for item in INPUTS
        ]
        + list(mine.values())
    )


@cache
def explained_by_shap(kind: str) -> np.ndarray:
    import shap

    front, classifier = model(kind)[0], model(kind)[-1]
    rows = front.transform(frame(BATCH, INPUTS))
    explainer = shap.TreeExplainer(classifier, feature_perturbation="tree_path_dependent")
    shares = explainer.shap_values(rows.toarray() if hasattr(rows, "toarray") else rows, check_additivity=False)
    return shares[..., 1] if shares.ndim == 3 else shares


@pytest.mark.parametrize(
    ("kind", "compiled"),
    [
        ("boosted", False),
        pytest.param("boosted", True, marks=needs_numba),
        ("lightgbm", None),
        ("hist", None),
        ("shallow forest", None),
    ],
)
def test_small_trees_are_explained_as_shap_explains_them(kind, compiled):
    estimator = model(kind)
    found = contributions(BATCH, plan_of(estimator, compiled=compiled))
    shares = explained_by_shap(kind)
    assert found.exact
    assert np.abs(shares).max() > 0.02
    assert np.abs(differences(found, estimator, shares)).max() <= 1e-9


def test_a_linear_model_is_explained_as_shap_explains_it():
    import shap

    estimator = model("logistic")
    found = contributions(BATCH, plan_of(estimator))
    front = estimator[0]
    background = front.transform(frame(SAMPLE, INPUTS)).toarray()
    masker = shap.maskers.Independent(background, max_samples=len(background))
    explainer = shap.LinearExplainer(estimator[-1], masker)
    shares = explainer.shap_values(front.transform(frame(BATCH, INPUTS)).toarray())
    assert found.exact
    assert found.unit == "log-odds"
    assert np.abs(differences(found, estimator, shares)).max() <= 1e-9
    assert found.base == pytest.approx(explainer.expected_value, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "positive"),
    [
        ("logistic", 0),
        ("logistic", 1),
        ("boosted", 0),
        ("boosted", 1),
        ("deeper boosted", 1),
        ("shallow forest", 1),
        ("lightgbm", 1),
        ("hist", 1),
    ],
)
def test_base_and_contributions_add_up_to_the_answer_for_either_class(kind, positive):
    plan = plan_of(model(kind), positive=positive)
    found = contributions(BATCH, plan)
    assert np.abs(added_up(found) - answers(BATCH, plan)).max() <= 1e-9
    assert found.exact == (kind != "deeper boosted")
    assert found.unit == ("probability" if kind == "shallow forest" else "log-odds")


@needs_numba
def test_deep_trees_have_contributions_that_add_up_and_do_not_pass_for_exact():
    plan = plan_of(model("forest"), compiled=True)
    found = contributions(BATCH, plan)
    assert plan.tier == "walk"
    assert not found.exact
    assert np.abs(found.base + found.values.sum(axis=0) - answers(BATCH, plan)).max() <= 1e-9


@pytest.mark.parametrize("compiled", WAYS)
def test_larger_trees_give_each_step_down_to_the_column_that_was_asked(compiled):
    front = ColumnTransformer([("n", "passthrough", ["visits", "months"])])
    estimator = make_pipeline(front, RandomForestClassifier(5, max_depth=4, random_state=0))
    estimator.fit(frame(TRAIN, INPUTS), labels(TRAIN))
    found = contributions(BATCH, plan_of(estimator, compiled=compiled))
    matrix = front.fit_transform(frame(BATCH, INPUTS)).astype(np.float32)
    wanted = np.zeros((2, BATCH.num_rows))
    for tree in estimator[-1].estimators_:
        paths = tree.decision_path(matrix)
        means = tree.tree_.value[:, 0, 1]
        for row in range(BATCH.num_rows):
            path = paths[row].indices
            for node, child in pairwise(path):
                wanted[tree.tree_.feature[node], row] += (means[child] - means[node]) / 5
    assert not found.exact
    assert np.abs(found.values[[found.names.index(name) for name in ("visits", "months")]] - wanted).max() <= 1e-9


@pytest.mark.parametrize("compiled", WAYS)
@pytest.mark.parametrize(("kind", "k"), [("logistic", 3), ("boosted", 1), ("boosted", 12)])
def test_the_top_reasons_are_the_largest_contributions_up_and_down(k, kind, compiled):
    plan = plan_of(model(kind), compiled=compiled)
    batch = members(9_000, seed=6)  # more than are explained at once
    found, every = reasons(batch, plan, k), contributions(batch, plan).values
    most = np.sort(np.maximum(every, 0), axis=0)[::-1][:k]
    least = np.sort(np.minimum(every, 0), axis=0)[:k]
    assert found.known.all()
    for places, numbers, wanted in ((found.up, found.up_by, most), (found.down, found.down_by, least)):
        assert places.shape == numbers.shape == (9_000, k)
        assert (numbers[:, : len(wanted)] == wanted.T).all()
        assert not numbers[:, len(wanted) :].any()
        assert ((places >= 0) == (numbers != 0)).all()
        rows, ranks = np.nonzero(places >= 0)
        assert (every[places[rows, ranks], rows] == numbers[rows, ranks]).all()


def test_columns_that_a_function_combines_contribute_under_one_name():
    plan = plan_of(fitted("feature_class"))
    found = contributions(BATCH, plan)
    assert "spend & months" in found.names
    assert np.abs(added_up(found) - answers(BATCH, plan)).max() <= 1e-9


@pytest.mark.parametrize(
    ("kind", "compiled"),
    [
        ("logistic", False),
        ("boosted", False),
        pytest.param("boosted", True, marks=needs_numba),
        pytest.param("forest", True, marks=needs_numba),
    ],
)
def test_words_that_came_up_after_the_first_reasons_are_explained_too(kind, compiled):
    plan = plan_of(model(kind), compiled=compiled)
    before = contributions(BATCH, plan)
    names = pa.array([f"new {compiled} {i % 50}" for i in range(BATCH.num_rows)]).dictionary_encode()
    batch = BATCH.set_column(2, "city", names)
    found = contributions(batch, plan)
    assert np.abs(added_up(found) - answers(batch, plan)).max() <= 1e-9
    assert (contributions(BATCH, plan).values == before.values).all()


@pytest.mark.parametrize("kind", ["logistic", "boosted"])
def test_customers_that_only_the_estimator_can_score_have_no_reasons_and_the_others_have_theirs(kind):
    plan = plan_of(model(kind))
    spend = pa.array([1e300, *BATCH.column("spend").to_pylist()[1:]])
    batch = BATCH.set_column(5, "spend", spend)
    found, whole = reasons(batch, plan, 2), reasons(BATCH, plan, 2)
    assert found.known.tolist() == [False, *[True] * (BATCH.num_rows - 1)]
    assert (found.up[1:] == whole.up[1:]).all()
    assert (found.down_by[1:] == whole.down_by[1:]).all()
    assert (found.up[0] == -1).all()
    assert not found.up_by[0].any()


def test_a_value_the_model_refuses_has_no_reasons():
    front = ColumnTransformer([("w", OneHotEncoder(), WORDS), ("n", "passthrough", ["visits"])])
    estimator = make_pipeline(front, _logistic()).fit(frame(TRAIN, INPUTS), labels(TRAIN))
    words = ["gold", *BATCH.column("plan").to_pylist()[1:]]
    batch = BATCH.set_column(1, "plan", pa.array(words).dictionary_encode())
    assert reasons(batch, plan_of(estimator), 1).known.tolist() == [False, *[True] * (BATCH.num_rows - 1)]


def test_an_xgboost_margin_is_met_to_its_own_single_precision():
    plan = plan_of(fitted("xgboost_sparse", rows=600))
    found = contributions(BATCH, plan)
    assert found.exact
    assert np.abs(added_up(found) - answers(BATCH, plan)).max() <= 1e-6


def test_a_boosting_of_exponential_loss_is_explained_in_log_odds():
    boosting = GradientBoostingClassifier(loss="exponential", n_estimators=10, max_depth=3, random_state=0)
    plan = plan_of(make_pipeline(_front(), boosting).fit(frame(TRAIN, INPUTS), labels(TRAIN)))
    assert np.abs(added_up(contributions(BATCH, plan)) - answers(BATCH, plan)).max() <= 1e-9


def test_what_columns_add_to_naive_bayes_adds_up_to_its_log_odds():
    plan = plan_of(fitted("bayes"))
    found = contributions(BATCH, plan)
    assert found.exact
    wanted = np.log(answers(BATCH, plan)) - np.log1p(-answers(BATCH, plan))
    certain = np.abs(wanted) < 20  # what is left to 1 has too few digits beyond
    assert certain.sum() > 100
    assert np.abs(added_up(found) - answers(BATCH, plan)).max() <= 1e-9
    assert np.abs((found.base + found.values.sum(axis=0) - wanted)[certain]).max() <= 1e-6


@pytest.mark.parametrize("name", ["calibrated_svc", "function_over_all", "network"])
def test_a_model_without_parts_that_add_up_has_no_reasons_and_says_what_to_do(name):
    with pytest.raises(ReasonsUnavailable, match=r"m version 1 has no reasons: .* Switch reasons off"):
        reasons(BATCH, plan_of(fitted(name)), 3)


def test_no_customers_have_no_reasons():
    found = reasons(BATCH.slice(0, 0), plan_of(model("logistic")), 3)
    assert found.up.shape == found.down_by.shape == (0, 3)


def test_trees_that_ask_nothing_score_everyone_alike_and_give_no_reason():
    flat = GradientBoostingClassifier(n_estimators=3, min_samples_leaf=800)
    estimator = make_pipeline(_front(), flat).fit(frame(TRAIN, INPUTS), labels(TRAIN))
    plan = plan_of(estimator)
    found = reasons(BATCH, plan, 2)
    assert plan.tier == "masks"
    assert np.abs(answers(BATCH, plan) - estimator.predict_proba(frame(BATCH, INPUTS))[:, 1]).max() <= 1e-12
    assert plan.tables.one(BATCH.slice(0, 1).to_pylist()[0]) == pytest.approx(answers(BATCH, plan)[0], abs=1e-12)
    assert found.known.all()
    assert (found.up == -1).all()
    assert (found.down == -1).all()
    assert 1 / (1 + np.exp(-found.base)) == pytest.approx(answers(BATCH, plan)[0], abs=1e-12)
