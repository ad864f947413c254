"""Which column of `predict_proba` is churn.

Belongs here: reading classes. Does not: plans (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from churn_pipeline.errors import ModelError

_YES = frozenset({"1", "1.0", "true"})
_NO = frozenset({"0", "0.0", "false"})


class ClassesUnclear(ModelError):
    """Nothing says which of the model's classes is churn."""


def class_names(classes: object) -> tuple[str, ...]:
    """`classes_` of an estimator as text, in order; empty where it is no list of classes."""
    if not isinstance(classes, (list, tuple, np.ndarray)):
        return ()
    return tuple(str(item) for item in classes)


def positive_class(classes: object, wanted: str | None, *, only_wanted: bool = False) -> int:
    """Which column of `predict_proba` is the probability of churn.

    Args:
        classes: `classes_` of the estimator; if it is no list, tuple or array, the second column is churn.
        wanted: name of the class that means churn: the registered tag, or the contract's positive label.
        only_wanted: `wanted` was stated for this very model, so that nothing else may stand in for it.

    Returns:
        The class that reads as `wanted` does; failing that, the 1 of {0, 1} or the True of {False, True}.

    Raises:
        ClassesUnclear: neither is there.
    """
    names = class_names(classes)
    if not names:
        return 1
    found = _index(names, wanted)
    if found is None and not only_wanted and len(names) == 2 and {name.lower() for name in names} <= _YES | _NO:
        found = next((i for i, name in enumerate(names) if name.lower() in _YES), None)
    if found is None:
        said = "no class means churn by itself" if wanted is None else f"{wanted!r} is none of them"
        raise ClassesUnclear(
            f"The model's classes are {', '.join(map(repr, names))}, and {said}. "
            f"Set the registered version's tag positive_class to the class that means churn, such as {names[-1]!r}."
        )
    return found


def _index(names: Sequence[str], wanted: str | None) -> int | None:
    """Position of the name that reads as `wanted` does: exactly, else whatever its case, else as a number (1 = 1.0)."""
    if wanted is None:
        return None
    for same in (str, str.lower, _number):
        matches = [i for i, name in enumerate(names) if same(name.strip()) == same(wanted.strip())]
        if len(matches) == 1:
            return matches[0]
    return None


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text
