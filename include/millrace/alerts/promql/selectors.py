"""The selectors of an expression, with the samples that they look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from millrace.alerts.promql.shape import Query, query

LOOKBACK = timedelta(minutes=5)
"""How old a sample an instant selector may take (Prometheus' default)."""


def milliseconds(delta: timedelta | None) -> int:
    """Return a duration in ms; none is zero."""
    return round((delta or timedelta()).total_seconds() * 1000)


@dataclass(frozen=True)
class Selector:
    """A series selector inside an expression, with the samples that it looks at.

    Those are ``window_ms`` long and end ``offset_ms`` before the evaluation time, everything around
    the selector (ranges and offsets of subqueries) counted in.
    """

    text: str = field(compare=False)
    query: Query
    at: str
    offset_ms: int
    window_ms: int
    tree: Any = field(compare=False, repr=False)


def collect(tree: Any, shift: int, width: int, found: list[Selector]) -> None:
    """Add the selectors under ``tree`` to ``found``.

    ``shift`` and ``width`` are the offset and the range around it, in ms.
    """
    kind = type(tree).__name__
    if kind in ("VectorSelector", "MatrixSelector"):
        selector = tree if kind == "VectorSelector" else tree.vector_selector
        length = LOOKBACK if kind == "VectorSelector" else tree.range
        found.append(
            Selector(
                tree.prettify(),
                query(selector),
                str(selector.at or ""),
                shift + milliseconds(selector.offset),
                width + milliseconds(length),
                selector,
            )
        )
    elif kind == "SubqueryExpr":
        around = (shift + milliseconds(tree.offset), width + milliseconds(tree.range))
        collect(tree.expr, *around, found)
    elif kind == "BinaryExpr" and str(tree.op) != "or":
        collect(tree.lhs, shift, width, found)
        if str(tree.op) != "unless":
            collect(tree.rhs, shift, width, found)
    elif kind == "Call":
        if not tree.func.name.startswith("absent"):
            for argument in tree.args:
                collect(argument, shift, width, found)
    elif kind in ("AggregateExpr", "ParenExpr", "UnaryExpr"):
        collect(tree.expr, shift, width, found)
