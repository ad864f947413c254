"""Asset checks: what must be true of every batch before anything follows from it.

Belongs here: predicates over tables that are already written, named by table. Does not: what must hold before
writing (the streams of the assets and `assets/scored_batches.add_up` raise there).

A blocking check reads the tables again, as any other reader would: it does not trust what the writer counted. Checks of
tables that one step writes run in one step too, so that each table is read once.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import closing

import dagster as dg
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.contract.columns import judge, rules_of
from churn_pipeline.contract.definition import Contract
from churn_pipeline.fingerprints import fingerprints
from churn_pipeline.io_managers.base import TableHandle, TableStore
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.io_managers.topic_batches import CustomerTopic, TopicState
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.read_ahead import read_ahead
from churn_pipeline.resources.customer_sources.duplicates import IdRegister
from churn_pipeline.resources.model_registry import ModelRegistry

#: How far the share predicted to churn may be from the share at training before it is worth a look.
SHARE_BAND = 0.1

#: Share of a topic's kept messages that must lie between what retention deletes next and what was not scored.
LEAST_HEAD_ROOM = 0.1

#: Sums of the same numbers in another order differ by less.
_ROUNDING = 1e-9

#: What says which row a row is, beside its id.
_PLACE = ("source_partition", "source_position")


@dg.multi_asset_check(
    name="check_customers",
    specs=[
        dg.AssetCheckSpec(
            "customers_keep_the_contract",
            asset="customers",
            blocking=True,
            description="Every row of the table keeps every rule of the contract.",
        ),
        dg.AssetCheckSpec(
            "rejected_customers_and_customers_are_all_rows_read",
            asset="rejected_customers",
            additional_deps=["customers"],
            blocking=True,
            description="read = customers + rejected, counted in the tables; every rejected row says why.",
        ),
    ],
    ins={"customers": dg.AssetIn("customers"), "rejected_customers": dg.AssetIn("rejected_customers")},
)
def customers_and_rejected_customers(
    customers: TableHandle, rejected_customers: TableHandle, contract: dg.ResourceParam[Contract]
) -> Iterator[dg.AssetCheckResult]:
    """Both tables that reading a batch leaves."""
    kept = broken = 0
    for batch in _rows(customers, [contract.id.column, *contract.features]):
        kept += batch.num_rows
        broken += _broken_cells(batch, contract)
    yield dg.AssetCheckResult(
        asset_key="customers",
        check_name="customers_keep_the_contract",
        passed=broken == 0,
        metadata={"cells_broken": broken},
    )
    rejected = unexplained = 0
    for batch in _rows(rejected_customers, ["rules"]):
        rejected += batch.num_rows
        unexplained += pc.sum(pc.equal(pc.list_value_length(batch.column(0)).fill_null(0), 0)).as_py() or 0
    read = int(customers.notes["rows_read"])
    yield dg.AssetCheckResult(
        asset_key="rejected_customers",
        check_name="rejected_customers_and_customers_are_all_rows_read",
        passed=read == kept + rejected and unexplained == 0,
        metadata={"rows_read": read, "customers": kept, "rejected": rejected, "unexplained": unexplained},
    )


@dg.multi_asset_check(
    name="check_predictions",
    specs=[
        dg.AssetCheckSpec(
            "churn_predictions_are_probabilities",
            asset="churn_predictions",
            blocking=True,
            description="Every probability is finite and between 0 and 1, every prediction follows from it and the "
            "threshold, and their sums are what the ledger will say.",
        ),
        dg.AssetCheckSpec(
            "churn_predictions_share_is_near_training",
            asset="churn_predictions",
            additional_deps=["churn_model"],
            description="The share predicted to churn is within a band around the share at training; a warning, not a "
            "stop.",
        ),
        dg.AssetCheckSpec(
            "unscored_customers_and_predictions_are_all_customers",
            asset="unscored_customers",
            additional_deps=["customers", "churn_predictions"],
            blocking=True,
            description="customers = scored + unscored, the same ids on both sides; every unscored row has its error.",
        ),
    ],
    ins={name: dg.AssetIn(name) for name in ("churn_predictions", "unscored_customers", "customers", "churn_model")},
)
def churn_predictions_and_unscored_customers(
    churn_predictions: TableHandle,
    unscored_customers: TableHandle,
    customers: TableHandle,
    churn_model: ModelVersion,
    contract: dg.ResourceParam[Contract],
    model_registry: dg.ResourceParam[ModelRegistry],
) -> Iterator[dg.AssetCheckResult]:
    """Both tables that scoring a batch leaves, against the customers it began with."""
    place = [contract.id.column, *_PLACE]
    scored, wrong, churn, total, revenue = _Bag(), 0, 0, 0.0, 0.0
    columns = [*place, "churn_probability", "prediction", "threshold", "revenue_at_risk"]
    for batch in _rows(churn_predictions, columns):
        scored.add(batch)
        probability, prediction, threshold = (c.to_numpy(zero_copy_only=False) for c in batch.columns[len(place) : -1])
        fits = (probability >= 0) & (probability <= 1) & ((probability >= threshold) == (prediction == 1))
        wrong += int((~fits).sum())
        churn += int(prediction.sum())
        total += float(probability.sum())
        revenue += pc.sum(batch.column("revenue_at_risk")).as_py() or 0.0
    noted = churn_predictions.notes
    sums_agree = (
        churn == noted["rows_churn"]
        and math.isclose(total, scored.rows * (noted["mean_probability"] or 0.0), rel_tol=_ROUNDING)
        and math.isclose(revenue, noted["revenue_at_risk"] or 0.0, rel_tol=_ROUNDING)
    )
    yield dg.AssetCheckResult(
        asset_key="churn_predictions",
        check_name="churn_predictions_are_probabilities",
        passed=wrong == 0 and sums_agree,
        metadata={"rows_wrong": wrong, "sums_agree": sums_agree},
    )
    yield _share_check(scored.rows, churn, model_registry.reference_share(churn_model))
    unscored, silent = _Bag(), 0
    for batch in _rows(unscored_customers, [*place, "error_type"]):
        unscored.add(batch)
        silent += batch.column("error_type").null_count
    all_of = _Bag(_rows(customers, place))
    covered = all_of.rows == scored.rows + unscored.rows and all_of.sum == (scored.sum + unscored.sum) % 2**64
    yield dg.AssetCheckResult(
        asset_key="unscored_customers",
        check_name="unscored_customers_and_predictions_are_all_customers",
        passed=covered and silent == 0,
        metadata={"customers": all_of.rows, "scored": scored.rows, "unscored": unscored.rows, "without_error": silent},
    )


@dg.asset_check(asset="scored_batches", blocking=True, additional_ins={"churn_predictions": dg.AssetIn()})
def scored_batches_hold_each_batch_once(
    scored_batches: TableHandle, churn_predictions: TableHandle, table_store: dg.ResourceParam[TableStore]
) -> dg.AssetCheckResult:
    """The ledger has one row for this batch, and the newest version of the predictions as many rows as it says."""
    assert scored_batches.batch is not None
    rows = Ledger(table_store).find(scored_batches.batch)
    newest = table_store.open("churn_predictions", churn_predictions.batch)
    found = newest.rows if newest else 0
    return dg.AssetCheckResult(
        passed=len(rows) == 1 and found == rows[0].rows_scored,
        metadata={"ledger_rows": len(rows), "prediction_rows": found},
    )


@dg.asset_check(asset="current_churn_scores", blocking=True)
def current_churn_scores_hold_each_customer_once(
    current_churn_scores: TableHandle, table_store: dg.ResourceParam[TableStore], contract: dg.ResourceParam[Contract]
) -> dg.AssetCheckResult:
    """No customer has two current scores."""
    whole = table_store.open(current_churn_scores.table)
    customers = 0
    with closing(IdRegister(places=False)) as register:
        for batch in _rows(whole, [contract.id.column]) if whole else ():
            customers += batch.num_rows
            register.add(batch.column(0))
        twice = register.repeated()
    return dg.AssetCheckResult(passed=twice == 0, metadata={"customers": customers, "more_than_once": twice})


@dg.asset_check(asset="training_customers", blocking=True)
def training_customers_are_both_kinds(training_customers: TableHandle) -> dg.AssetCheckResult:
    """There are customers who left and customers who stayed."""
    churned = sum(pc.sum(b.column(0)).as_py() or 0 for b in training_customers.stream(["churned"]))
    stayed = training_customers.rows - churned
    return dg.AssetCheckResult(passed=churned > 0 and stayed > 0, metadata={"churned": churned, "stayed": stayed})


@dg.multi_asset_check(
    name="check_customer_messages",
    specs=[
        dg.AssetCheckSpec(
            "customer_messages_are_scored_in_time",
            asset="customer_messages",
            description="No more messages wait than one batch takes; a warning, not a stop.",
        ),
        dg.AssetCheckSpec(
            "customer_messages_have_head_room",
            asset="customer_messages",
            description="Retention is not about to delete messages that were not scored; a warning, not a stop.",
        ),
    ],
)
def customer_messages_in_time(customer_topic: dg.ResourceParam[CustomerTopic]) -> Iterator[dg.AssetCheckResult]:
    """The customer topic, as the sensor customer_batches sees it at each tick."""
    if customer_topic.batches is None:
        raise dg.Failure("No topic is named. Set CHURN_KAFKA_TOPIC and KAFKA_BOOTSTRAP_SERVERS.", allow_retries=False)
    yield from topic_checks(customer_topic.batches.look())


def topic_checks(state: TopicState) -> list[dg.AssetCheckResult]:
    """Both checks of a topic, from what is known of it."""
    lag, most = sum(state.lag.values()), state.batch_limit
    late = f"{lag:,} messages wait; one batch takes {most:,}."
    room = f"{state.head_room:.0%} of what is kept may be deleted before a message is lost."
    return [
        dg.AssetCheckResult(
            asset_key="customer_messages",
            check_name=name,
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=said,
            metadata=metadata,
        )
        for name, passed, said, metadata in (
            ("customer_messages_are_scored_in_time", lag <= most, late, {"lag": lag}),
            ("customer_messages_have_head_room", state.head_room >= LEAST_HEAD_ROOM, room, {"share": state.head_room}),
        )
    ]


def _rows(handle: TableHandle, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """A table's rows, the next ones being read while these are looked at."""
    return read_ahead(handle.stream(columns))


