"""Each message is replayed at most once, whoever asks, and leads to its first failure."""

from datetime import UTC, datetime

import pytest

from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.io_managers.delta_tables import DeltaTables
from churn_pipeline.io_managers.memory_tables import MemoryTables
from churn_pipeline.io_managers.replayed_messages import (
    TABLE,
    FailedMessage,
    Replay,
    ReplayedMessages,
    Retry,
    retries_of,
)
from churn_pipeline.resources.topics.base import Outgoing, Watermarks
from churn_pipeline.resources.topics.memory import MemoryTopic

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def failed(offset, partition=0, topic_id="id", count=1):
    first = Retry(f"customers/{partition}/{offset}", count)
    return FailedMessage(topic_id, (partition, offset), "customers-1", ("above_maximum",), b"c1", b"{}", first)


def begin(*messages, ends=None, topic="customers"):
    return Replay.begin(topic, Watermarks("id", {0: 0, 1: 0}, ends or {0: 10, 1: 4}), len(messages), NOON)


def batch(*ranges, topic_id="id"):
    return OffsetBatch("customers", topic_id, tuple(OffsetRange("customers", *r) for r in ranges), NOON)


@pytest.fixture(params=["delta", "memory"])
def store(request, tmp_path):
    return DeltaTables(str(tmp_path / "tables")) if request.param == "delta" else MemoryTables()


@pytest.fixture
def table(store):
    return ReplayedMessages(store, "customers")


def claimed(table, *messages, **more):
    replay = begin(*messages, **more)
    assert table.claim(replay, messages)
    return replay


def test_nothing_was_replayed_at_first(table):
    assert table.replays() == [] and not table.places().has("id", (0, 1))


def test_a_replay_comes_back_as_it_was_claimed(table):
    replay = claimed(table, failed(1), failed(3, partition=1))
    assert table.replays() == [replay]


def test_what_is_claimed_is_sent_with_its_past_in_the_headers(table):
    replay = claimed(table, failed(7, count=2))
    headers = [("first_failure", b"customers/0/7"), ("retry_count", b"2"), ("replay", replay.id.encode())]
    assert list(table.outgoing(replay)) == [Outgoing("customers", b"c1", b"{}", headers)]


def test_a_message_that_is_claimed_is_not_claimed_again_and_neither_is_anything_beside_it(table):
    claimed(table, failed(1), failed(2))
    assert not table.claim(begin(failed(2), failed(3)), [failed(2), failed(3)])
    assert table.claim(begin(failed(3)), [failed(3)])
    assert [table.places().has("id", (0, offset)) for offset in range(5)] == [False, True, True, True, False]


def test_the_same_offset_of_another_partition_or_of_a_topic_that_was_made_again_is_another_message(table):
    claimed(table, failed(1))
    claimed(table, failed(1, partition=1))
    claimed(table, failed(1, topic_id="another"))
    claimed(table, failed(1, topic_id=None))
    assert len(table.replays()) == 4


def test_the_same_place_of_another_topic_is_another_message(store, table):
    claimed(table, failed(1))
    payments = ReplayedMessages(store, "payments")
    assert payments.claim(begin(failed(1), topic="payments"), [failed(1)])
    assert len(payments.replays()) == len(table.replays()) == 1


def test_what_was_sent_is_noted_and_its_bytes_are_gone(store, table):
    other, replay = claimed(table, failed(2)), claimed(table, failed(1))
    table.note_sent(replay, {0: 12, 1: 4})
    table.note_sent(replay, {0: 12, 1: 4})
    sent = {
        row["offset"]: (row["is_sent"], row["key"], row["value"]) for row in store.open(TABLE).to_arrow().to_pylist()
    }
    assert sent == {1: (True, None, None), 2: (False, b"c1", b"{}")}
    assert {r.id: r.log_after for r in table.replays()} == {other.id: None, replay.id: {0: 12, 1: 4}}
    assert list(table.outgoing(replay)) == [] and table.places().has("id", (0, 1))


def test_a_batch_can_have_read_a_replay_only_behind_where_it_began_and_before_where_it_ended(table):
    replay = claimed(table, failed(1), ends={0: 10, 1: 4})
    inside = [batch((0, 9, 11)), batch((0, 500, 501)), batch((0, 0, 1), (1, 4, 5)), batch((2, 0, 1))]
    assert all(table.within(found) for found in inside)
    assert not table.within(batch((0, 0, 10), (1, 0, 4))) and not table.within(batch((0, 9, 11), topic_id="other"))
    table.note_sent(replay, {0: 12, 1: 4})
    assert table.within(batch((0, 11, 20))) and not table.within(batch((0, 12, 20), (1, 4, 9), (2, 0, 1)))


def test_headers_tell_a_replayed_message_from_others():
    retry = Retry("customers/0/7", 2)
    assert Retry.read(retry.headers("replay-1")) == retry
    assert retry.again() == Retry("customers/0/7", 3)
    assert Retry.read([]) is None


@pytest.mark.parametrize(
    "changed",
    [("retry_count", b"-1"), ("retry_count", b"1e9"), ("retry_count", None), ("first_failure", b"a b/0/1"),
     ("first_failure", b"customers/0/x"), ("first_failure", b"\xff/0/1")],
)  # fmt: skip
def test_headers_that_no_replay_wrote_count_for_nothing(changed):
    assert Retry.read([*Retry("customers/0/7", 2).headers("replay-1"), changed]) is None


def test_of_messages_that_failed_those_that_were_replayed_are_found_by_their_headers(table):
    topic = MemoryTopic("customers")
    for n in range(10):
        topic.append(b"{}", headers=Retry("customers/0/1", n).headers("replay-1") if n in (3, 8) else [])
    topic_id = topic.watermarks().topic_id
    replay = Replay.begin("customers", Watermarks(topic_id, {0: 0}, {0: 5}), 1, NOON)
    found = retries_of([replay], topic, topic_id, [(0, 3), (0, 7), (0, 8), (0, 99), (4, 0)])
    # What lies before the replay was claimed is not looked at.
    assert found == {(0, 8): Retry("customers/0/1", 8)}
    assert retries_of([], topic, topic_id, [(0, 8)]) == {}
