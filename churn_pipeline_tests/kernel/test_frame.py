import numpy as np
import pyarrow as pa
import pytest

from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput

INPUTS = [ModelInput("word", "string", required=False)]


@pytest.mark.parametrize("dictionary", [False, True], ids=["plain", "dictionary"])
@pytest.mark.parametrize(
    "words",
    [[f"id {i}" for i in range(3_000)], ["a", "b", None] * 1_000, [None] * 3, [None], ["a"], [None, "a", "b"], []],
    ids=["ids", "few words", "none at all", "one that is missing", "one", "some", "no rows"],
)
def test_text_is_made_of_strings_and_nan_whatever_it_is_like(words, dictionary):
    column = pa.array(words, pa.string())
    batch = pa.RecordBatch.from_arrays([column.dictionary_encode() if dictionary else column], ["word"])
    found = frame(batch, INPUTS)["word"]
    assert found.dtype == object
    assert all(isinstance(value, str) or np.isnan(value) for value in found)
    assert [value if isinstance(value, str) else None for value in found] == words
    found[:] = "transformers may write into it"


def test_few_words_are_few_objects():
    batch = pa.RecordBatch.from_pydict({"word": pa.array(["a long word", "another long word", None] * 1_000)})
    assert len({id(value) for value in frame(batch, INPUTS)["word"]}) == 3