def _broken_cells(batch: pa.RecordBatch, contract: Contract) -> int:
    broken = 0
    for rules in rules_of(contract):
        if rules.name != "event_at":
            masks = judge(batch.column(rules.name), rules).broken.values()
            broken += int(np.logical_or.reduce(list(masks)).sum()) if masks else 0
    return broken


def _share_check(scored: int, churn: int, reference: float | None) -> dg.AssetCheckResult:
    passed, said, numbers = True, "Nothing to compare with.", dict[str, float]()
    if scored and reference is not None:
        share = churn / scored
        passed = abs(share - reference) <= SHARE_BAND
        said = f"{share:.1%} now, {reference:.1%} at training; more than {SHARE_BAND:.0%} apart is worth a look."
        numbers = {"share_churn": share, "reference_share": reference}
    return dg.AssetCheckResult(
        asset_key="churn_predictions",
        check_name="churn_predictions_share_is_near_training",
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata=numbers,
    )


class _Bag:
    """Rows of a table, as a count and an order-free checksum of where each came from."""

    def __init__(self, batches: Iterable[pa.RecordBatch] = ()) -> None:
        self.rows = self.sum = 0
        for batch in batches:
            self.add(batch)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take in rows whose first columns are id, partition and position."""
        self.rows += batch.num_rows
        ids, partitions = fingerprints(batch.column(0)), fingerprints(batch.column(1))
        positions: npt.NDArray[np.uint64] = batch.column(2).to_numpy(zero_copy_only=False).astype(np.uint64)
        mixed = (ids ^ (partitions * np.uint64(31))) * (2 * positions + np.uint64(1))
        self.sum = (self.sum + int(mixed.sum(dtype=np.uint64))) % 2**64


ALL = [
    customers_and_rejected_customers,
    churn_predictions_and_unscored_customers,
    scored_batches_hold_each_batch_once,
    current_churn_scores_hold_each_customer_once,
    training_customers_are_both_kinds,
    customer_messages_in_time,
]
