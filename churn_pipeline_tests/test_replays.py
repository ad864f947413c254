"""Dead letters are sent again once, whatever dies in between and whoever else does the same."""

from dataclasses import replace
from datetime import timedelta

import pytest
from confluent_kafka.admin import AdminClient

from churn_pipeline import replays
from churn_pipeline.io_managers.failed_messages import Wanted
from churn_pipeline.io_managers.memory_tables import MemoryTables
from churn_pipeline.io_managers.replayed_messages import TABLE
from churn_pipeline.replays import ReplayNotSent
from churn_pipeline.resources.topics import reading_again
from churn_pipeline.resources.topics.base import PublishingFailed
from churn_pipeline.runs import BatchUnknown
from churn_pipeline_tests.failures import ALL, NOON, Failures, KafkaFailures


@pytest.fixture
def failures():
    return Failures()


def test_what_failed_is_sent_again_once_as_it_was(failures):
    failures.fail("above_maximum", "not_json", value=b'{"customerID": "\xff')
    assert (failures.run(), failures.run()) == (2, 0)
    assert failures.sent() == [("customers/0/0", 1), ("customers/0/1", 1)]
    [publisher] = failures.publishers.values()
    assert {(m.topic, m.key, m.value) for m in publisher.messages} == {("customers", b"c1", b'{"customerID": "\xff')}


def test_a_message_that_names_no_customer_is_sent_without_a_key(failures):
    failures.fail("not_json", key=None)
    failures.fail("not_json", key="")
    assert failures.run() == 2
    assert {m.key for p in failures.publishers.values() for m in p.messages} == {None}


def test_looking_writes_and_sends_nothing(failures):
    failures.fail("above_maximum", "unscored")
    selection = failures.replays().find(ALL)
    assert selection.to_send == 2
    assert TABLE not in failures.store.tables() and failures.sent() == []


def test_what_is_found_is_counted_by_batch_and_rule(failures):
    one, two = failures.fail("above_maximum", "above_maximum", "not_json"), failures.fail("unscored")
    found = failures.replays().find(ALL).batches
    assert [(f.batch_id, f.to_send, f.rules) for f in found] == [
        (one, 3, {"above_maximum": 2, "not_json": 1}),
        (two, 1, {"unscored": 1}),
    ]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(rules=frozenset({"above_maximum"})), ["customers/0/0", "customers/1/0"]),
        (Wanted(rules=frozenset({"unscored", "not_json"})), ["customers/0/1", "customers/0/2"]),
        (Wanted(since=NOON + timedelta(hours=1)), ["customers/1/0"]),
        (Wanted(until=NOON + timedelta(hours=1)), ["customers/0/0", "customers/0/1", "customers/0/2"]),
        (Wanted(rules=frozenset({"empty_message"})), []),
    ],
)
def test_a_filter_takes_what_it_names_and_leaves_the_rest_for_later(failures, wanted, expected):
    failures.fail("above_maximum", "not_json", "unscored")
    failures.fail("above_maximum", partition=1)
    assert failures.run(wanted) == len(expected)
    assert [first for first, _ in failures.sent()] == expected
    assert failures.run() == 4 - len(expected)


def test_one_batch_can_be_named_and_one_that_does_not_exist_is_an_error(failures):
    batch_id = failures.fail("above_maximum")
    failures.fail("above_maximum")
    assert failures.run(Wanted(batch_id=batch_id)) == 1
    with pytest.raises(BatchUnknown, match="no batch 'customers-1' of topic customers"):
        failures.run(Wanted(batch_id="customers-1"))


def test_messages_of_unscored_customers_are_read_again_and_those_that_are_gone_are_left_out(failures):
    failures.fail("unscored", "unscored", "above_maximum")
    failures.topic.delete_before(0, 1)
    [found] = failures.replays().find(ALL).batches
    assert found.left_out == {"gone from the topic": 1}
    assert failures.run() == 2
    assert [first for first, _ in failures.sent()] == ["customers/0/1", "customers/0/2"]


def test_a_topic_that_was_made_again_has_no_message_of_before(failures):
    failures.fail("unscored", "above_maximum")
    failures.topic.recreate()
    failures.topic.append(b"another", partition=0)
    assert failures.run() == 1
    assert failures.sent() == [("customers/0/1", 1)]


def test_tombstones_and_messages_that_are_too_large_are_left_out_until_they_are_allowed(failures):
    failures.fail("tombstone", value=None)
    failures.fail("message_too_large", value=b"x" * 2_000)
    assert [f.left_out for f in failures.replays().find(ALL).batches] == [{"tombstone": 1}, {"too large": 1}]
    assert failures.run() == 0
    assert failures.run(message_bytes=2_000) == 1


def test_what_was_scored_again_beside_the_first_time_is_not_replayed_twice(failures):
    failures.fail("above_maximum")
    again = replace(failures.batch(0, 0, 1), again="churn_model/2")
    row = {"source_partition": "customers/0", "source_position": 0, "raw": b"{}", "rules": ["above_maximum"]}
    failures.reject(again, [row])
    failures.finish(again)
    assert failures.run() == 1


def test_a_message_that_fails_again_counts_its_retries_and_leads_to_its_first_failure(failures):
    failures.fail("above_maximum")
    for count in (1, 2, 3):
        assert failures.run() == 1
        assert failures.sent()[-1] == ("customers/0/0", count)
        [(partition, offset)] = list(failures.publishers.values())[-1].places
        failures.fail_at(partition, [offset], ["above_maximum" if count == 1 else "unscored"])


