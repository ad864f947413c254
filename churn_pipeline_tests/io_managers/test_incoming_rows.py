import threading
from collections.abc import Iterator

import pytest

from churn_pipeline.read_ahead import read_ahead


def test_a_thread_of_its_own_reads_the_stream_in_order():
    readers = set()

    def numbers() -> Iterator[int]:
        for number in range(50):
            readers.add(threading.current_thread().name)
            yield number

    assert list(read_ahead(numbers())) == list(range(50))
    assert readers == {"read-ahead_0"}


def test_no_more_is_read_ahead_than_asked_for():
    read = []

    def numbers() -> Iterator[int]:
        for number in range(50):
            read.append(number)
            yield number

    ahead = read_ahead(numbers(), depth=3)
    next(ahead)
    assert len(read) <= 4
    ahead.close()


def test_what_the_stream_raises_comes_after_the_items_before_it():
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("at the end")

    ahead = read_ahead(broken())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="at the end"):
        next(ahead)


def test_closing_early_closes_the_stream_and_stops_the_thread():
    closed = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    before = threading.active_count()
    ahead = read_ahead(endless())
    next(ahead)
    ahead.close()
    assert closed == [True]
    assert threading.active_count() == before


def test_a_stream_of_nothing_gives_nothing():
    assert list(read_ahead([])) == []
