"""The shape of an expression: what it shares with expressions that one statement can judge.

Numbers and what selectors ask for are taken out of the expression and kept beside it; what is left,
down to windows, offsets and grouping labels, is the shape. The compiler works on the shape and sees
nothing else, so expressions of one shape cannot differ in anything that it does not know of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import promql_parser

from millrace.alerts.promql.errors import UnsupportedError

_OPERATORS = {
    "MatchOp.Equal": "=",
    "MatchOp.NotEqual": "!=",
    "MatchOp.Re": "=~",
    "MatchOp.NotRe": "!~",
}
_NAMED, _UNNAMED = "of_one_metric_", "of_any_metric_"


@dataclass(frozen=True)
class Query:
    """What a selector asks for: a metric's name, where it says just one, and its matchers.

    A matcher is a label, an operator and a value; ``__name__`` is a label here.
    """

    name: str | None
    matchers: tuple[tuple[str, str, str], ...]


def query(selector: Any) -> Query:
    """Return what a selector asks for. Raises ``UnsupportedError`` for ``or`` between matchers."""
    if selector.matchers.or_matchers:
        raise UnsupportedError(f"'or' between matchers is not covered: {selector.prettify()}")
    matchers = [(m.name, _OPERATORS[str(m.op)], m.value) for m in selector.matchers.matchers]
    if selector.name:
        return Query(selector.name, tuple(matchers))
    for matcher in matchers:
        if matcher[:2] == ("__name__", "="):
            return Query(matcher[2], tuple(m for m in matchers if m is not matcher))
    return Query(None, tuple(matchers))


@dataclass(frozen=True)
class Shape:
    """An expression taken apart.

    In ``tree`` a number stands for its place in ``numbers``, and a selector's name for its place in
    ``queries``; selectors that ask for the same share one. ``key`` is the same for all expressions
    of the shape.
    """

    key: str
    tree: Any = field(compare=False, repr=False)
    numbers: tuple[float, ...]
    queries: tuple[Query, ...]


def shape(tree: Any) -> Shape:
    """Take an expression apart. Raises ``UnsupportedError`` for ``or`` between matchers."""
    numbers: list[float] = []
    queries: dict[Query, int] = {}

    def hole(part: Any) -> Any:
        if isinstance(part, promql_parser.NumberLiteral):
            numbers.append(part.val)
            return promql_parser.parse(str(len(numbers) - 1))
        if isinstance(part, promql_parser.VectorSelector):
            asked = query(part)
            place = queries.setdefault(asked, len(queries))
            part.name = f"{_UNNAMED if asked.name is None else _NAMED}{place}"
            part.matchers = promql_parser.Matchers([])
            return promql_parser.parse(str(part))
        return None

    stripped = promql_parser.transform(tree, hole)
    return Shape(repr(stripped), stripped, tuple(numbers), tuple(queries))


def place(selector: Any) -> int:
    """Return which of a shape's queries a selector in its tree stands for."""
    return int(selector.name.removeprefix(_NAMED).removeprefix(_UNNAMED))


def is_of_one_metric(selector: Any) -> bool:
    """Return whether a selector in a shape's tree asks for exactly one metric."""
    return bool(selector.name.startswith(_NAMED))
