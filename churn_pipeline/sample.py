"""Customers that nobody is: a sample table for any contract, to try things and to measure them.

Belongs here: making rows from the contract alone, the same for the same seed. Does not: knowing any contract's
columns, writing files (`io_managers/exports.py`).
"""

import numpy as np
import pandas as pd
import pyarrow as pa

from churn_pipeline.contract.definition import Contract, Feature

#: Spread of the hidden score that decides who churns: about as hard to predict as real churn.
_SIGNAL = 1.6
_BASE_RATE = 0.27
_RULES_SEED = 7  # who churns follows the same hidden rule in every sample of a contract


def sample(contract: Contract, rows: int, *, seed: int = 0, label: bool = False, broken: int = 0) -> pa.Table:
    """Make customers.

    Args:
        rows: how many.
        label: add the contract's label column.
        broken: rows, spread evenly, whose first bounded number is below its minimum.

    Returns:
        Text columns as strings and numbers as numbers, in the contract's column order.
    """
    rng, hidden = np.random.default_rng(seed), np.random.default_rng(_RULES_SEED)
    columns: dict[str, np.ndarray] = {contract.id.column: _ids(rng, rows)}
    if contract.event_time:
        start = np.datetime64("2026-01-01T00:00:00", "s")
        columns[contract.event_time.column] = (start + rng.integers(0, 86_400, rows)).astype(str)
    score = np.zeros(rows)
    for name, feature in contract.features.items():
        values, effect = _feature(feature, rng, hidden, rows)
        columns[feature.source or name] = values
        score += effect
    if label and contract.label:
        churned = rng.random(rows) < _chance(score)
        columns[contract.label.column] = np.where(churned, contract.label.positive, contract.label.negative)
    frame = pd.DataFrame({name: columns[name] for name in contract.columns(with_label=label)})
    if broken:
        _break(frame, contract, broken)
    return pa.Table.from_pandas(frame, preserve_index=False)


def _chance(score: np.ndarray) -> np.ndarray:
    """Probability that each customer churns; the base rate on average."""
    scaled = (score - score.mean()) / (score.std() or 1) * _SIGNAL
    low, high = -20.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp(-scaled - middle))).mean() < _BASE_RATE else (low, middle)
    chance: np.ndarray = 1 / (1 + np.exp(-scaled - low))
    return chance


def _ids(rng: np.random.Generator, rows: int) -> np.ndarray:
    letters = np.array(list("ABCDEFGHJKLMNPQRSTUVWXYZ"))
    words = letters[rng.integers(0, len(letters), (rows, 5))]
    return np.array([f"{i:04d}-{''.join(word)}" for i, word in enumerate(words)], dtype=object)


def _feature(
    feature: Feature, rng: np.random.Generator, hidden: np.random.Generator, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Values, and what each adds to the hidden score."""
    weight = hidden.normal()
    if feature.allowed:
        effects = hidden.normal(size=len(feature.allowed))
        shares = hidden.dirichlet(np.full(len(feature.allowed), 4.0))
        codes = rng.choice(len(feature.allowed), rows, p=shares)
        return np.array(feature.allowed, dtype=object)[codes], effects[codes]
    if feature.type == "boolean":
        flags = rng.random(rows) < 0.5
        return flags, weight * flags
    if feature.type == "text":
        codes = rng.integers(0, 50, rows)
        return np.array([f"word {code}" for code in codes], dtype=object), np.zeros(rows)
    # A contract's range says what is possible; most customers are near its lower end.
    low, high = feature.min or 0.0, feature.max if feature.max is not None else (feature.min or 0.0) + 100
    spread = min(high - low, 100.0) if high - low > 1 else high - low
    share = rng.beta(1.3, 2.2, rows)
    if feature.type == "integer":
        return np.round(low + share * spread).astype(int), weight * share * 2
    values = np.round(low + share * spread, 2).astype(object)
    if feature.nullable:
        values[rng.random(rows) < 0.01] = None
    return values, weight * share * 2


def _break(frame: pd.DataFrame, contract: Contract, broken: int) -> None:
    bounded = next((f.source or n for n, f in contract.features.items() if f.min is not None), None)
    if bounded is not None:
        places = np.linspace(0, len(frame) - 1, broken).astype(int)
        frame.loc[frame.index[places], bounded] = -1
