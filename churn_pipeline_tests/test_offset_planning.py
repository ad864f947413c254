"""Which offsets the next batch holds: a table of cases, and what holds for every log."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_pipeline.batches import OffsetBatch, OffsetRange
from churn_pipeline.offset_planning import (
    RetentionGap,
    Start,
    StartInvalid,
    TopicRecreated,
    first_offsets,
    lost_ranges,
    next_ranges,
    offset_limit,
    other_log,
    positions,
    require_same_log,
)

LOW, END = {0: 5, 1: 0}, {0: 40, 1: 10}
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def said(ranges):
    return [str(r) for r in ranges]


def planned(*ranges):
    return OffsetBatch("customers", "id", tuple(OffsetRange("customers", *r) for r in ranges), NOON)


@pytest.mark.parametrize(
    ("start", "offsets"),
    [
        ("earliest", {0: 5, 1: 0}),
        ("latest", {0: 40, 1: 10}),
        ("2026-11-01T12:00:00Z", {0: 20, 1: 10}),
        ('{"0": 30}', {0: 30, 1: 0}),
        ('{"0": 40, "1": 10}', {0: 40, 1: 10}),
    ],
)
def test_a_topic_that_was_never_read_begins_where_it_is_told(start, offsets):
    assert first_offsets("customers", Start.parse(start), LOW, END, at_time={0: 20, 1: 10}) == offsets


def test_a_time_without_a_zone_is_utc():
    assert Start.parse("2026-11-01T12:00:00").at == NOON
    assert Start.parse("2026-11-01T13:00:00+01:00").at == NOON


@pytest.mark.parametrize("text", ["newest", "", "{", '{"a": 1}', '{"0": null}', "[1]", '{"0": "x"}'])
def test_where_to_begin_is_refused_if_it_cannot_be_read(text):
    with pytest.raises(StartInvalid, match="Write earliest, latest, a time"):
        Start.parse(text)


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        ('{"7": 1}', "customers has no partition 7; it has 2"),
        ('{"0": 4}', "customers/0 cannot begin at offset 4: its log has 5-40"),
        ('{"1": 11}', "customers/1 cannot begin at offset 11: its log has 0-10"),
    ],
)
def test_an_offset_the_topic_does_not_have_is_no_place_to_begin(offsets, words):
    with pytest.raises(StartInvalid, match=words):
        first_offsets("customers", Start.parse(offsets), LOW, END, {})


@pytest.mark.parametrize(
    ("position", "limit", "ranges"),
    [
        pytest.param({0: 40, 1: 10}, 100, [], id="nothing new"),
        pytest.param({0: 30, 1: 10}, 100, ["customers/0/30-40"], id="one partition has something"),
        pytest.param({0: 5, 1: 0}, 100, ["customers/0/5-40", "customers/1/0-10"], id="all that is there"),
        pytest.param({0: 5}, 100, ["customers/0/5-40", "customers/1/0-10"], id="a partition added since"),
        pytest.param({0: 20, 1: 0}, 15, ["customers/0/20-29", "customers/1/0-5"], id="shared by backlog"),
        pytest.param({0: 5, 1: 9}, 2, ["customers/0/5-6", "customers/1/9-10"], id="nobody is left out"),
        pytest.param({0: 2, 1: 10}, 100, ["customers/0/5-40"], id="what was deleted is passed over once recorded"),
    ],
)
def test_the_next_batch(position, limit, ranges):
    assert said(next_ranges("customers", position, LOW, END, limit)) == ranges


@given(
    st.dictionaries(st.integers(0, 8), st.tuples(st.integers(0, 50), st.integers(0, 500)), min_size=1),
    st.integers(1, 200),
)
def test_batch_after_batch_tiles_the_log(log, limit):
    low, end = {p: a for p, (a, _) in log.items()}, {p: a + n for p, (a, n) in log.items()}
    position, seen = dict(low), 0
    while ranges := next_ranges("t", position, low, end, limit):
        assert all(r.start == position[r.partition] and r.offsets > 0 for r in ranges)
        assert sum(r.offsets for r in ranges) <= max(limit, len(ranges))
        position.update({r.partition: r.end for r in ranges})
        seen += sum(r.offsets for r in ranges)
    assert position == end
    assert seen == sum(n for _, n in log.values())


def test_messages_deleted_before_they_were_scored_are_an_error_that_names_them():
    with pytest.raises(RetentionGap, match=r"customers/0: offsets 2-5 were deleted before they were scored"):
        lost_ranges("customers", {0: 2, 1: 4}, LOW, "fail")
    assert said(lost_ranges("customers", {0: 2, 1: 4}, LOW, "record")) == ["customers/0/2-5"]
    assert lost_ranges("customers", {0: 5, 1: 0}, LOW, "fail") == ()


@pytest.mark.parametrize(
    ("known_id", "topic_id", "position", "words"),
    [
        ("a", "b", {}, "has another id than when it was read"),
        (None, None, {0: 41}, "ends at offset 40 in partition 0, which was read up to offset 41"),
        ("a", None, {2: 1}, "has no partition 2 any more, which was read up to offset 1"),
        ("a", "a", {0: 40, 1: 3}, ""),
        (None, "b", {0: 40}, ""),
    ],
)
def test_a_log_that_is_not_the_one_that_was_read_is_found_out(known_id, topic_id, position, words):
    assert other_log(known_id, topic_id, position, END) == words


def test_a_topic_made_again_stops_planning_unless_that_is_to_be_recorded():
    with pytest.raises(TopicRecreated, match="Topic customers has another id"):
        require_same_log("customers", "has another id than when it was read", "fail")
    require_same_log("customers", "has another id than when it was read", "record")
    require_same_log("customers", "", "fail")


def test_positions_are_where_the_furthest_batch_ends():
    assert positions([planned((0, 0, 10), (1, 0, 4)), planned((0, 10, 12)), planned((2, 7, 7))]) == {0: 12, 1: 4, 2: 7}


def test_the_limit_of_bytes_goes_by_what_messages_had_before():
    assert offset_limit(1_000_000, 10**9, (1_000, 517_000)) == 1_000_000
    assert offset_limit(1_000_000, 10**8, (1_000, 500_000)) == 200_000
    assert offset_limit(1_000_000, 10**8, None) == 100_000
    assert offset_limit(1_000_000, 10, (1, 10**6)) == 1
