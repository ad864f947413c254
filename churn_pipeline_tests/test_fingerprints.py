"""Fingerprints: equal for equal texts, different for different ones, however the texts are stored."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_pipeline.fingerprints import (
    fingerprint_pairs,
    fingerprints,
    lasting_fingerprints,
    repeated,
)

LASTING = [16997703321466460282, 11818299549563470787, 10477271006319903606]

TEXTS = st.lists(st.text(max_size=20) | st.text("ab", max_size=3), max_size=30)


@given(TEXTS)
def test_equal_texts_have_equal_fingerprints_and_others_do_not(texts):
    found = fingerprints(pa.array(texts, pa.string())).tolist()
    assert len(set(found)) == len(set(texts)) == len(set(zip(texts, found, strict=True)))


@given(TEXTS, st.integers(0, 5))
def test_how_a_text_is_stored_makes_no_difference(texts, start):
    plain = pa.array(texts, pa.string())
    expected = fingerprints(plain).tolist()[start:]
    assert fingerprints(plain.slice(start)).tolist() == expected
    assert fingerprints(plain.dictionary_encode().slice(start)).tolist() == expected
    assert fingerprints(plain.cast(pa.large_string()).slice(start)).tolist() == expected


def test_texts_that_end_in_zero_bytes_differ():
    found = fingerprints(pa.array(["a", "a\0", "a\0\0", "", "\0", "a" * 8, "a" * 8 + "\0", "a" * 16]))
    assert len(set(found.tolist())) == 8


def test_lasting_fingerprints_are_the_same_in_every_process():
    texts = pa.array(["7590-VHVEG", "", "größer 😀"])
    assert lasting_fingerprints(texts).tolist() == LASTING
    assert len({*fingerprints(texts).tolist(), *LASTING}) == 6


def test_a_missing_text_counts_as_empty_and_another_number_gives_other_hashes():
    texts = pa.array([None, "", "x"])
    first, second = fingerprint_pairs(texts)
    assert first[0] == first[1] != first[2]
    assert not (first == second).any()


@pytest.mark.parametrize("n", [0, 1, 1_000])
def test_pairs_count_as_repeated_after_an_equal_one_and_not_if_only_one_half_is_equal(n):
    rng = np.random.default_rng(n)
    first, second = rng.integers(0, 40, n).astype(np.uint64), rng.integers(0, 40, n).astype(np.uint64)
    assert repeated(first, second) == n - len(set(zip(first.tolist(), second.tolist(), strict=True)))
