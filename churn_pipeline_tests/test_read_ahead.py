"""Streams that threads of their own read and work on."""

import threading

import pytest

from churn_pipeline.read_ahead import work_ahead


def test_results_come_in_the_order_of_their_items_whoever_is_done_first():
    second_is_done = threading.Event()

    def work(number):
        if number == 0:
            assert second_is_done.wait(10)
        if number == 1:
            second_is_done.set()
        return number * 2

    assert list(work_ahead(work, range(100))) == [2 * n for n in range(100)]


def test_what_work_raises_is_raised_in_its_place():
    def work(number):
        if number == 3:
            raise ValueError("the fourth")
        return number

    results = work_ahead(work, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(results)


def test_no_more_is_taken_of_the_stream_than_threads_work_on():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = work_ahead(lambda number: number, items(), threads=2)
    next(results)
    assert len(taken) <= 3
    results.close()
    assert len(taken) <= 3
