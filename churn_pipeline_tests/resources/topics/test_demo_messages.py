"""Rows of files become the messages an application would send, and a message follows from its number alone."""

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn_pipeline.contract.definition import Contract
from churn_pipeline.resources.customer_sources.base import SourceEmpty, SourceUnreadable
from churn_pipeline.resources.topics.demo_messages import (
    DemoStream,
    EventTimes,
    records_of_file,
    records_of_table,
)
from churn_pipeline.sample import sample
from churn_pipeline_tests.docs.pages import REPOSITORY

TELCO = Contract.load("telco")


def stream(rows: int = 50, **options: object) -> DemoStream:
    return DemoStream(records_of_table(sample(TELCO, rows)), TELCO, "customerID", **options)


def values(stream: DemoStream, count: int) -> list[dict]:
    return [json.loads(message.value) for message in islice(stream.since(0), count)]


def test_numbers_of_a_csv_file_are_sent_as_numbers_and_what_is_none_as_the_text_it_is(tmp_path):
    path = tmp_path / "customers.csv"
    path.write_text(
        'customerID,tenure,MonthlyCharges,TotalCharges,Churn,x\n0042,3,29.5,,No,7\nb,1e999,"12,5","",Yes,"a\nb"\n'
    )
    records = records_of_file(path, "csv", TELCO)
    first, second = (list(record.values()) for record in records.rows(0, 2))
    assert first == ["0042", 3, 29.5, None, "No", "7"] and type(first[1]) is int
    assert second == ["b", "1e999", "12,5", "", "Yes", "a\nb"]


def test_values_of_a_parquet_file_that_json_has_no_form_for_are_sent_as_people_write_them(tmp_path):
    path = tmp_path / "customers.parquet"
    row = {"customerID": "a", "paid": Decimal("12.50"), "day": date(2026, 1, 2), "at": datetime(2026, 1, 2, tzinfo=UTC)}
    pq.write_table(pa.Table.from_pylist([row]), path)
    found = DemoStream(records_of_file(path, "parquet", TELCO), TELCO, "customerID")
    assert values(found, 1) == [{"customerID": "a", "paid": 12.5, "day": "2026-01-02", "at": "2026-01-02T00:00:00Z"}]


def test_a_line_of_a_json_lines_file_that_is_no_object_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "customers.jsonl"
    path.write_text('{"customerID": "a", "more": [1]}\n\n[]\n')
    records = records_of_file(path, "jsonl", TELCO)
    assert records.count == 2 and records.rows(0, 1) == [{"customerID": "a", "more": [1]}]
    with pytest.raises(SourceUnreadable, match=r"Line 3 of .*customers\.jsonl"):
        records.rows(1, 2)


@pytest.mark.parametrize(("name", "text"), [("a.csv", "customerID,tenure\n"), ("a.jsonl", "\n")])
def test_a_file_without_rows_is_an_error(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceEmpty, match="holds no row"):
        records_of_file(tmp_path / name, name.partition(".")[2], TELCO)


@pytest.mark.parametrize(("format", "content"), [("csv", b"a,b\n1\n"), ("csv", b"a\n\xff\n"), ("parquet", b"PAR1")])
def test_a_damaged_file_is_an_error_that_quotes_nothing(tmp_path, format, content):
    path = tmp_path / "customers"
    path.write_bytes(content)
    with pytest.raises(SourceUnreadable, match=f"is no {format} file that can be read"):
        records_of_file(path, format, TELCO)


def test_after_the_last_row_comes_the_first_again_with_the_same_id():
    found = list(islice(stream(rows=3).since(0), 7))
    assert [message.number for message in found] == list(range(7))
    assert [m.key for m in found[3:6]] == [m.key for m in found[:3]] and found[6].value == found[0].value


@pytest.mark.parametrize("start", [1, 49, 50, 1_234])
def test_whoever_goes_on_from_a_number_sends_what_would_have_been_sent(start):
    times = EventTimes(datetime(2026, 1, 1, tzinfo=UTC), timedelta(hours=1), 2_000)
    found = stream(malformed=0.5, seed=3, times=times)
    assert list(islice(found.since(start), 100)) == list(islice(found.since(0), start, start + 100))


def test_the_share_of_spoilt_messages_and_which_they_are_follow_from_share_and_seed():
    spoilt = {
        seed: {
            message.number for message in islice(stream(malformed=0.1, seed=seed).since(0), 5_000) if message.malformed
        }
        for seed in (1, 2)
    }
    assert all(400 < len(numbers) < 600 for numbers in spoilt.values()) and spoilt[1] != spoilt[2]
    assert all(message.malformed for message in islice(stream(malformed=1.0).since(0), 500))
    assert not any(message.malformed for message in islice(stream().since(0), 500))


def test_a_larger_share_spoils_the_same_messages_and_more():
    few, many = (
        {message.number for message in islice(stream(malformed=share).since(0), 2_000) if message.malformed}
        for share in (0.1, 0.3)
    )
    assert few < many


def test_event_times_fill_the_column_of_the_contract_or_else_the_timestamp_of_the_message():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    times = EventTimes(start, timedelta(hours=4), 4)
    assert [m.timestamp for m in islice(stream(times=times).since(0), 4)] == [
        round((start + timedelta(hours=n)).timestamp() * 1000) for n in range(4)
    ]
    gym = Contract.load(REPOSITORY / "docs" / "examples" / "gym.yaml")
    found = DemoStream(records_of_table(sample(gym, 4)), gym, "card", times=times)
    assert [value["exported_at"] for value in values(found, 4)] == [f"2026-01-01T0{n}:00:00Z" for n in range(4)]
    assert all(message.timestamp is None for message in islice(found.since(0), 4))


def test_a_record_can_be_put_into_an_envelope():
    (plain,), (wrapped,) = values(stream(), 1), values(stream(envelope="payload"), 1)
    assert wrapped == {"payload": plain}
    assert values(stream(envelope="payload.after"), 1) == [{"payload": {"after": plain}}]


def test_without_a_key_column_or_a_value_in_it_messages_have_no_key():
    records = records_of_table(pa.table({"a": [None, 5]}))
    assert [m.key for m in islice(DemoStream(records, TELCO, "a").since(0), 2)] == [None, b"5"]
    assert [m.key for m in islice(DemoStream(records, TELCO).since(0), 2)] == [None, None]
