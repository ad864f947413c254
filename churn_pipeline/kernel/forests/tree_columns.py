"""What codes are for trees: which range of codes a split keeps.

Belongs here: renumbering the codes of a group so that its splits become ranges. Does not: packing trees
(`tree_walk.py`), how a split compares (`forest.py`).

A column of the classifier's matrix is cut by the thresholds of its splits into stretches. Those that any code of the
group lies in are numbered upwards: every split keeps a range of them. Columns that always change together (the outputs
of a one-hot encoder) share one numbering if their splits keep ranges in it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from churn_pipeline.kernel.forests.forest import Bools, Codes, Floats, Forest, GroupValues, Indices, NotReadable

#: Missing is the code below 0 as 16 bits go round, so that it can stand at either end of a range.
MISSING = 0xFFFF

#: A code that no row has: the range of a split that keeps nothing.
NOBODY = 0xFFFE

#: Splits times codes beyond which columns are not tried together.
MOST_TRIED = 1 << 22


@dataclass(frozen=True)
class Split:
    """Codes that go to one child.

    Attributes:
        ranges: lowest code and width: code - lowest <= width, as unsigned 16-bit numbers.
        swapped: it is the right child.
    """

    ranges: tuple[tuple[int, int], ...]
    swapped: bool = False

    @property
    def chained(self) -> bool:
        """Whether one range is not enough."""
        return len(self.ranges) > 1


class TreeColumn:
    """One column of the classifier's matrix, with its stretches for codes.

    Attributes:
        group: whose codes it renumbers.
        features: columns of the classifier's matrix whose splits it serves.
        place: (codes of the group) its own code of each.
    """

    def __init__(self, forest: Forest, group: int, feature: int, output: int, values: Floats) -> None:
        self.group, self.features = group, [feature]
        self._output = output
        self._thresholds = forest.thresholds(feature)
        numbers = values[:, output]
        self._stretches = np.unique(self._cut(numbers[~np.isnan(numbers)]))
        if len(self._stretches) >= NOBODY:
            raise NotReadable(f"a column has {len(self._stretches):,} stretches, more than {NOBODY:,}")
        self.place = np.zeros(0, dtype=np.uint16)
        self.extend(values)

    def extend(self, values: Floats) -> bool:
        """Renumber further codes of the group, by `values` (codes, outputs).

        Returns:
            Whether each lies in a stretch that was there before; if not, the column is to be made anew.
        """
        numbers = values[:, self._output]
        missing = np.isnan(numbers)
        stretch = self._cut(numbers)
        known = bool((missing | np.isin(stretch, self._stretches)).all())
        code = np.where(missing, MISSING, np.searchsorted(self._stretches, stretch))
        self.place = np.append(self.place, code.astype(np.uint16))
        return known

    def splits(self, forest: Forest, feature: int, nodes: Indices) -> tuple[list[Split], Indices]:
        """The different splits of some nodes, and which one each node has."""
        assert feature in self.features
        sets = forest.range_set[nodes]
        keys = self._codes_up_to(forest.threshold[nodes]) * 2 + forest.missing_left[nodes]
        different, first, which = np.unique(
            np.where(sets < 0, keys, -1 - sets.astype(np.intp)), return_index=True, return_inverse=True
        )
        found = []
        for key, node in zip(different.tolist(), nodes[first], strict=True):
            missing_left = bool(forest.missing_left[node])
            if key >= 0:
                found.append(_below(key // 2, missing_left))
            else:
                found.append(self._set(forest.ranges[-1 - key], missing_left, bool(forest.inside_left[node])))
        return found, which

    def _cut(self, numbers: Floats) -> Indices:
        """Stretch of each number."""
        return np.searchsorted(self._thresholds, numbers, side="left")

    def _codes_up_to(self, ends: Floats) -> Indices:
        """How many codes, counted from the lowest, stand for numbers `<=` thresholds."""
        return np.searchsorted(self._stretches, self._cut(ends), side="right")

    def _set(self, ends: Floats, missing_left: bool, inside_left: bool) -> Split:
        """A set of numbers: what lies inside goes to one child."""
        starts, stops = self._codes_up_to(ends[0::2]), self._codes_up_to(ends[1::2])
        ranges = [(int(a), int(b - a - 1)) for a, b in zip(starts, stops, strict=True) if b > a]
        if missing_left == inside_left:
            ranges.append((MISSING, 0))
        return Split(tuple(ranges) or ((NOBODY, 0),), swapped=not inside_left)


class SharedColumn:
    """Several columns that belong to one group, with the combinations of their stretches for codes."""

    def __init__(self, members: Sequence[TreeColumn], combinations: npt.NDArray[np.uint16], place: Indices) -> None:
        self.group = members[0].group
        self.features = [member.features[0] for member in members]
        self._members, self._combinations = members, combinations
        self.place = place.astype(np.uint16)
        self._known = {row.tobytes(): code for code, row in enumerate(combinations)}

    def extend(self, values: Floats) -> bool:
        """Renumber further codes; says whether all are combinations that were there before."""
        before = len(self.place)
        known_stretches = [member.extend(values) for member in self._members]
        rows = np.column_stack([member.place[before:] for member in self._members])
        codes = [self._known.get(row.tobytes()) for row in rows]
        known = [code for code in codes if code is not None]
        self.place = np.append(self.place, np.array(known, dtype=np.uint16))
        return all(known_stretches) and len(known) == len(codes)

    def splits(self, forest: Forest, feature: int, nodes: Indices) -> tuple[list[Split], Indices]:
        """The different splits of some nodes, and which one each node has."""
        at = self.features.index(feature)
        own, which = self._members[at].splits(forest, feature, nodes)
        kept = _kept(own, self._combinations[:, at])
        return [_one_range(row, split.swapped) for row, split in zip(kept, own, strict=True)], which

    def fits(self, forest: Forest) -> bool:
        """Whether every split keeps one range of codes, or sends one away."""
        for at, feature in enumerate(self.features):
            own, _ = self._members[at].splits(forest, feature, forest.nodes(feature))
            if len(own) * len(self._combinations) > MOST_TRIED:
                return False
            if (_borders(_kept(own, self._combinations[:, at])) > 2).any():
                return False
        return True


def tree_columns(forest: Forest, groups: Sequence[tuple[int, GroupValues]]) -> list[TreeColumn | SharedColumn]:
    """The columns of codes that the trees of a forest look at, for groups by number."""
    found: list[TreeColumn | SharedColumn] = []
    used = set(forest.features)
    for group, table in groups:
        own = [
            TreeColumn(forest, group, int(feature), output, table.values)
            for output, feature in enumerate(table.outputs)
            if int(feature) in used
        ]
        found += _shared(forest, own) if len(own) > 1 else own
    return found


def _shared(forest: Forest, own: Sequence[TreeColumn]) -> Sequence[TreeColumn | SharedColumn]:
    # The one with most stretches first: combinations are numbered in its order.
    members = sorted(own, key=lambda column: -len(np.unique(column.place)))
    combinations, place = np.unique(np.column_stack([m.place for m in members]), axis=0, return_inverse=True)
    # Codes of several columns of the customer are combinations that came up: none at first, so nothing to share.
    if not 0 < len(combinations) < NOBODY:
        return own
    shared = SharedColumn(members, combinations, place.ravel())
    return [shared] if shared.fits(forest) else own


def _below(codes: int, missing_left: bool) -> Split:
    """The lowest so many codes, with or without missing."""
    if missing_left:
        return Split(((MISSING, codes),))
    return Split(((0, codes - 1) if codes else (NOBODY, 0),))


def _kept(splits: Sequence[Split], codes: Codes) -> Bools:
    """(splits, codes) whether a code lies in the ranges of a split."""
    found = np.zeros((len(splits), len(codes)), dtype=bool)
    for row, split in zip(found, splits, strict=True):
        for low, width in split.ranges:
            row |= codes - np.uint16(low) <= width
    return found


def _borders(kept: Bools) -> Indices:
    """How often the answer changes along the codes, counted as if they went round."""
    return (kept != np.roll(kept, 1, axis=1)).sum(axis=1)


def _one_range(kept: Bools, swapped: bool) -> Split:
    """The range of codes that are kept, or of those that are not and go to the other child."""
    if kept[0] and not kept.all():
        kept, swapped = ~kept, not swapped
    codes = np.flatnonzero(kept)
    if not len(codes):
        return Split(((NOBODY, 0),), swapped)
    return Split(((int(codes[0]), int(codes[-1] - codes[0])),), swapped)
