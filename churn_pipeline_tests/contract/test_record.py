"""One record against the contract: what is taken at once is what the frame-level schema takes too."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.frame_schema import FrameBreaksContract, check_frame, clean_frame
from churn_pipeline.contract.record import Doubtful, RecordReader
from churn_pipeline.sample import sample

CONTRACT = Contract.load("telco")
READER = RecordReader(CONTRACT)
RECORDS = sample(CONTRACT, 50, seed=3).to_pylist()
ODD = [None, "", " ", "Yes", "yes", "No ", 0, 1, -1, 2, 1.0, 0.5, True, "12", "1e3", "0x10", " 5 ", float("nan"),
       float("inf"), 1e300, 2**60, "600.0", [], b"Yes"]  # fmt: skip


def test_a_record_that_keeps_the_contract_is_read_as_the_frame_is():
    for record in RECORDS:
        cleaned = clean_frame(pd.DataFrame([record]), CONTRACT).iloc[0]
        for name, value in READER.read(record).items():
            assert value == cleaned[name] or (value is None and pd.isna(cleaned[name]))


@given(
    st.sampled_from(RECORDS), st.dictionaries(st.sampled_from([*CONTRACT.features, "customerID"]), st.sampled_from(ODD))
)
@settings(max_examples=150, deadline=None)
def test_no_record_is_taken_that_the_frame_level_schema_refuses(record, odd):
    changed = {**record, **odd}
    try:
        READER.read(changed)
    except Doubtful:
        return
    check_frame(pd.DataFrame([changed]), CONTRACT)


def test_a_record_without_a_feature_is_left_to_others():
    with pytest.raises(Doubtful):
        READER.read({name: value for name, value in RECORDS[0].items() if name != "tenure"})


def test_what_breaks_the_contract_is_still_an_error_of_predict():
    with pytest.raises(FrameBreaksContract):
        check_frame(pd.DataFrame([{**RECORDS[0], "tenure": -1}]), CONTRACT)
