"""Which customers an estimator is fitted on, and the threshold that goes with it.

Belongs here: the split, the fit, the threshold. Does not: the estimators (`estimators.py`), measuring
(`evaluation.py`), writing down (`registration.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from churn_pipeline.contract.definition import Contract
from churn_pipeline.errors import ContractError
from churn_pipeline.kernel.frame import frame
from churn_pipeline.kernel.model_version import ModelInput

if TYPE_CHECKING:
    import pandas as pd

#: Column of the training table that says whether the customer left.
CHURNED = "churned"

#: Fewest customers of each kind: fewer leave folds and holdout with almost nobody to learn from or to judge by.
FEWEST_OF_A_KIND = 20


class TrainingDataUnfit(ContractError):
    """The training customers are too few, or all stayed, or all left."""


@dataclass(frozen=True)
class Split:
    """Customers to fit on and customers to judge by; no customer is in both.

    Attributes:
        train, holdout: frames as the estimator sees them, n rows and m rows, one column an input.
        train_churned, holdout_churned: int64, 1 where the customer left.
        holdout_rows: the holdout as a record batch, for a champion that takes other inputs.
        digest: SHA-256 over all features and labels, whatever the order of the rows, hex.
    """

    train: pd.DataFrame
    train_churned: np.ndarray
    holdout: pd.DataFrame
    holdout_churned: np.ndarray
    holdout_rows: pa.RecordBatch
    digest: str


def split(
    customers: pa.Table, contract: Contract, inputs: Sequence[ModelInput], *, share: float = 0.2, seed: int = 0
) -> Split:
    """Hold a share of the customers back, the same share of those who left and of those who stayed.

    Who is held back follows from a hash of the customer's id: not from the order of the rows, and as the table grows,
    a customer who was held back mostly stays so. Hence a later version meets few customers in its holdout that an
    earlier one, with which it is compared, was fitted on. Rows of one id and label stay together.

    Args:
        customers: the contract's features and `churned` (bool; rows without it are left out); the id column if there
            is one, else rows count as customers.
        share: of each kind, to hold back.

    Raises:
        TrainingDataUnfit: says how many of each kind there are.
    """
    customers = customers.filter(pc.is_valid(customers.column(CHURNED)))
    churned = customers.column(CHURNED).to_numpy().astype(bool)
    _check_counts(int(churned.sum()), int((~churned).sum()))
    places = _places(customers, contract, seed)
    order = np.argsort(places, kind="stable")
    rows = _one_batch(customers.take(pa.array(order)))
    places, churned = places[order], churned[order]
    held = np.zeros(len(places), dtype=bool)
    for kind in (True, False):
        of_kind = places[churned == kind]
        held |= (churned == kind) & (places <= of_kind[round(share * len(of_kind)) - 1])
    seen, labels = frame(rows, inputs), churned.astype(np.int64)
    return Split(
        train=seen[~held].reset_index(drop=True),
        train_churned=labels[~held],
        holdout=seen[held].reset_index(drop=True),
        holdout_churned=labels[held],
        holdout_rows=_one_batch(pa.table(rows).filter(pa.array(held))),
        digest=_digest(seen, labels),
    )


def fit(
    estimator: Any, customers: pd.DataFrame, churned: np.ndarray, seed: int = 0, folds: int = 5
) -> tuple[Any, float]:
    """Fit, and choose the threshold by predictions that each customer's own fit had no part in.

    The threshold is the probability from which F1 (the harmonic mean of precision and recall) is highest over
    out-of-fold predictions in stratified folds of the training customers: never on the holdout.

    Returns:
        The fitted estimator, and the threshold rounded down to four digits.
    """
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    divided = StratifiedKFold(folds, shuffle=True, random_state=seed)
    found = cross_val_predict(clone(estimator), customers, churned, cv=divided, method="predict_proba")[:, 1]
    return estimator.fit(customers, churned), best_threshold(churned, found)


def best_threshold(churned: np.ndarray, probability: np.ndarray) -> float:
    """The lowest of the thresholds with the highest F1, rounded down to four digits.

    Args:
        churned: n labels, 0 or 1.
        probability: n probabilities.
    """
    from sklearn.metrics import precision_recall_curve

    precision, recall, cuts = precision_recall_curve(churned, probability)
    both = precision[:-1] + recall[:-1]
    f1 = np.divide(2 * precision[:-1] * recall[:-1], both, out=np.zeros_like(both), where=both > 0)
    return float(np.floor(cuts[int(np.argmax(f1))] * 10_000) / 10_000)


def _check_counts(left: int, stayed: int) -> None:
    if min(left, stayed) < FEWEST_OF_A_KIND:
        raise TrainingDataUnfit(
            f"{left + stayed:,} customers cannot train a model: {left:,} left and {stayed:,} stayed, and at least "
            f"{FEWEST_OF_A_KIND} of each are needed. Give more history, or check the contract's label values."
        )


def _places(customers: pa.Table, contract: Contract, seed: int) -> np.ndarray:
    """One number a row, spread evenly and fixed by the customer's id: n of uint64."""
    ids = (
        pc.cast(customers.column(contract.id.column), pa.string()).to_pylist()
        if contract.id.column in customers.column_names
        else range(customers.num_rows)
    )
    digests = (hashlib.blake2b(f"{seed}/{item}".encode(), digest_size=8).digest() for item in ids)
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def _one_batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.unify_dictionaries().combine_chunks().to_batches()
    return batches[0]


def _digest(customers: pd.DataFrame, churned: np.ndarray) -> str:
    from pandas.util import hash_pandas_object

    rows = hash_pandas_object(customers.assign(**{CHURNED: churned}), index=False).to_numpy()
    return hashlib.sha256(np.sort(rows).tobytes()).hexdigest()