def test_who_died_before_sending_has_claimed_and_the_next_sends_it_though_the_tables_changed(failures):
    failures.fail("above_maximum", "above_maximum")
    failures.fail_with = PublishingFailed("The broker went away. Start it.")
    with pytest.raises(ReplayNotSent, match=r"\(2 messages\) is claimed, .* The broker went away\. Remove the cause"):
        failures.run()
    failures.fail_with = None
    assert failures.sent() == [] and failures.replays().find(ALL).to_send == 0
    failures.reject(failures.batch(0, 0, 2), [])
    assert (failures.run(), failures.run()) == (2, 0)
    assert failures.sent() == [("customers/0/0", 1), ("customers/0/1", 1)]


@pytest.mark.parametrize("broker_forgot", [False, True])
def test_who_died_after_sending_is_finished_without_sending_twice(failures, broker_forgot):
    failures.fail("above_maximum")
    failures.die_afterwards = True
    with pytest.raises(OSError):
        failures.run()
    failures.die_afterwards = False
    assert len(failures.replays().unfinished()) == 1
    if broker_forgot:
        failures.publishers.clear()  # Offsets of a group that nobody uses are kept for a week.
    assert failures.run() == 1
    assert failures.replays().unfinished() == [] and len(failures.sent()) == 1


def test_of_two_commands_at_once_each_message_is_sent_by_one(failures):
    failures.fail("above_maximum", "not_json", "below_minimum")
    one, two = failures.replays(), failures.replays()
    seen = two.find(ALL)
    narrow = one.find(Wanted(rules=frozenset({"not_json"})))
    assert [r.messages for r in one.replay(narrow)] == [1]
    assert [r.messages for r in two.replay(seen)] == [2]
    assert [first for first, _ in failures.sent()] == ["customers/0/0", "customers/0/1", "customers/0/2"]


def test_a_claim_that_somebody_else_was_faster_with_is_looked_at_again(failures):
    failures.fail("above_maximum", "not_json", "below_minimum")
    other = failures.replays()

    class Slow(MemoryTables):
        """Between looking and claiming, somebody else claims one of them."""

        def __init__(self, store):
            self.__dict__ = store.__dict__
            self.was_slow = False

        def replace_if(self, table, rows, fence, allowed):
            if not self.was_slow:
                self.was_slow = True
                assert len(list(other.replay(other.find(Wanted(rules=frozenset({"not_json"})))))) == 1
            return super().replace_if(table, rows, fence, allowed)

    slow = failures.replays(store=Slow(failures.store))
    assert [r.messages for r in slow.replay(slow.find(ALL))] == [2]
    assert len(failures.sent()) == 3


def test_a_large_selection_is_cut_by_messages_and_by_bytes(failures, monkeypatch):
    failures.fail(*["above_maximum"] * 7)
    monkeypatch.setattr(replays, "MOST_MESSAGES", 3)
    found = failures.replays()
    assert [r.messages for r in found.replay(found.find(ALL))] == [3, 3, 1]
    monkeypatch.setattr(replays, "MOST_BYTES", 30)
    failures.fail(*["above_maximum"] * 4)
    assert [r.messages for r in found.replay(found.find(ALL))] == [2, 2]
    assert len(failures.sent()) == 11 and found.unfinished() == []


def test_the_bytes_are_not_kept_once_they_are_sent(failures):
    failures.fail("above_maximum")
    failures.run()
    [row] = failures.store.open(TABLE).to_arrow().to_pylist()
    assert (row["is_sent"], row["key"], row["value"]) == (True, None, None)
    assert (row["first_failure"], row["retry_count"], row["rules"]) == ("customers/0/0", 1, ["above_maximum"])


def test_on_apache_kafka_who_died_anywhere_is_finished_and_nothing_is_sent_twice(kafka_broker, make_topic):
    failures = KafkaFailures(kafka_broker.bootstrap, make_topic(2))
    failures.fail("above_maximum", "unscored", partition=1)
    failures.fail_with = OSError("the machine is gone")
    with pytest.raises(OSError):
        failures.run()
    assert failures.sent() == []
    failures.fail_with, failures.die_afterwards = None, True
    with pytest.raises(OSError):
        failures.run()
    failures.die_afterwards = False
    [replay] = failures.replays().unfinished()
    assert (failures.run(), failures.run()) == (2, 0)
    assert failures.sent() == [(f"{failures.topic.name}/1/0", 1), (f"{failures.topic.name}/1/1", 1)]
    # Where the group is forgotten meanwhile, the log still shows what was sent.
    failures.fail("above_maximum")
    failures.die_afterwards = True
    with pytest.raises(OSError):
        failures.run()
    failures.die_afterwards = False
    [replay] = failures.replays().unfinished()
    admin = AdminClient({"bootstrap.servers": kafka_broker.bootstrap})
    for future in admin.delete_consumer_groups([f"test.{replay.id}"]).values():
        future.result()
    assert failures.run() == 1 and len(failures.sent()) == 3


def test_on_apache_kafka_single_messages_far_apart_are_read_again(kafka_broker, make_topic, monkeypatch):
    monkeypatch.setattr(reading_again, "_GAP", 2)
    failures = KafkaFailures(kafka_broker.bootstrap, make_topic(2))
    for n in range(50):
        failures.put(str(n).encode(), n % 2)
    places = [(1, 3), (0, 0), (0, 1), (0, 20), (0, 24), (1, 9), (1, 99), (7, 0)]
    topic_id = failures.topic.watermarks().topic_id
    found = [(m.place, m.value) for m in reading_again.read_again(failures.topic, topic_id, places)]
    assert found == [((p, o), str(2 * o + p).encode()) for p, o in [(0, 0), (0, 1), (0, 20), (0, 24), (1, 3), (1, 9)]]
