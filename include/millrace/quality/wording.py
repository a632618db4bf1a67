"""Findings in words and numbers that people can read, in reports and in messages of tasks."""

from __future__ import annotations

from math import isfinite, isnan
from typing import Any

NAMES = {"partition", "offset", "topic_incarnation", "step"}
"""Columns whose numbers name something: they have no thousands, and so have all ``…_id``."""


def number(value: float) -> str:
    """Return a number with thousands, and at most four digits after the point."""
    if isinstance(value, int):
        return f"{value:,}"
    if not isfinite(value):
        return "no number" if isnan(value) else "infinite"
    if 0 < abs(value) < 0.001:
        return f"{value:.2g}"
    return f"{value:,.4f}".rstrip("0").rstrip(".")


def count(many: int, noun: str) -> str:
    """Return a count with its noun: ``1 row``, ``2,000 rows``."""
    return f"{many:,} {noun}{'' if many == 1 else 's'}"


def value(column: str, found: Any) -> str:
    """Return a value of an example as people read it."""
    if found is None:
        return "nothing (NULL)"
    if found == "":
        return "(empty)"
    if isinstance(found, bool) or not isinstance(found, int | float):
        return str(found)
    return str(found) if column in NAMES or column.endswith("_id") else number(found)


def extent(observed: dict[str, Any], *, at_least: bool = False) -> str:
    """Return how much was found: ``12 of 4,000 rows``, ``3 cases``; empty if it was not counted."""
    if "unexpected_count" in observed:
        if "element_count" not in observed:
            return count(observed["unexpected_count"], "row")
        return f"{observed['unexpected_count']:,} of {count(observed['element_count'], 'row')}"
    much = observed.get("observed_value")
    if not isinstance(much, int | float):
        return "" if much is None else str(much)
    if noun := observed.get("unit"):
        return f"{'at least ' if at_least else ''}{count(int(much), noun)}"
    return number(much)


def found(
    observed: dict[str, Any], examples: list[dict[str, Any]], *, at_least: bool = False
) -> str:
    """Return what an expectation found, in a line of at most 300 characters."""
    parts = [observed["error"] if "error" in observed else extent(observed, at_least=at_least)]
    if examples:
        pairs = ", ".join(f"{name} = {value(name, one)}" for name, one in examples[0].items())
        parts.append(f"for example {pairs}")
    return ", ".join(part for part in parts if part)[:300]
