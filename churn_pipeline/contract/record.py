"""One record at hand, held against the contract without a table: in microseconds, for those who ask about one customer.

Belongs here: taking what certainly keeps the contract. Does not: anything doubtful, which the frame-level schema judges
(`frame_schema.py`) in its own words.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from churn_pipeline.contract.columns import LONGEST_ID
from churn_pipeline.contract.definition import Contract, Feature

_PLAIN_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")


class Doubtful(Exception):
    """The record may break the contract, or needs more than the plainest cleaning."""


class RecordReader:
    """Reads records of one contract."""

    def __init__(self, contract: Contract) -> None:
        self._id = contract.id.column
        self._readers = [(name, _reader(feature)) for name, feature in contract.features.items()]

    def read(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Features of a record that keeps the contract, cleaned; None where a value is missing.

        Raises:
            Doubtful: let the frame-level schema judge.
        """
        if self._id in record:
            found = record[self._id]
            if type(found) is not str or not 0 < len(found) <= LONGEST_ID or found != found.strip():
                raise Doubtful
        try:
            return {name: read(record[name]) for name, read in self._readers}
        except KeyError:
            raise Doubtful from None


def _reader(feature: Feature) -> Callable[[Any], Any]:
    """What reads one feature's value, or raises `Doubtful`."""
    if feature.type == "category":
        allowed = frozenset(feature.allowed or ())
        return _checked(feature, lambda value: type(value) is str and value in allowed)
    if feature.type == "boolean":
        return _checked(feature, lambda value: type(value) is bool)
    if feature.type == "text":
        return _checked(feature, lambda value: type(value) is str and bool(value) and value == value.strip())
    low = -math.inf if feature.min is None else feature.min
    high = math.inf if feature.max is None else feature.max
    if feature.type == "integer":
        return _checked(feature, lambda value: type(value) is int and low <= value <= high and abs(value) < 2**53)
    return _number(feature, low, high)


def _checked(feature: Feature, holds: Callable[[Any], bool]) -> Callable[[Any], Any]:
    nullable = feature.nullable

    def read(value: Any) -> Any:
        if holds(value) or (value is None and nullable):
            return value
        raise Doubtful

    return read


def _number(feature: Feature, low: float, high: float) -> Callable[[Any], Any]:
    nullable, from_text = feature.nullable, feature.cleaning.number_from_text

    def read(value: Any) -> Any:
        if value is None and nullable:
            return None
        kind = type(value)
        if kind is str and from_text and _PLAIN_NUMBER.fullmatch(value):
            value = float(value)
        elif kind is not float and (kind is not int or abs(value) >= 2**53):
            raise Doubtful
        if low <= value <= high and math.isfinite(value):
            return value
        raise Doubtful

    return read
