"""Customers from PostgreSQL: its types, one state of it, and what it refuses."""

import traceback
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from churn_pipeline.contract.definition import Contract
from churn_pipeline.contract.validation import Validated, validate
from churn_pipeline.resources.customer_sources.base import SourceNotFound
from churn_pipeline.resources.customer_sources.databases import (
    Database,
    DatabaseRefused,
    DatabaseUnreachable,
    QueryFailed,
)
from churn_pipeline.resources.customer_sources.files import FileSource
from churn_pipeline.resources.customer_sources.query_snapshots import QuerySnapshots
from churn_pipeline.resources.customer_sources.sql_queries import SqlSource
from churn_pipeline.sample import sample
from churn_pipeline_tests.resources.customer_sources.shops import CONTRACT, SHOPS, ids, read

JUNE = datetime(2024, 6, 1, tzinfo=UTC)
TELCO = Contract.load("telco")

#: A contract with one feature of each type, all of the same column `v`.
TYPES = ("number", "integer", "boolean", "category", "text")


def of(kind: str) -> Contract:
    feature = {"type": kind, "nullable": True, "description": "v", "source": "v"}
    if kind == "category":
        feature["allowed"] = ["ok", "1"]
    return Contract.model_validate(
        {
            "name": "one",
            "description": "One column.",
            "id": {"column": "id", "description": "Id."},
            "features": {"value": feature},
        }
    )


@pytest.fixture
def source(postgres, tmp_path):
    def make(query: str, contract: Contract = CONTRACT, url: str = "") -> SqlSource:
        return SqlSource(
            f"sql:{query}", Database(url or postgres.url), contract, QuerySnapshots(tmp_path / "snapshots")
        )

    return make


def judged(source: SqlSource | FileSource, contract: Contract) -> list[Validated]:
    return [validate(part, contract, JUNE) for part in read(source, contract)]  # type: ignore[arg-type]


def column(source: SqlSource, kind: str) -> tuple[list[object], list[tuple[str, str]]]:
    """What becomes of the column `v`: values of customers, and rule and value of the rejected."""
    parts = judged(source, of(kind))
    kept = [row["value"] for part in parts for row in part.customers.to_pylist()]
    failures = [failure for part in parts for row in part.rejected.to_pylist() for failure in row["failures"]]
    return kept, [(failure["rule"], failure["value"]) for failure in failures]


def test_a_table_gives_the_customers_and_rejects_that_a_parquet_file_gives(postgres, source, tmp_path: Path):
    rows = sample(TELCO, 2_000, seed=5)
    odd = pa.array([None if n % 19 == 0 else "whenever" if n % 17 == 0 else "One year" for n in range(2_000)])
    rows = rows.set_column(rows.column_names.index("Contract"), "Contract", odd).sort_by("customerID")
    postgres.run(customers=rows)
    pq.write_table(rows, tmp_path / "customers.parquet")
    found, same = (
        judged(source("customers", TELCO), TELCO),
        judged(FileSource(str(tmp_path / "customers.parquet")), TELCO),
    )
    assert sum(part.rejected.num_rows for part in found) > 200
    for name in ("customers", "rejected"):
        mine, theirs = (pa.Table.from_batches(getattr(part, name) for part in parts) for parts in (found, same))
        assert mine.drop_columns("source_partition").to_pylist() == theirs.drop_columns("source_partition").to_pylist()


def test_every_shop_is_a_customer_unicode_and_missing_values_included(postgres, source):
    postgres.run(shops=pa.Table.from_pylist(SHOPS))
    (part,) = judged(source("shops"), CONTRACT)
    assert part.rejected.num_rows == 0
    assert part.customers.column("note").to_pylist() == ['two "quoted", words', "plain", None, "zwölf\nlines", ""]
    assert part.customers.column("spend").to_pylist() == [1.5, None, 3.5, 4.5, 5.5]


