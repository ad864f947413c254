"""The next batch of a topic, by what the log has and what the tables say."""

from datetime import UTC, datetime, timedelta

import pytest

from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.io_managers.memory_tables import MemoryTables
from churn_pipeline.io_managers.topic_batches import NothingToScore, PlanningRules, RangeTaken, TopicBatches
from churn_pipeline.io_managers.topic_plans import TopicPlans
from churn_pipeline.offset_planning import RetentionGap, Start, TopicRecreated
from churn_pipeline.resources.topics.base import BrokerUnreachable, MessagesLost
from churn_pipeline.resources.topics.memory import MemoryTopic


@pytest.fixture
def topic():
    found = MemoryTopic("customers", partitions=2)
    fill(found, 0, 10)
    fill(found, 1, 4)
    return found


def fill(topic, partition, count, **more):
    for _ in range(count):
        topic.append(b"{}", partition=partition, **more)


def batches(topic, store=None, **rules):
    return TopicBatches(topic, store or MemoryTables(), PlanningRules(**rules))


def said(batch):
    return [f"{r.partition}/{r.start}-{r.end}" for r in batch.ranges]


def give_out(found):
    return found.give_out(found.look())


def score(found):
    """Give out the next batch and say that it is done; its ranges, or None."""
    batch = give_out(found)
    if batch:
        found.finish(batch)
    return batch and said(batch)


def test_batches_tile_the_log_as_it_grows(topic):
    found = batches(topic)
    assert score(found) == ["0/0-10", "1/0-4"]
    assert score(found) is None
    fill(topic, 1, 3)
    assert score(found) == ["1/4-7"]


def test_nothing_is_planned_past_a_batch_that_is_not_done(topic):
    found = batches(topic)
    first = give_out(found)
    fill(topic, 0, 5)
    assert give_out(found) == first
    assert found.next() == first
    found.finish(first)
    assert said(give_out(found)) == ["0/10-15"]


def test_who_looked_before_somebody_else_planned_gets_the_same_batch(topic):
    store = MemoryTables()
    one, two = batches(topic, store), batches(topic, store)
    seen = two.look()
    first = give_out(one)
    fill(topic, 0, 5)
    assert two.give_out(seen) == first


def test_a_partition_that_was_added_begins_at_its_oldest_message(topic):
    found = batches(topic, start=Start("latest"))
    assert score(found) is None
    fill(topic, topic.add_partition(), 3)
    assert score(found) == ["2/0-3"]


def test_where_reading_begins_is_settled_once(topic):
    store = MemoryTables()
    assert score(batches(topic, store, start=Start("latest"))) is None
    fill(topic, 0, 2)
    assert score(batches(topic, store, start=Start("earliest"))) == ["0/10-12"]


def test_reading_can_begin_at_a_time():
    topic, noon = MemoryTopic("customers"), datetime(2026, 11, 1, 12, tzinfo=UTC)
    for minutes in (-2, -1, 0, 1):
        fill(topic, 0, 1, timestamp=round((noon + timedelta(minutes=minutes)).timestamp() * 1000))
    assert score(batches(topic, start=Start("time", noon))) == ["0/2-4"]


def test_a_batch_takes_what_a_batch_may_have_from_every_partition(topic):
    found = batches(topic, messages=8)
    assert score(found) == ["0/0-5", "1/0-2"]
    assert score(found) == ["0/5-10", "1/2-4"]


def test_messages_lost_to_retention_stop_planning(topic):
    found = batches(topic)
    score(found)
    fill(topic, 0, 5)
    topic.delete_before(0, 12)
    with pytest.raises(RetentionGap, match="customers/0: offsets 10-12"):
        give_out(found)


def test_messages_lost_to_retention_are_recorded_where_that_is_the_policy(topic):
    store = MemoryTables()
    found = batches(topic, store, retention_gap="record")
    score(found)
    fill(topic, 0, 5)
    topic.delete_before(0, 12)
    assert score(found) == ["0/12-15"]
    assert TopicPlans(store, "customers").current().lost == (OffsetRange("customers", 0, 10, 12),)


