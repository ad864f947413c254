"""What a process does while a run is in it."""

import gc
import weakref

import pyarrow as pa
import pytest

from churn_pipeline.resources.run_processes import frozen_heap, spare_memory


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


@pytest.fixture
def pool_of_somebody_else():
    """The pool that Arrow has until something changes it."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    yield "system"
    pa.set_memory_pool(before)


@pytest.mark.skipif("jemalloc" not in pa.supported_memory_backends(), reason="Arrow was built without jemalloc")
def test_arrow_takes_memory_from_jemalloc(pool_of_somebody_else, monkeypatch):
    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    spare_memory()
    assert pa.default_memory_pool().backend_name == "jemalloc"


def test_a_pool_that_the_environment_names_stays(pool_of_somebody_else, monkeypatch):
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
    spare_memory()
    assert pa.default_memory_pool().backend_name == pool_of_somebody_else


def test_an_arrow_without_jemalloc_keeps_its_own_pool(pool_of_somebody_else, monkeypatch):
    def missing():
        raise NotImplementedError("Memory pool jemalloc is not available")

    monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
    monkeypatch.setattr(pa, "jemalloc_memory_pool", missing)
    spare_memory()
    assert pa.default_memory_pool().backend_name == pool_of_somebody_else