@pytest.mark.parametrize(
    ("value", "kind", "kept", "rejected"),
    [
        ("12.50::numeric", "number", [12.5], []),
        ("12::numeric(10,0)", "integer", [12], []),
        ("12.5::numeric", "integer", [], [("not_an_integer", "12.5")]),
        ("'NaN'::numeric", "number", [], [("not_finite", "nan")]),
        ("'-Infinity'::numeric", "number", [], [("not_finite", "-inf")]),
        ("123456789012345678901234567890.5::numeric", "number", [123456789012345678901234567890.5], []),
        ("12.50::numeric", "text", ["12.50"], []),
        ("null::numeric", "number", [None], []),
        ("1::smallint", "integer", [1], []),
        ("1::bigint", "boolean", [True], []),
        ("1::bigint", "category", ["1"], []),
        ("1.5::real", "number", [1.5], []),
        ("true", "boolean", [True], []),
        ("true", "number", [], [("not_a_number", "True")]),
        ("'ok'::mood", "category", ["ok"], []),
        ("'sad'::mood", "category", [], [("not_allowed", "sad")]),
        ("'6c1a5c2e-0000-4000-8000-00000000abcd'::uuid", "text", ["6c1a5c2e-0000-4000-8000-00000000abcd"], []),
        ("'{\"a\": 1}'::json", "text", ['{"a": 1}'], []),
        ("'{\"a\": 1}'::jsonb", "number", [], [("not_a_number", '{"a": 1}')]),
        ("'ok'::varchar", "text", ["ok"], []),
        ("'5'::text", "number", [], [("not_a_number", "5")]),
        ("'\\x6f6b'::bytea", "text", ["ok"], []),
        ("array[1, 2]", "text", [], [("not_text", "[1,2]")]),
        ("array['a', null]", "text", [], [("not_text", '["a",null]')]),
        ("12.34::money", "number", [], [("not_a_number", '{"money":"1234"}')]),
        ("'1 day'::interval", "text", [], [("not_text", None)]),
        ("'10.0.0.1'::inet", "text", [], [("not_text", None)]),
        ("'<a/>'::xml", "text", [], [("not_text", None)]),
        ("point(1, 2)", "text", [], [("not_text", None)]),
        ("'01:02:03'::time", "text", [], [("not_text", '{"time":"01:02:03"}')]),
        ("'2024-01-02'::date", "text", [], [("not_text", '{"date":"2024-01-02"}')]),
        ("'infinity'::date", "number", [], [("not_a_number", '{"date":"infinity"}')]),
        ("'infinity'::timestamp", "text", [], [("not_text", '{"timestamp":"infinity"}')]),
    ],
)
def test_a_value_is_read_as_its_type_or_rejected_and_never_taken_for_another(
    postgres, source, value, kind, kept, rejected
):
    postgres.run("drop type if exists mood cascade", "create type mood as enum ('sad', 'ok')")
    found, refused = column(source(f"select 'a' as id, {value} as v", of(kind)), kind)
    assert found == kept
    assert [rule for rule, _ in refused] == [rule for rule, _ in rejected]
    assert all(shown in (None, found) for (_, found), (_, shown) in zip(refused, rejected, strict=True))


@pytest.mark.parametrize(
    ("value", "at"),
    [
        ("'2024-05-06'::date", datetime(2024, 5, 6, tzinfo=UTC)),
        ("'2024-05-06 07:08:09.123456'::timestamp", datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)),
        ("'2024-05-06 07:08:09+02'::timestamptz", datetime(2024, 5, 6, 5, 8, 9, tzinfo=UTC)),
        ("'2024-05-06T07:08:09Z'::text", datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)),
        ("'infinity'::date", "infinity"),
        ("'-infinity'::date", "-infinity"),
        ("'infinity'::timestamptz", "infinity"),
        ("'-infinity'::timestamp", "-infinity"),
        ("'294270-01-01'::timestamp", "out of range"),
        ("'5000000-01-01'::date", None),
        ("'0044-03-15 BC'::date", None),
    ],
)
def test_a_time_is_that_time_in_utc_and_one_that_no_table_holds_costs_its_row(postgres, source, value, at):
    contract = of("number").model_copy(update={"event_time": CONTRACT.event_time})
    query = f"select 'a' as id, 1 as v, {value} as seen union all select 'b', 2, null"
    found = judged(source(query, contract), contract)
    customers = [row["event_at"] for part in found for row in part.customers.to_pylist()]
    failures = [f for part in found for row in part.rejected.to_pylist() for f in row["failures"] if row["id"] == "a"]
    if isinstance(at, datetime):
        assert at in customers and failures == []
    else:
        assert [f["rule"] for f in failures] == ["not_a_time"] and at in (None, failures[0]["value"])


