"""What a model's answer is made of: classifiers, and how the answers of several become one.

Belongs here: the values. Does not: finding them in a fitted model (`structure.py`), working an answer out
(`tables.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Leaf:
    """One classifier behind its transformers.

    Attributes:
        chain: fitted transformers in order, the first of which takes the frame.
        positive: its column of `predict_proba`.
        margin: what is wanted of it is its decision function, not the probability.
    """

    chain: tuple[Any, ...]
    classifier: Any = field(repr=False)
    positive: int
    margin: bool = False


@dataclass(frozen=True)
class Mean:
    """The weighted mean of several answers."""

    parts: tuple[Node, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class Calibrated:
    """A real calibrator behind an answer; `flip` where the wanted class is not the one it was fitted for."""

    part: Node
    calibrator: Any = field(repr=False)
    flip: bool


@dataclass(frozen=True)
class Stacked:
    """A real linear classifier on the answers of several others.

    Attributes:
        positive: its column of `predict_proba`.
    """

    parts: tuple[Node, ...]
    final: Any = field(repr=False)
    positive: int


Node = Leaf | Mean | Calibrated | Stacked


def leaves(node: Node) -> Iterator[Leaf]:
    """Its classifiers."""
    if isinstance(node, Leaf):
        yield node
        return
    for part in (node.part,) if isinstance(node, Calibrated) else node.parts:
        yield from leaves(part)
