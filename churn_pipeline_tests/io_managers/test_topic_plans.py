"""One plan a topic, whoever plans."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.memory_tables import MemoryTables
from churn_pipeline.io_managers.topic_plans import TABLE, TopicPlan, TopicPlans

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
START = TopicPlan("id", {0: 5, 1: 0})


def batch(*ranges):
    return OffsetBatch("customers", "id", tuple(OffsetRange("customers", *r) for r in ranges), NOON)


@pytest.fixture(params=["delta", "memory"])
def store(request, tmp_path):
    return DeltaTables(str(tmp_path / "tables")) if request.param == "delta" else MemoryTables()


@pytest.fixture
def plans(store):
    return TopicPlans(store, "customers")


def test_a_topic_that_was_never_read_has_no_plan(plans):
    assert plans.current() is None


def test_a_plan_comes_back_as_it_was_written(plans):
    plan = replace(START.with_batch(batch((0, 5, 9))), lost=(OffsetRange("customers", 1, 0, 3),))
    assert plans.replace(None, plan)
    assert plans.current() == plan


def test_of_two_that_saw_the_same_plan_only_the_first_changes_it(plans):
    assert plans.replace(None, START)
    seen = plans.current()
    assert plans.replace(seen, START.with_batch(batch((0, 5, 9))))
    assert not plans.replace(seen, START.with_batch(batch((0, 5, 7))))
    assert plans.current().batch == batch((0, 5, 9))


def test_of_two_that_saw_no_plan_only_the_first_makes_one(plans):
    assert plans.replace(None, START)
    assert not plans.replace(None, TopicPlan("id", {0: 0}))
    assert plans.current() == START


def test_a_batch_is_unfinished_until_it_is_said_to_be_done(plans):
    plans.replace(None, START.with_batch(batch((0, 5, 9))))
    assert plans.current().unfinished == batch((0, 5, 9))
    plans.finish(batch((0, 5, 9)))
    plans.finish(batch((0, 5, 9)))
    assert plans.current().unfinished is None
    assert plans.current().positions == {0: 9, 1: 0}


def test_a_late_attempt_at_an_earlier_batch_does_not_finish_the_next(plans):
    first, second = batch((0, 5, 9)), batch((0, 9, 12))
    plans.replace(None, START.with_batch(first))
    plans.finish(first)
    seen = plans.current()
    plans.replace(seen, seen.with_batch(second))
    plans.finish(first)
    assert plans.current().unfinished == second


def test_a_batch_is_over_when_it_was_said_to_be_or_a_later_one_was_given_out(plans):
    first, second = batch((0, 5, 9)), batch((0, 9, 12))
    assert not plans.is_over(first)
    plans.replace(None, START.with_batch(first))
    assert not plans.is_over(first)
    plans.finish(first)
    assert plans.is_over(first)
    plans.replace(plans.current(), plans.current().with_batch(second))
    assert plans.is_over(first) and not plans.is_over(second)


def test_each_topic_has_its_own_plan_and_one_row(store, plans):
    other = TopicPlans(store, "payments")
    plans.replace(None, START)
    other.replace(None, TopicPlan(None, {0: 1}))
    plans.replace(plans.current(), START.with_batch(batch((0, 5, 9))))
    assert other.current() == TopicPlan(None, {0: 1})
    assert store.open(TABLE).rows == 2
