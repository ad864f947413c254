"""How good probabilities are, and what customers and scores look like in training.

Belongs here: numbers from labels and probabilities, and the reference profile; plain values that go into JSON. Does
not: choosing who is judged (`fitting.py`), what follows from it (`promotion.py`), pictures (`pictures.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from churn_pipeline.contract.definition import Contract

if TYPE_CHECKING:
    import pandas as pd

_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_CALIBRATION_BINS = 10
_SCORE_BINS = 20


def metrics(churned: np.ndarray, probability: np.ndarray) -> dict[str, float]:
    """What is known of n predictions.

    Args:
        churned: n labels, 0 or 1, both present.
        probability: n probabilities of churn.

    Returns:
        `roc_auc`, `average_precision`, `brier`, `log_loss`, `lift_top_decile` (churn among the tenth with the highest
        scores, over churn among all), `base_rate`, and `brier_base_rate` (of predicting the base rate for everyone).
    """
    from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

    base = float(churned.mean())
    top = np.argsort(-probability, kind="stable")[: max(1, len(probability) // 10)]
    return {
        "roc_auc": float(roc_auc_score(churned, probability)),
        "average_precision": float(average_precision_score(churned, probability)),
        "brier": float(brier_score_loss(churned, probability)),
        "log_loss": float(log_loss(churned, probability)),
        "lift_top_decile": float(churned[top].mean() / base),
        "base_rate": base,
        "brier_base_rate": base * (1 - base),
    }


def calibration(churned: np.ndarray, probability: np.ndarray) -> list[dict[str, float]]:
    """Calibration curve: up to ten groups of equally many customers, from low scores to high.

    Returns:
        A dict a group: `predicted` (mean probability), `churned` (share who left), `customers` (how many).
    """
    groups = np.array_split(np.argsort(probability, kind="stable"), min(_CALIBRATION_BINS, len(probability)))
    return [
        {
            "predicted": float(probability[group].mean()),
            "churned": float(churned[group].mean()),
            "customers": len(group),
        }
        for group in groups
    ]


def profile(contract: Contract, customers: pd.DataFrame, probability: np.ndarray, threshold: float) -> dict[str, Any]:
    """What features and scores look like where the model is known to work; later batches are compared with it.

    Args:
        customers: the frame the estimator was given.
        probability: scores of customers it was not fitted on.

    Returns:
        `features`: name → `missing` (share), and `quantiles` of a number, `shares` of a category or boolean, or
        `distinct` of a text (its values may be personal). `scores`: `histogram` (customers in 20 equal bins of 0 to
        1), `mean`, `churn_share` (at or above the threshold), `threshold`.
    """
    features = {name: _feature(item.type, customers[name]) for name, item in contract.features.items()}
    counts, _ = np.histogram(probability, bins=_SCORE_BINS, range=(0, 1))
    scores = {
        "histogram": [int(count) for count in counts],
        "mean": float(probability.mean()),
        "churn_share": float((probability >= threshold).mean()),
        "threshold": threshold,
    }
    return {"customers": len(customers), "features": features, "scores": scores}


def _feature(kind: str, values: pd.Series[Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"missing": float(values.isna().mean())}
    known = values.dropna()
    if kind in ("number", "integer"):
        found: Any = known.astype(float).quantile(list(_QUANTILES)) if len(known) else {}
        said["quantiles"] = {f"{at:g}": float(value) for at, value in found.items()}
    elif kind == "text":
        said["distinct"] = int(known.nunique())
    else:
        shares = known.astype(str).value_counts(normalize=True).sort_index()
        said["shares"] = {str(value): float(share) for value, share in shares.items()}
    return said
