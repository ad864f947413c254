import dataclasses
import json
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_pipeline.batches import Batch, FileBatch, FileBound, OffsetBatch, OffsetRange, TableBatch

JUNE = datetime(2026, 6, 30, 23, 59, 59, tzinfo=UTC)
JULY = datetime(2026, 7, 1, 0, 0, 1, tzinfo=UTC)
OLD = FileBound("/data/in/a.csv", 10, "aa" * 32, JUNE)
NEW = FileBound("/data/in/b.csv", 20, "bb" * 32, JULY)
BATCH = FileBatch("/data/in/*.csv", "csv", (OLD, NEW))

moments = st.datetimes(datetime(1980, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))
VERSION = TableBatch("/data/customers", "5d9e5f3b-6fd1-4d5a-b2b7-1a8f0f9f2f10", 7, JULY, 1_234)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
bounds = st.builds(
    FileBound, texts, st.integers(0, 2**50), st.text("0123456789abcdef", min_size=64, max_size=64), moments
)
limits = st.none() | st.integers(0, 10**9)
numbers = st.integers(0, 2**50)
batches = st.builds(
    FileBatch, texts, st.sampled_from(["csv", "parquet", "jsonl"]), st.lists(bounds, max_size=4).map(tuple), limits,
) | st.builds(TableBatch, texts, texts, numbers, moments, numbers, limits, texts)  # fmt: skip


@given(batches)
def test_a_batch_survives_being_written_down(batch):
    again = Batch.from_json(json.loads(json.dumps(batch.to_json())))
    assert again == batch
    assert (again.id, again.date, again.size) == (batch.id, batch.date, batch.size)


@given(batches)
def test_every_id_can_be_a_file_name_a_tag_and_a_word_in_a_sentence(batch):
    name, _, digest = batch.id.rpartition("-")
    assert name.replace("_", "").isalnum()
    assert name.isascii()
    assert len(batch.id) <= 53
    assert len(digest) == 12


def test_an_id_starts_with_what_the_person_named():
    def named(source):
        return dataclasses.replace(BATCH, source=source).id.rpartition("-")[0]

    assert named("/data/Telco Customers.csv") == "telco_customers"
    assert named("/data/customers/*.csv") == "customers"
    assert named("/data/customers/") == "customers"
    assert named(r"C:\data\customers.parquet") == "customers"
    assert named("/data/顧客.csv") == "batch"
    assert named("/") == "batch"


def test_an_id_is_the_same_in_every_version_of_this_package():
    # Written down on purpose: were it to change, every batch that is scored already would be scored again.
    assert BATCH.id == "in-e1ac02c60177"
    assert VERSION.id == "customers-f275ad1c9038"


def test_every_attempt_at_the_same_files_has_the_same_id():
    touched = dataclasses.replace(NEW, modified_at=JULY + timedelta(days=1))
    assert dataclasses.replace(BATCH, files=(OLD, touched)).id == BATCH.id


@pytest.mark.parametrize(
    "change",
    [
        {"files": (OLD,)},
        {"files": (OLD, dataclasses.replace(NEW, sha256="cc" * 32))},
        {"files": (OLD, dataclasses.replace(NEW, path="/data/in/c.csv"))},
        {"limit": 10},
        {"limit": 0},
    ],
    ids=["fewer files", "other content", "other place", "first rows only", "no rows"],
)
def test_other_rows_are_another_batch(change):
    assert dataclasses.replace(BATCH, **change).id != BATCH.id


def test_the_date_is_that_of_the_newest_file_in_utc_and_never_of_the_clock():
    assert BATCH.date == date(2026, 7, 1)
    assert BATCH.as_of == JULY
    assert dataclasses.replace(BATCH, files=(OLD,)).date == date(2026, 6, 30)


def test_the_date_does_not_depend_on_the_zone_the_time_was_written_in():
    value = BATCH.to_json()
    value["files"][1]["modified_at"] = "2026-06-30T20:00:01-04:00"
    assert Batch.from_json(value) == BATCH
    assert Batch.from_json(value).date == date(2026, 7, 1)


def test_a_batch_without_files_still_has_an_id_and_a_date():
    empty = FileBatch("/data/none", "csv", ())
    assert empty.id.startswith("none-")
    assert empty.date == date(1970, 1, 1)
    assert empty.size == 0


def test_the_size_is_that_of_all_files():
    assert BATCH.size == 30


@pytest.mark.parametrize(
    "change", [{"version": 8}, {"table_id": "another"}, {"source": "/other/customers"}, {"limit": 10}, {"again": "m/2"}]
)
def test_another_version_or_table_or_part_of_it_is_another_batch(change):
    assert dataclasses.replace(VERSION, **change).id != VERSION.id


def test_the_moment_of_a_commit_gives_the_date_of_a_version_and_no_part_of_its_id():
    moved = dataclasses.replace(VERSION, committed_at=JUNE, stored=0)
    assert moved.id == VERSION.id
    assert (moved.date, VERSION.date) == (JUNE.date(), JULY.date())


RANGES = (OffsetRange("customers", 0, 10, 25), OffsetRange("customers", 3, 0, 7))
OFFSETS = OffsetBatch("customers", "AbC", RANGES, JULY)


def test_ranges_of_offsets_survive_run_config_and_print_as_people_write_them():
    value = json.loads(json.dumps(OFFSETS.to_json()))
    assert Batch.from_json(value) == OFFSETS
    assert value["offsets"] == {"customers": {"0": [10, 25], "3": [0, 7]}}
    assert [str(r) for r in RANGES] == ["customers/0/10-25", "customers/3/0-7"]


def test_the_moment_of_planning_gives_the_date_and_no_part_of_the_id():
    later = OffsetBatch("customers", "AbC", RANGES, JUNE)
    assert later.id == OFFSETS.id
    assert (later.date, OFFSETS.date) == (JUNE.date(), JULY.date())


def test_the_same_offsets_of_a_topic_made_again_are_another_batch():
    assert OffsetBatch("customers", "AbD", RANGES, JULY).id != OFFSETS.id
    assert OffsetBatch("customers", None, RANGES, JULY).id.startswith("customers-")


@pytest.mark.parametrize("count", [1, 2, 3, 7, 1_000])
def test_a_divided_batch_has_every_offset_once_and_in_order(count):
    ranges = (OffsetRange("t", 0, 5, 105), OffsetRange("t", 2, 7, 7), OffsetRange("t", 3, 0, 23))
    parts = OffsetBatch("t", "id", ranges, JUNE).divided(count)
    found = [(r.partition, offset) for part in parts for r in part.ranges for offset in range(r.start, r.end)]
    assert found == [(r.partition, offset) for r in ranges for offset in range(r.start, r.end)]
    assert count <= len(parts) <= count + 1 or (count == 1_000 and len(parts) == 123)
