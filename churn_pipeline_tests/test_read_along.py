"""Two readers of one stream."""

import threading

import pytest

from churn_pipeline.read_along import BrokenOff, ReadAlong


def numbers(count, *, then=None):
    yield from range(count)
    if then:
        raise then


def test_both_readers_get_every_item_in_order():
    along = ReadAlong(list)
    assert list(along.of(numbers(1_000))) == list(range(1_000))
    assert along.result() == list(range(1_000))


def test_an_empty_stream_is_read_to_its_end():
    along = ReadAlong(list)
    assert list(along.of(numbers(0))) == []
    assert along.result() == []


def test_a_reader_that_fails_stops_nobody_and_says_so_in_the_end():
    def stumble(items):
        assert next(items) == 0
        raise ValueError("stumbled")

    along = ReadAlong(stumble)
    assert list(along.of(numbers(1_000))) == list(range(1_000))
    with pytest.raises(ValueError, match="stumbled"):
        along.result()


def test_a_reader_that_has_enough_stops_nobody():
    along = ReadAlong(next)
    assert list(along.of(numbers(1_000))) == list(range(1_000))
    assert along.result() == 0


def test_a_stream_that_raises_breaks_the_reader_off():
    seen = []
    along = ReadAlong(seen.extend)
    with pytest.raises(OSError, match="torn"):
        list(along.of(numbers(3, then=OSError("torn"))))
    with pytest.raises(BrokenOff):
        along.result()
    assert seen == [0, 1, 2]


def test_a_stream_that_is_closed_early_is_closed_itself_and_breaks_the_reader_off():
    closed, tidied = threading.Event(), threading.Event()

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    def read(items):
        try:
            for _ in items:
                pass
        finally:
            tidied.set()

    along = ReadAlong(read)
    stream = along.of(endless())
    assert next(stream) == 1
    stream.close()
    # Whoever closed can rely on it that nothing of the reader goes on.
    assert closed.is_set() and tidied.is_set()


def test_a_stream_that_is_never_begun_leaves_no_thread_behind():
    before = threading.active_count()
    ReadAlong(list).of(numbers(3)).close()
    assert threading.active_count() == before


def test_the_reader_is_never_far_behind():
    may_go_on = threading.Event()

    def wait(items):
        may_go_on.wait()
        return sum(items)

    along = ReadAlong(wait, depth=2)
    stream, handed = along.of(numbers(100)), []
    reading = threading.Thread(target=lambda: handed.extend(stream))
    reading.start()
    reading.join(0.2)
    assert len(handed) <= 3
    may_go_on.set()
    reading.join()
    assert along.result() == sum(range(100))
