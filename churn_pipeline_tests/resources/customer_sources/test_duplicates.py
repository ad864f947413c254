"""Ids that come more than once, against a count in plain Python; in memory and on disk."""

from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from churn_pipeline.resources.customer_sources import duplicates
from churn_pipeline.resources.customer_sources.duplicates import IdRegister, superseded_by

PARTS = st.lists(st.lists(st.none() | st.sampled_from([f"c{n}" for n in range(9)]), max_size=8), max_size=6)


@pytest.fixture(params=[1, 5, 1 << 18], ids=["all on disk", "some on disk", "in memory"], scope="module")
def in_memory(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "_IN_MEMORY", request.param)
        patch.setattr(duplicates, "ROWS_PER_CHUNK", min(request.param, 1 << 16))
        yield


@settings(deadline=None, max_examples=40)  # 64 files each
@given(parts=PARTS)
def test_rows_whose_id_an_earlier_row_has_are_counted(in_memory, parts):
    register = IdRegister(places=False)
    for part in parts:
        register.add(pa.array(part, pa.string()))
    counts = Counter(id_ for part in parts for id_ in part if id_ is not None)
    assert [register.repeated(), register.repeated()] == [sum(n - 1 for n in counts.values())] * 2
    register.close()


@settings(deadline=None, max_examples=40)  # 64 files each
@given(parts=PARTS, stretch=st.integers(1, 7))
def test_of_rows_that_share_an_id_the_policy_rejects_all_but_the_last_or_all(in_memory, parts, stretch):
    ids = [id_ for part in parts for id_ in part]
    counts = Counter(ids)
    shared = [id_ is not None and counts[id_] > 1 for id_ in ids]
    earlier = [is_shared and ids[n] in ids[n + 1 :] for n, is_shared in enumerate(shared)]
    for policy, expected in (("reject", shared), ("last", earlier)):
        of_next = superseded_by(policy, [pa.array(part, pa.string()) for part in parts])
        lengths = [len(ids[start : start + stretch]) for start in range(0, len(ids), stretch)]
        assert [bool(is_rejected) for length in lengths for is_rejected in of_next(length)] == expected
