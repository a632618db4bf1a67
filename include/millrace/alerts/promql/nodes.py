"""What the compiler's steps hand to each other: SQL with a known shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from millrace.alerts.promql.lanes import Lanes
from millrace.alerts.promql.shape import Query
from millrace.stores import sql
from millrace.stores.quoting import literal

EMPTY_LABELS = "CAST(map(), 'Map(String, String)')"


@dataclass(frozen=True)
class Grid:
    """The evaluation times, as SQL: from ``start`` to ``end`` (inclusive) by ``step``, in ms.

    They are the same on every lane. For many steps selectors are compiled to what saves rows, for
    few to what is planned sooner.
    """

    start: str = "{start:Int64}"
    end: str = "{end:Int64}"
    step: str = "{step:Int64}"
    lanes: Lanes = field(default_factory=Lanes)
    is_of_many_steps: bool = False

    @property
    def steps(self) -> str:
        """A relation with one row ``t`` per evaluation time and lane."""
        return template("steps", grid=self)


@dataclass(frozen=True)
class Scalar:
    """A number per evaluation time: an SQL expression that may use ``t``."""

    expression: str


@dataclass(frozen=True)
class Text:
    """A string literal, which only some functions' arguments can be."""

    value: str


@dataclass(frozen=True)
class Vector:
    """An instant vector: a SELECT of ``t``, ``labels`` and ``v``.

    ``has_name`` tells that rows may carry ``__name__``; ``has_one_name`` that all carry the same
    one, so that dropping it cannot make two series one.
    """

    select: str
    has_name: bool = False
    has_one_name: bool = False

    def without_name(self) -> Vector:
        """Return the vector without metric names, as every calculation leaves it."""
        if not self.has_name:
            return self
        nameless = (
            "SELECT x.t AS t, mapFilter((k, l) -> k != '__name__', x.labels) AS labels, x.v AS v "
            f"FROM ({self.select}) AS x"
        )
        if self.has_one_name:
            return Vector(nameless)
        return Vector(template("unique_series", vector=nameless))

    def mapped(self, value: str, condition: str = "") -> Vector:
        """Return the vector with ``value`` (SQL over ``x.v`` and ``t``) in place of its values."""
        where = f" WHERE {condition}" if condition else ""
        return Vector(
            f"SELECT x.t AS t, x.labels AS labels, {value} AS v FROM ({self.select}) AS x{where}",
            self.has_name,
            self.has_one_name,
        )


@dataclass(frozen=True)
class Windows:
    """A range vector: a SELECT of ``t``, ``labels`` and the arrays ``ts`` and ``vs``.

    ``end`` is SQL over ``t``: where the window closes. ``length`` is in ms.
    """

    select: str
    end: str
    length: int
    has_name: bool
    has_one_name: bool


Node = Scalar | Text | Vector | Windows


def constant_vector(node: Scalar, grid: Grid) -> Vector:
    """Return the vector of one series without labels that a number stands for."""
    return Vector(
        f"SELECT t, {EMPTY_LABELS} AS labels, toFloat64({node.expression}) AS v FROM ({grid.steps})"
    )


class Compiler(Protocol):
    """What compiles the arguments of a call: the compiler of the tree that the call is part of."""

    def compile(self, tree: Any, grid: Grid) -> Node:
        """Return the node of any expression."""

    def vector(self, tree: Any, grid: Grid) -> Vector:
        """Return the node of an expression that must be an instant vector."""

    def scalar(self, tree: Any, grid: Grid) -> str:
        """Return the SQL of an expression that must be a number."""

    def windows(self, tree: Any, grid: Grid) -> Windows:
        """Return the node of an expression that must be a range vector."""

    def instant(self, tree: Any, grid: Grid, *, wants_timestamp: bool = False) -> Vector:
        """Return an instant selector's vector: of values, or of the samples' own times."""

    def queries(self, selector: Any) -> list[Query]:
        """Return what a selector asks for on each lane."""


class Samples(Protocol):
    """Where samples come from."""

    def select(self, names: Sequence[str] | None, condition: str, since: str, until: str) -> str:
        """Return a SELECT of ``labels`` (a sorted map that holds ``__name__``), ``ts``, ``value``.

        ``names`` are the metrics wanted; None is any. ``condition`` is SQL over ``labels``;
        ``since`` and ``until`` are SQL for the inclusive bounds of ``ts``, in ms.
        """


def template(name: str, **variables: object) -> str:
    """Return one of the compiler's SQL templates, filled in."""
    return sql.render(f"clickhouse/alerts/promql/{name}.sql", **variables)


def number(value: float) -> str:
    """Return a Float64 as SQL."""
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return f"toFloat64({value!r})" if value >= 0 else f"(toFloat64({value!r}))"


def array(labels: list[str]) -> str:
    """Return an array of strings as SQL."""
    return f"CAST([{', '.join(map(literal, labels))}], 'Array(String)')"
