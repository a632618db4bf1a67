"""What a validation asks, as tests of one value: each is passed only by what surely keeps it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

import msgspec
import re2

LONGEST_KEPT = 1_000
KEPT_VALUES = 10_000
"""Texts of which is remembered whether a pattern takes them."""

Test = Callable[[Any], bool]
"""Whether a value, which may be ``None`` or UNSET, surely keeps a rule."""

_absent = (None, msgspec.UNSET, "")
_ALIKE = frozenset({bool, int, float})


def holds(test: Test, values: Sequence[Any]) -> bool:
    """Tell whether all values pass a test; of those that are there often, one is asked for all."""
    types = set(map(type, values))
    if len(types & _ALIKE) < 2 and types <= _HASHABLE:  # as 1, 1.0 and True are equal
        return all(map(test, set(values)))
    return all(map(test, values))


_HASHABLE = frozenset({*_ALIKE, str, NoneType, msgspec.UnsetType})


def never(value: Any) -> bool:
    """Pass nothing."""
    return False


def test_of(kind: str, config: dict[str, Any]) -> Test:
    """Return the test of a validation; one that is not understood passes nothing."""
    make = {
        "required": _required,
        "length": _length,
        "pattern": _pattern,
        "allowed_values": _allowed_values,
        "range": _range,
        "type": _type,
    }.get(kind)
    return make(config) if make else never


def _required(_: dict[str, Any]) -> Test:
    return lambda value: (type(value) is str and value != "") or type(value) is int


def _length(config: dict[str, Any]) -> Test:
    low, high = config.get("min") or 0, config.get("max", math.inf)
    return lambda value: value in _absent or (type(value) is str and low <= len(value) <= high)


def _pattern(config: dict[str, Any]) -> Test:
    options = re2.Options()
    options.dot_nl = True  # as ClickHouse's match() has it
    options.log_errors = False
    try:
        pattern = re2.compile(config["pattern"], options)
    except re2.error:
        return never
    fits: dict[str, bool] = {}

    def test(value: Any) -> bool:
        if type(value) is not str:
            return value is None or value is msgspec.UNSET
        known = fits.get(value)
        if known is None:
            known = value == "" or pattern.search(value) is not None
            if len(fits) < KEPT_VALUES and len(value) <= LONGEST_KEPT:
                fits[value] = known
        return known

    return test


def _allowed_values(config: dict[str, Any]) -> Test:
    values = frozenset(value for value in config["values"] if type(value) is str)
    return lambda value: value in _absent or (type(value) is str and value in values)


def _range(config: dict[str, Any]) -> Test:
    low, high = config.get("min", -math.inf), config.get("max", math.inf)

    def test(value: Any) -> bool:
        if type(value) is int:
            return abs(value) < 2**53 and bool(low <= value <= high)
        if type(value) is float:  # one that is written with more digits may lie beyond the limit
            return bool(low < value < high)
        return value is None or value is msgspec.UNSET

    return test


def _type(config: dict[str, Any]) -> Test:
    wanted = {"string": (str,), "number": (int, float), "integer": (int,), "boolean": (bool,)}
    types = wanted.get(config["type"], ())
    return lambda value: value is None or value is msgspec.UNSET or type(value) in types
