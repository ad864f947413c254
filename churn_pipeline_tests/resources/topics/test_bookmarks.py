"""A batch counts as published when, and only when, the committed offsets prove it."""

from churn_pipeline.resources.topics.bookmarks import Bookmark, bookmarks_of, is_published
from churn_pipeline_tests.resources.topics.builders import batch

GIVEN = batch("customers", {0: (5, 9), 1: (0, 4)})


def of_another(offset: int, topic_id: str | None = "first") -> Bookmark:
    return Bookmark(offset, "another-batch", topic_id)


def test_a_bookmark_is_read_as_it_was_written():
    for mark in (Bookmark(9, "customers-1f0c5b7a9e21", "MkU3OEVBNTcwNTJENDM2Qg"), Bookmark(9, "customers-1f0c", None)):
        assert Bookmark.read(mark.offset, mark.metadata) == mark


def test_what_somebody_else_committed_names_no_batch():
    for metadata in (None, "", "their own words", "batches=3"):
        assert Bookmark.read(9, metadata) == Bookmark(9)


def test_a_batch_is_not_published_where_nothing_was_committed():
    assert not is_published(GIVEN, {})
    assert not is_published(GIVEN, {0: Bookmark.read(-1001, None), 1: Bookmark.read(-1001, None)})


def test_a_batch_is_published_once_its_own_bookmarks_are_there():
    own = bookmarks_of(GIVEN, {})
    assert own == {0: Bookmark(9, GIVEN.id, "first"), 1: Bookmark(4, GIVEN.id, "first")}
    assert is_published(GIVEN, own)


def test_a_bookmark_for_some_of_the_partitions_proves_nothing():
    assert not is_published(GIVEN, {0: Bookmark(9, GIVEN.id, "first")})


def test_a_later_batch_covers_the_ends_that_it_reached():
    assert is_published(GIVEN, {0: of_another(9), 1: of_another(5)})
    assert not is_published(GIVEN, {0: of_another(8), 1: of_another(5)})


def test_a_batch_of_the_topic_before_it_was_made_again_covers_nothing():
    assert not is_published(GIVEN, {0: of_another(100, "before"), 1: of_another(100, None)})


def test_an_offset_without_a_batch_covers_nothing():
    assert not is_published(GIVEN, {0: Bookmark(100), 1: Bookmark(100)})


def test_bookmarks_of_a_later_batch_are_not_set_back():
    assert bookmarks_of(GIVEN, {0: of_another(20), 1: of_another(2)}) == {1: Bookmark(4, GIVEN.id, "first")}