def test_tables_of_a_schema_and_a_name_in_quotes_are_found_and_a_wrong_one_names_the_nearest(postgres, source):
    postgres.run(
        "create schema if not exists sales", "drop table if exists sales.\"My Shops\"",
        'create table sales."My Shops" as select * from shops', shops=pa.Table.from_pylist(SHOPS),
    )  # fmt: skip
    assert ids(read(source('sales."My Shops"'))) == ["S1", "S2", "S3", "S4", "S5"]
    with pytest.raises(SourceNotFound, match=r"no table shopz \(nearest: 'shops'\)"):
        source("shopz").plan()
    with pytest.raises(SourceNotFound, match=r"no table sale\.shops \(nearest: "):
        source("sale.shops").plan()


def test_nothing_can_be_written_and_one_state_is_seen(postgres, source):
    postgres.run("create sequence if not exists numbers", shops=pa.Table.from_pylist(SHOPS))
    with pytest.raises(QueryFailed, match="read-only transaction"):
        source("with gone as (delete from shops returning *) select * from gone").plan()
    with pytest.raises(QueryFailed):
        source("select 'a' as id, nextval('numbers') as v", of("integer")).plan()
    with Database(postgres.url).session() as session:
        assert sum(batch.num_rows for batch in session.query("select * from shops").batches) == 5
        postgres.run("delete from shops")
        assert sum(batch.num_rows for batch in session.query("select * from shops").batches) == 5


def test_a_wrong_statement_is_told_in_the_databases_words_and_a_wrong_row_is_not_quoted(postgres, source):
    postgres.run(shops=pa.Table.from_pylist([{"shop": "hunter2"}]))
    with pytest.raises(QueryFailed, match=r'SQLSTATE 42703\): column "nope" does not exist'):
        source("select nope from shops").plan()
    with pytest.raises(QueryFailed, match=r"SQLSTATE 42601\): syntax error at or near"):
        source("selec 1").plan()
    for value in ("shop::int", "1 / (length(shop) - 7)", "(1, shop)"):
        with pytest.raises(QueryFailed) as error:
            source(f"select shop as id, {value} as v from shops", of("number")).plan()
        assert "hunter2" not in "".join(traceback.format_exception(error.value))


def test_a_row_that_fails_after_others_came_is_told_without_it(postgres, source):
    query = "select i::text as id, 1 / (500000 - i) as v from generate_series(1, 600000) i"
    with pytest.raises(QueryFailed, match="failed at one of its rows"):
        source(query, of("number")).plan()


def test_a_connection_that_is_lost_while_rows_come_is_told(postgres):
    with Database(postgres.url).session() as session:
        batches = session.query("select i, md5(i::text) from generate_series(1, 5000000) i").batches
        next(batches)
        postgres.run(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'churn_pipeline' and pid <> pg_backend_pid()"
        )
        with pytest.raises(DatabaseUnreachable, match="was lost while it was asked"):
            for _ in batches:
                pass


def test_who_may_not_come_in_is_told_why_and_no_password_is_repeated(postgres, source):
    wrong = postgres.url.replace("hun%20ter%2F2", "hunter3")
    postgres.run(
        "drop role if exists guest", "create role guest login password 'hunter4'", shops=pa.Table.from_pylist(SHOPS)
    )
    guest = postgres.url.replace("tester:hun%20ter%2F2", "guest:hunter4")
    for url, kind, said in [
        (wrong, DatabaseRefused, "does not accept the user and password"),
        (postgres.url.replace("tester:hun%20ter%2F2@", "tester@"), DatabaseRefused, "does not accept the user"),
        (postgres.url.replace("/postgres", "/nowhere"), DatabaseRefused, "is not there, though its server is"),
        (postgres.url.replace(str(postgres.port), "1"), DatabaseUnreachable, "127.0.0.1:1/postgres does not answer"),
        (guest, DatabaseRefused, "permission denied for table shops"),
    ]:
        with pytest.raises(kind, match=said) as error:
            source("shops", url=url).plan()
        text = "".join(traceback.format_exception(error.value))
        assert "hunter" not in text and "ter%2F2" not in text


def test_a_snapshot_does_not_depend_on_how_the_rows_came(postgres, source):
    rows = pa.table({"id": [f"{n:07}" for n in range(300_000)], "v": range(300_000)})
    postgres.run(wide=rows)
    first = source("wide", of("number")).plan()
    postgres.run(wide=rows.sort_by([("id", "descending")]))
    assert source("wide", of("number")).plan() == first
    assert [len(part) for part in [source("wide", of("number")).parts(first, 9)]] == [3]
