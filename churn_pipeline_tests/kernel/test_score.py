"""The kernel: the estimator's own probabilities, and rows it cannot score."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput, ModelVersion
from churn_pipeline.kernel.plan import Plan
from churn_pipeline.kernel.score import MOST_UNSCORED, ModelCannotScore, score

INPUTS = (ModelInput("x", "double"), ModelInput("word", "string"))


def plan(estimator, **changes) -> Plan:
    said = {
        "name": "m", "version": "1", "uri": "models:/m/1", "run_id": "", "flavour": "sklearn", "inputs": INPUTS,
        "threshold": 0.5, "classes": ("0", "1"), "positive": 1, **changes,
    }  # fmt: skip
    return Plan(ModelVersion(**said), estimator)


def customers(n: int) -> pa.RecordBatch:
    words = pa.array(["a", "b"] * n)[:n].dictionary_encode()
    return pa.RecordBatch.from_pydict({"id": pa.array(range(n)), "x": pa.array(np.linspace(0, 1, n)), "word": words})


class Linear:
    """Probability of churn is x; raises on rows whose number is guilty."""

    def __init__(self, guilty=(), n=100):
        self.guilty = {np.linspace(0, 1, n)[i] for i in guilty}
        self.calls = 0

    def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
        self.calls += 1
        if bad := self.guilty & set(rows["x"]):
            raise ValueError(f"cannot score {bad.pop()}")
        return np.column_stack([1 - rows["x"], rows["x"]])


def test_probability_label_and_order_are_the_estimators_own():
    scored = score(customers(100), plan(Linear(), threshold=0.25))
    assert scored.column("churn_probability").to_pylist() == np.linspace(0, 1, 100).tolist()
    assert scored.column("prediction").to_pylist() == [int(x >= 0.25) for x in np.linspace(0, 1, 100)]
    assert scored.column("id").to_pylist() == list(range(100))
    assert scored.column("error").null_count == 100


def test_the_positive_class_may_be_the_first_column():
    scored = score(customers(10), plan(Linear(), positive=0, classes=("Yes", "_No")))
    assert scored.column("churn_probability").to_pylist() == (1 - np.linspace(0, 1, 10)).tolist()


@pytest.mark.parametrize("guilty", [[0], [99], [17, 18], [3, 50, 97], list(range(0, 100, 7))])
def test_only_the_guilty_rows_are_left_unscored_with_the_errors_type_and_words(guilty):
    scored = score(customers(100), plan(Linear(guilty)))
    unscored = [i for i, p in enumerate(scored.column("churn_probability").to_pylist()) if p is None]
    assert unscored == guilty
    for i in range(100):
        kind, words = scored.column("error_type")[i].as_py(), scored.column("error")[i].as_py()
        assert (kind == "ValueError" and "cannot score" in words) if i in guilty else kind is words is None
        assert (scored.column("prediction")[i].as_py() is None) == (i in guilty)


def test_one_guilty_row_costs_few_calls():
    estimator = Linear([40], n=65_536)
    score(customers(65_536), plan(estimator))
    assert estimator.calls <= 2 * 17


def test_a_model_that_fails_on_everybody_is_at_fault_itself():
    class Broken:
        def predict_proba(self, rows):
            raise RuntimeError(f"customer {rows['x'].iloc[0]}")

    with pytest.raises(
        ModelCannotScore, match=rf"more than {MOST_UNSCORED:,} customers at once: RuntimeError"
    ) as error:
        score(customers(5_000), plan(Broken()))
    assert "customer 0" not in str(error.value)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -0.1, 1.5])
def test_a_probability_that_is_none_leaves_its_row_unscored(odd):
    class Odd:
        def predict_proba(self, rows):
            answer = np.full((len(rows), 2), 0.5)
            answer[1, 1] = odd
            return answer

    scored = score(customers(3), plan(Odd()))
    assert scored.column("churn_probability").to_pylist() == [0.5, None, 0.5]
    assert scored.column("error_type").to_pylist() == [None, "InvalidProbability", None]


@pytest.mark.parametrize("shape", [(3,), (2, 2), (3, 1)])
def test_an_answer_of_another_shape_is_an_error_that_says_what_was_expected(shape):
    class Odd:
        def predict_proba(self, rows):
            return np.full(shape, 0.5)

    with pytest.raises(ModelCannotScore, match="expected"):
        score(customers(3), plan(Odd()))


def test_no_customers_are_no_call():
    estimator = Linear()
    assert score(customers(0), plan(estimator)).num_rows == 0 and estimator.calls == 0


def test_running_out_of_memory_is_not_blamed_on_a_customer():
    class Hungry:
        def predict_proba(self, rows):
            raise MemoryError

    with pytest.raises(MemoryError):
        score(customers(4), plan(Hungry()))


def test_the_frame_has_the_signatures_types_and_order():
    batch = pa.RecordBatch.from_pydict(
        {
            "flag": pa.array([True, None, False]),
            "whole": pa.array([1, 2, 3]),
            "gap": pa.array([1, None, 3]),
            "word": pa.array(["a", None, "a"]).dictionary_encode(),
            "real": pa.array([0.1, None, 3.0]),
        }
    )
    kinds = {"real": "double", "word": "string", "gap": "long", "whole": "long", "flag": "boolean"}
    built = frame(batch, [ModelInput(name, kind) for name, kind in kinds.items()])
    assert list(built) == list(kinds)
    assert [str(t) for t in built.dtypes] == ["float64", "object", "float64", "int64", "object"]
    assert built["word"].isna().tolist() == [False, True, False] and built["word"][0] is built["word"][2]
