"""What a process does while a run is in it."""

import gc
import weakref

import pytest

from churn_pipeline.resources.run_processes import frozen_heap


@pytest.fixture(autouse=True)
def nobody_has_frozen_the_heap():
    """Whatever ran before in this process may have left it so."""
    gc.unfreeze()


class Knot:
    """Something that only the garbage collector can free."""

    def __init__(self):
        self.itself = self


def test_what_was_there_before_a_run_is_not_looked_at_and_is_garbage_again_afterwards():
    before = weakref.ref(Knot())
    with frozen_heap():
        during = weakref.ref(Knot())
        gc.collect()
        assert before() is not None and during() is None
    gc.collect()
    assert before() is None and gc.get_freeze_count() == 0


def test_a_run_that_fails_leaves_the_collector_as_it_was():
    with pytest.raises(ValueError), frozen_heap():
        raise ValueError
    assert gc.get_freeze_count() == 0


def test_a_heap_that_somebody_else_has_frozen_stays_so():
    gc.freeze()
    try:
        with frozen_heap():
            pass
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
