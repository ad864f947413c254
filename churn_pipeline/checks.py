"""Asset checks: what must be true of every batch before anything follows from it.

Belongs here: predicates over tables that are already written, named by table. Does not: what must hold before
writing (the streams of the assets and `assets/scored_batches.add_up` raise there).

A blocking check reads the tables again, as any other reader would: it does not trust what the writer counted.
"""

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.contract.columns import judge, rules_of
from churn_pipeline.contract.definition import Contract
from churn_pipeline.io_managers.base import TableHandle, TableStore
from churn_pipeline.io_managers.scored_batches import Ledger
from churn_pipeline.kernel.model_version import ModelVersion
from churn_pipeline.resources.model_registry import ModelRegistry

#: How far the share predicted to churn may be from the share at training before it is worth a look.
SHARE_BAND = 0.1


@dg.asset_check(asset="customers", blocking=True)
def customers_keep_the_contract(customers: TableHandle, contract: dg.ResourceParam[Contract]) -> dg.AssetCheckResult:
    """Every row of the table keeps every rule of the contract."""
    broken = 0
    for batch in customers.stream():
        for rules in rules_of(contract):
            if rules.name != "event_at":
                masks = judge(batch.column(rules.name), rules).broken.values()
                broken += int(np.logical_or.reduce(list(masks)).sum()) if masks else 0
    return dg.AssetCheckResult(passed=broken == 0, metadata={"cells_broken": broken})


@dg.asset_check(asset="rejected_customers", blocking=True, additional_ins={"customers": dg.AssetIn("customers")})
def rejected_customers_and_customers_are_all_rows_read(
    rejected_customers: TableHandle, customers: TableHandle
) -> dg.AssetCheckResult:
    """read = customers + rejected, counted in the tables; every rejected row says why."""
    kept = _count(customers)
    rejected = unexplained = 0
    for batch in rejected_customers.stream(["rules"]):
        rejected += batch.num_rows
        unexplained += pc.sum(pc.equal(pc.list_value_length(batch.column(0)).fill_null(0), 0)).as_py() or 0
    read = int(customers.notes["rows_read"])
    return dg.AssetCheckResult(
        passed=read == kept + rejected and unexplained == 0,
        metadata={"rows_read": read, "customers": kept, "rejected": rejected, "unexplained": unexplained},
    )


@dg.asset_check(asset="churn_predictions", blocking=True)
def churn_predictions_are_probabilities(churn_predictions: TableHandle) -> dg.AssetCheckResult:
    """Every probability is finite and between 0 and 1, and every prediction follows from it and the threshold."""
    wrong = 0
    for batch in churn_predictions.stream(["churn_probability", "prediction", "threshold"]):
        probability, prediction, threshold = (c.to_numpy(zero_copy_only=False) for c in batch.columns)
        fits = (probability >= 0) & (probability <= 1) & ((probability >= threshold) == (prediction == 1))
        wrong += int((~fits).sum())
    return dg.AssetCheckResult(passed=wrong == 0, metadata={"rows_wrong": wrong})


@dg.asset_check(
    asset="unscored_customers",
    blocking=True,
    additional_ins={
        "customers": dg.AssetIn("customers"),
        "churn_predictions": dg.AssetIn("churn_predictions"),
    },
)
def unscored_customers_and_predictions_are_all_customers(
    unscored_customers: TableHandle,
    customers: TableHandle,
    churn_predictions: TableHandle,
    contract: dg.ResourceParam[Contract],
) -> dg.AssetCheckResult:
    """customers = scored + unscored, the same ids on both sides; every unscored row has its error."""
    columns = [contract.id.column, "source_partition", "source_position"]
    all_of, scored, unscored = (_Bag(t, columns) for t in (customers, churn_predictions, unscored_customers))
    silent = sum(b.column(0).null_count for b in unscored_customers.stream(["error_type"]))
    covered = all_of.rows == scored.rows + unscored.rows and all_of.sum == (scored.sum + unscored.sum) % 2**64
    return dg.AssetCheckResult(
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
    ids = [_hash(b.column(0)) for b in whole.stream([contract.id.column])] if whole else []
    hashes = np.concatenate(ids) if ids else np.empty(0, np.uint64)
    twice = len(hashes) - len(np.unique(hashes))
    return dg.AssetCheckResult(passed=twice == 0, metadata={"customers": len(hashes), "more_than_once": twice})


@dg.asset_check(asset="churn_predictions", additional_ins={"churn_model": dg.AssetIn("churn_model")})
def churn_predictions_share_is_near_training(
    churn_predictions: TableHandle, churn_model: ModelVersion, model_registry: dg.ResourceParam[ModelRegistry]
) -> dg.AssetCheckResult:
    """The share predicted to churn is within a band around the share at training; a warning, not a stop."""
    reference = model_registry.reference_share(churn_model)
    churn = sum(pc.sum(b.column(0)).as_py() or 0 for b in churn_predictions.stream(["prediction"]))
    if reference is None or not churn_predictions.rows:
        return dg.AssetCheckResult(passed=True, description="Nothing to compare with.")
    share = churn / churn_predictions.rows
    return dg.AssetCheckResult(
        passed=abs(share - reference) <= SHARE_BAND,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{share:.1%} now, {reference:.1%} at training; more than {SHARE_BAND:.0%} apart is worth a look.",
        metadata={"share_churn": share, "reference_share": reference},
    )


@dg.asset_check(asset="training_customers", blocking=True)
def training_customers_are_both_kinds(training_customers: TableHandle) -> dg.AssetCheckResult:
    """There are customers who left and customers who stayed."""
    churned = sum(pc.sum(b.column(0)).as_py() or 0 for b in training_customers.stream(["churned"]))
    stayed = training_customers.rows - churned
    return dg.AssetCheckResult(passed=churned > 0 and stayed > 0, metadata={"churned": churned, "stayed": stayed})


class _Bag:
    """Rows of a table, as a count and an order-free checksum of where each came from."""

    def __init__(self, handle: TableHandle, columns: list[str]) -> None:
        self.rows = self.sum = 0
        for batch in handle.stream(columns):
            self.rows += batch.num_rows
            ids, partitions = _hash(batch.column(0)), _hash(batch.column(1))
            positions = batch.column(2).to_numpy(zero_copy_only=False).astype(np.uint64)
            mixed = (ids ^ (partitions * np.uint64(31))) * (2 * positions + np.uint64(1))
            self.sum = (self.sum + int(mixed.sum(dtype=np.uint64))) % 2**64


def _count(handle: TableHandle) -> int:
    return sum(batch.num_rows for batch in handle.stream(["source_position"]))


def _hash(values: pa.Array) -> "np.ndarray[tuple[int], np.dtype[np.uint64]]":
    if pa.types.is_dictionary(values.type):
        return _hash(values.dictionary)[values.indices.to_numpy(zero_copy_only=False)]
    return pd.util.hash_array(values.to_numpy(zero_copy_only=False).astype(object), categorize=False)


ALL = [
    customers_keep_the_contract,
    rejected_customers_and_customers_are_all_rows_read,
    churn_predictions_are_probabilities,
    unscored_customers_and_predictions_are_all_customers,
    scored_batches_hold_each_batch_once,
    current_churn_scores_hold_each_customer_once,
    churn_predictions_share_is_near_training,
    training_customers_are_both_kinds,
]