def test_a_loss_is_recorded_also_while_nothing_is_new(topic):
    store = MemoryTables()
    found = batches(topic, store, messages=8, retention_gap="record")
    score(found)
    topic.delete_before(0, 10)
    topic.delete_before(1, 4)
    assert give_out(found) is None
    assert [str(r) for r in TopicPlans(store, "customers").current().lost] == ["customers/0/5-10", "customers/1/2-4"]


def test_a_topic_that_was_made_again_stops_planning_or_begins_anew(topic):
    store = MemoryTables()
    score(batches(topic, store))
    topic.recreate()
    fill(topic, 0, 2)
    with pytest.raises(TopicRecreated, match="another id"):
        give_out(batches(topic, store))
    assert score(batches(topic, store, retention_gap="record")) == ["0/0-2"]


def test_a_batch_that_somebody_names_is_given_out_if_it_is_the_next(topic):
    found = batches(topic)
    batch = found.next()
    found.claim(batch)
    found.claim(batch)
    assert found.look().unfinished == batch


@pytest.mark.parametrize("ranges", [((0, 3, 10),), ((0, 0, 10), (1, 2, 4))])
def test_a_batch_that_would_leave_offsets_out_is_refused(topic, ranges):
    found = batches(topic)
    ours = OffsetBatch("customers", found.look().marks.topic_id, tuple(OffsetRange("customers", *r) for r in ranges),
                       datetime.now(UTC))  # fmt: skip
    with pytest.raises(RangeTaken, match="does not begin where"):
        found.claim(ours)


def test_a_batch_is_refused_while_another_is_not_done(topic):
    found = batches(topic, messages=4)
    late = found.next()
    give_out(found)
    other = OffsetBatch("customers", late.topic_id, (OffsetRange("customers", 1, 0, 4),), datetime.now(UTC))
    with pytest.raises(RangeTaken):
        found.claim(other)


def test_messages_are_named_for_another_scoring_by_offsets_or_time():
    topic, noon = MemoryTopic("customers"), datetime(2026, 11, 1, 12, tzinfo=UTC)
    for minutes in range(4):
        fill(topic, 0, 1, timestamp=round((noon + timedelta(minutes=minutes)).timestamp() * 1000))
    found = batches(topic)
    assert said(found.again("m/2", {0: (1, 3)}, None, None)) == ["0/1-3"]
    assert said(found.again("m/2", None, noon + timedelta(minutes=1), None)) == ["0/1-4"]
    assert said(found.again("m/2", None, None, noon + timedelta(minutes=2))) == ["0/0-2"]
    with pytest.raises(NothingToScore, match="in that range"):
        found.again("m/2", None, noon + timedelta(hours=1), None)
    topic.delete_before(0, 2)
    with pytest.raises(MessagesLost):
        found.again("m/2", {0: (1, 3)}, None, None)


def test_another_scoring_is_a_batch_of_its_own_and_takes_nothing_from_the_plan(topic):
    found = batches(topic)
    first = found.next()
    again = found.again("m/2", None, None, None)
    assert again.id != first.id and again.id != found.again("m/3", None, None, None).id
    found.claim(again)
    found.finish(again)
    assert give_out(found).id == first.id


def test_nothing_new_says_so(topic):
    found = batches(topic)
    score(found)
    with pytest.raises(NothingToScore, match="holds nothing that was not scored"):
        found.next()


def test_lag_and_head_room_count_what_is_not_done(topic):
    found = batches(topic, messages=8)
    state = found.look()
    assert (state.lag, state.head_room) == ({0: 10, 1: 4}, 1.0)
    batch = give_out(found)
    assert found.look().lag == {0: 10, 1: 4}
    found.finish(batch)
    assert found.look().lag == {0: 5, 1: 2}
    topic.delete_before(0, 4)
    assert found.look().head_room == pytest.approx(1 / 6)


def test_a_broker_that_does_not_answer_is_no_progress(topic):
    store = MemoryTables()
    topic.fail_with = BrokerUnreachable("down")
    with pytest.raises(BrokerUnreachable):
        batches(topic, store).look()
    assert TopicPlans(store, "customers").current() is None
