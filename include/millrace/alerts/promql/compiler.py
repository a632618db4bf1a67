"""Compile PromQL to one ClickHouse SELECT of ``t``, ``labels`` and ``v``.

Every vector is a relation with one row per evaluation time and series, so an instant query and a
range query are the same statement with other parameters (``start``, ``end`` and ``step``, in ms).
Semantics are those of Prometheus (https://prometheus.io/docs/prometheus/latest/querying/basics/):
lookback, windows, extrapolation, matching. The tests hold them against Prometheus itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Literal

import promql_parser

from millrace.alerts.promql import calls, functions, matching, selection
from millrace.alerts.promql.errors import UnsupportedError
from millrace.alerts.promql.lanes import Lanes
from millrace.alerts.promql.nodes import (
    Grid,
    Node,
    Samples,
    Scalar,
    Text,
    Vector,
    Windows,
    constant_vector,
    number,
    template,
)
from millrace.alerts.promql.selectors import LOOKBACK, Selector, collect, milliseconds
from millrace.alerts.promql.shape import Query, Shape, is_of_one_metric, place, query, shape

SUBQUERY_STEP = timedelta(minutes=1)
"""The step of a subquery that names none: the evaluation interval."""

NO_OPERATION = re.compile(r"""(?s)"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`|#[^\n]*""")
OPERATION = re.compile(r"[-+*/%^<>=([]|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)
MOST_OPERATIONS = 100
"""In one expression: the parser's time grows with the cube of their depth, and ends in a crash."""
LONGEST_STATEMENT = 1_000_000
"""Characters of SQL: operands that a template names twice double with every step."""


@dataclass(frozen=True)
class Compiled:
    """What an expression gives, as Prometheus names it, and how ClickHouse finds it.

    ``text`` is the string itself, or a SELECT: of ``t``, ``labels`` and ``v`` (a number has no
    labels); for a matrix, of ``t``, ``labels``, and the samples' arrays ``ts`` and ``vs``.
    """

    kind: Literal["vector", "matrix", "scalar", "string"]
    text: str


@dataclass(frozen=True)
class Comparison:
    """The comparison at the top of a rule: ``value`` against ``threshold``."""

    operator: str
    value: Expression
    threshold: Expression


@dataclass(frozen=True)
class Expression:
    """A parsed expression. ``parse`` makes one."""

    text: str
    tree: Any

    def statement(
        self, samples: Samples, *, lookback: timedelta = LOOKBACK, is_left_open: bool = True
    ) -> str:
        """Return the SELECT of ``t``, ``labels`` and ``v`` over ``samples``.

        ``is_left_open`` leaves a sample exactly at a window's start out of it, as Prometheus 3
        does (Prometheus 2 takes it in). Raises ``UnsupportedError`` naming what is not covered.
        """
        batch = Batch([self], samples, lookback=lookback, is_left_open=is_left_open)
        return batch.statement()

    def compiled(self, samples: Samples, *, lookback: timedelta = LOOKBACK) -> Compiled:
        """Return what the expression gives, of whatever kind. Raises ``UnsupportedError``."""
        return Batch([self], samples, lookback=lookback).compiled(is_of_many_steps=True)

    def samples(self, samples: Samples, since: str, until: str) -> str:
        """Return the SELECT of ``labels``, ``ts`` and ``value`` that a selector asks for.

        ``since`` and ``until`` bound ``ts``, in ms. Raises ``UnsupportedError`` for what is no
        instant selector.
        """
        if type(self.tree).__name__ != "VectorSelector":
            raise UnsupportedError(f"a series selector is needed in place of {self.text}")
        return selection.read(samples, [query(self.tree)], since, until)

    @property
    def order(self) -> str:
        """How series of a result at one time are sorted by value, as SQL: DESC, ASC or not."""
        tree = _bare(self.tree)
        name = tree.func.name if type(tree).__name__ == "Call" else str(getattr(tree, "op", ""))
        return {"sort": "ASC", "sort_desc": "DESC", "topk": "DESC", "bottomk": "ASC"}.get(name, "")

    @cached_property
    def shape(self) -> Shape:
        """What is left without numbers and matchers; see ``Batch``."""
        return shape(self.tree)

    @cached_property
    def selectors(self) -> list[Selector]:
        """Every selector whose samples the expression cannot do without.

        Left out are those inside ``absent``, on either side of ``or`` and on the right of
        ``unless``, where having no samples is an answer.
        """
        found: list[Selector] = []
        collect(self.tree, 0, 0, found)
        return list(dict.fromkeys(found))

    @cached_property
    def comparison(self) -> Comparison | None:
        """The comparison that the expression is, or that stands left of its ``and``s."""
        tree = _bare(self.tree)
        while type(tree).__name__ == "BinaryExpr" and str(tree.op) in ("and", "unless"):
            tree = _bare(tree.lhs)
        if type(tree).__name__ != "BinaryExpr" or str(tree.op) not in functions.COMPARISONS:
            return None
        if tree.modifier and tree.modifier.return_bool:
            return None
        left = Expression(tree.lhs.prettify(), tree.lhs)
        right = Expression(tree.rhs.prettify(), tree.rhs)
        if type(_bare(tree.lhs)).__name__ == "NumberLiteral":
            mirrored = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
            return Comparison(mirrored.get(str(tree.op), str(tree.op)), right, left)
        return Comparison(str(tree.op), left, right)


class Batch:
    """Expressions of one shape, compiled together: the n-th is on lane n (see ``lanes``)."""

    def __init__(
        self,
        expressions: Sequence[Expression],
        samples: Samples,
        *,
        lookback: timedelta = LOOKBACK,
        is_left_open: bool = True,
    ) -> None:
        self._expressions = expressions
        shapes = [expression.shape for expression in expressions]
        self._compiler = TreeCompiler(samples, milliseconds(lookback), is_left_open, shapes)

    def statement(self) -> str:
        """Return the SELECT of ``t``, ``labels`` and ``v``. See ``Expression.statement``."""
        compiled = self.compiled()
        if compiled.kind in ("string", "matrix"):
            kind = "a string" if compiled.kind == "string" else "a range of samples (…[5m])"
            raise UnsupportedError(
                f"the expression gives {kind}; a rule needs a vector or a number"
            )
        return compiled.text

    def compiled(self, *, is_of_many_steps: bool = False) -> Compiled:
        """Return what the expressions give. See ``Compiled``."""
        grid = replace(self._compiler.grid, is_of_many_steps=is_of_many_steps)
        node = self._compiler.compile(self._expressions[0].shape.tree, grid)
        if isinstance(node, Text):
            return Compiled("string", node.value)
        if isinstance(node, Scalar):
            return Compiled("scalar", constant_vector(node, grid).select)
        return Compiled("matrix" if isinstance(node, Windows) else "vector", node.select)

    def presences(self) -> list[str]:
        """Return, for each of ``Expression.selectors``, the SELECT of the ``t`` that find any."""
        selectors = zip(*(expression.selectors for expression in self._expressions), strict=True)
        return [self._compiler.presence(alike) for alike in selectors]


def parse(text: str) -> Expression:
    """Parse ``text``. Raises ``UnsupportedError`` with the reason when it is not PromQL."""
    size = len(OPERATION.findall(NO_OPERATION.sub("", text)))
    if size > MOST_OPERATIONS:
        raise UnsupportedError(
            f"an expression of {size} operators, brackets and calls; {MOST_OPERATIONS} are the most"
        )
    try:
        tree = promql_parser.parse(text)
    except ValueError as error:
        raise UnsupportedError(f"not a valid PromQL expression: {error}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of the parser's Rust; it has no other base
            raise
        raise UnsupportedError(f"not a valid PromQL expression: {text}") from error
    return Expression(text, tree)


def _bare(tree: Any) -> Any:
    while type(tree).__name__ == "ParenExpr":
        tree = tree.expr
    return tree


class TreeCompiler:
    """Compiles the tree of a shape for all expressions that are of it."""

    def __init__(
        self, samples: Samples, lookback: int, is_left_open: bool, shapes: Sequence[Shape]
    ) -> None:
        self.samples = samples
        self.lookback = lookback
        self.is_left_open = is_left_open
        self.shapes = shapes
        self.lanes = Lanes(len(shapes))
        self.grid = Grid(lanes=self.lanes)

    def compile(self, tree: Any, grid: Grid) -> Node:
        """Return the node of any expression."""
        kind = type(tree).__name__
        visit = getattr(self, f"_visit_{kind}", None)
        if visit is None:
            raise UnsupportedError(f"{kind} is not covered: {tree.prettify()}")
        node: Node = visit(tree, grid)
        if len(getattr(node, "select", "")) > LONGEST_STATEMENT or (
            isinstance(node, Scalar) and len(node.expression) > LONGEST_STATEMENT
        ):
            raise UnsupportedError(f"too much to compile: {tree.prettify()[:200]}")
        return node

    def vector(self, tree: Any, grid: Grid) -> Vector:
        """Return the node of an expression that must be an instant vector."""
        node = self.compile(tree, grid)
        if not isinstance(node, Vector):
            raise UnsupportedError(f"an instant vector is needed in place of {tree.prettify()}")
        return node

    def scalar(self, tree: Any, grid: Grid) -> str:
        """Return the SQL of an expression that must be a number."""
        node = self.compile(tree, grid)
        if not isinstance(node, Scalar):
            raise UnsupportedError(f"a number is needed in place of {tree.prettify()}")
        return node.expression

    def windows(self, tree: Any, grid: Grid) -> Windows:
        """Return the node of an expression that must be a range vector."""
        node = self.compile(_bare(tree), grid)
        if not isinstance(node, Windows):
            raise UnsupportedError(f"a range (…[5m]) is needed in place of {tree.prettify()}")
        return node

    def _visit_ParenExpr(self, tree: Any, grid: Grid) -> Node:  # noqa: N802
        return self.compile(tree.expr, grid)

    def _visit_NumberLiteral(self, tree: Any, grid: Grid) -> Node:  # noqa: N802
        return Scalar(self.lanes.pick([number(s.numbers[int(tree.val)]) for s in self.shapes]))

    def _visit_StringLiteral(self, tree: Any, grid: Grid) -> Node:  # noqa: N802
        return Text(tree.val)

    def _visit_UnaryExpr(self, tree: Any, grid: Grid) -> Node:  # noqa: N802
        node = self.compile(tree.expr, grid)
        if isinstance(node, Scalar):
            return Scalar(f"(-{node.expression})")
        if not isinstance(node, Vector):
            raise UnsupportedError(f"'-' needs a number or a vector: {tree.prettify()}")
        return node.without_name().mapped("-x.v")

    def _visit_BinaryExpr(self, tree: Any, grid: Grid) -> Node:  # noqa: N802
        left, right = self.compile(tree.lhs, grid), self.compile(tree.rhs, grid)
        return matching.binary(tree, left, right)

    def _visit_Call(self, tree: Any, grid: Grid) -> Node:  # noqa: N802
        return calls.call(self, tree, grid)

    def _visit_AggregateExpr(self, tree: Any, grid: Grid) -> Node:  # noqa: N802
        name = str(tree.op)
        vector = self.vector(tree.expr, grid)
        signature, has_name = matching.grouping(tree.modifier)
        shape = {"vector": vector.select, "signature": signature}
        if name in functions.AGGREGATES:
            value = functions.AGGREGATES[name]
            return Vector(template("aggregate", value=value, **shape), has_name)
        if name in ("topk", "bottomk"):
            select = template(
                "top",
                direction="DESC" if name == "topk" else "ASC",
                argument=self.scalar(tree.param, grid),
                **shape,
            )
            return Vector(select, vector.has_name, vector.has_one_name)
        if name == "quantile":
            select = template(
                "quantile",
                value=functions.quantile("vs", "argument"),
                argument=self.scalar(tree.param, grid),
                **shape,
            )
            return Vector(select, has_name)
        raise UnsupportedError(f"the aggregation {name} is not covered")

    def queries(self, selector: Any) -> list[Query]:
        """Return what a selector of the shape asks for on each lane."""
        return [s.queries[place(selector)] for s in self.shapes]

    def _pin(self, tree: Any) -> str | None:
        """Return the SQL of the time that an ``@`` modifier pins a selector to."""
        if tree.at is None:
            return None
        if tree.at.type == promql_parser.AtModifierType.At:
            try:
                return f"toInt64({round(tree.at.at.timestamp() * 1000)})"
            except (ValueError, OverflowError) as error:
                raise UnsupportedError(f"the time after @ is out of range: {error}") from error
        is_start = tree.at.type == promql_parser.AtModifierType.Start
        return self.grid.start if is_start else self.grid.end

    def _placing(self, tree: Any, grid: Grid, length: int) -> tuple[dict[str, Any], str, str]:
        """Return what places samples on the grid, and the bounds of the samples to read."""
        return self._placed(self._pin(tree), grid, milliseconds(tree.offset), length)

    def _placed(
        self, pin: str | None, grid: Grid, offset: int, length: int
    ) -> tuple[dict[str, Any], str, str]:
        reach = length - 1 if self.is_left_open else length
        since = f"{pin or grid.start} - ({offset}) - {reach}"
        until = f"{pin or grid.end} - ({offset})"
        placing = {"grid": grid, "offset": offset, "reach": reach, "is_pinned": pin is not None}
        return placing, since, until

    def _visit_VectorSelector(self, tree: Any, grid: Grid) -> Vector:  # noqa: N802
        return self.instant(tree, grid)

    def instant(self, tree: Any, grid: Grid, *, wants_timestamp: bool = False) -> Vector:
        """Return an instant selector's vector: of values, or of the samples' own times."""
        placing, since, until = self._placing(tree, grid, self.lookback)
        select = template(
            "selector",
            samples=selection.read(self.samples, self.queries(tree), since, until),
            wants_timestamp=wants_timestamp,
            **placing,
        )
        return Vector(select, True, is_of_one_metric(tree))

    def presence(self, alike: Sequence[Selector]) -> str:
        """Return the SELECT of the times at which selectors, one a lane, find any sample."""
        selector, queries = alike[0], [one.query for one in alike]
        placing, since, until = self._placed(
            self._pin(selector.tree), self.grid, selector.offset_ms, selector.window_ms
        )
        samples = selection.read(self.samples, queries, since, until)
        return template("presence", samples=samples, **placing)

    def _visit_MatrixSelector(self, tree: Any, grid: Grid) -> Windows:  # noqa: N802
        selector, length = tree.vector_selector, milliseconds(tree.range)
        placing, since, until = self._placing(selector, grid, length)
        samples = selection.read(self.samples, self.queries(selector), since, until)
        select = template("windows", samples=samples, **placing)
        end = self._window_end(selector, placing["offset"])
        return Windows(select, end, length, True, is_of_one_metric(selector))

    def _window_end(self, tree: Any, offset: int) -> str:
        pin = self._pin(tree)
        end = f"{self.lanes.start('t')} + {pin}" if pin else "t"
        return f"{end} - ({offset})"

    def _visit_SubqueryExpr(self, tree: Any, grid: Grid) -> Windows:  # noqa: N802
        length = milliseconds(tree.range)
        step = milliseconds(tree.step or SUBQUERY_STEP)
        placing, since, until = self._placing(tree, grid, length)
        # Steps of a subquery are multiples of its step, independent of the query's own times.
        first = f"intDiv({since} + {step - 1}, {step}) * {step}"
        steps = replace(grid, start=f"({first})", end=f"({until})", step=str(step))
        inner = self.vector_of(tree.expr, steps)
        select = template(
            "windows",
            samples=f"SELECT labels, t AS ts, v AS value FROM ({inner.select})",
            **placing,
        )
        end = self._window_end(tree, placing["offset"])
        return Windows(select, end, length, inner.has_name, inner.has_one_name)

    def vector_of(self, tree: Any, grid: Grid) -> Vector:
        """Return an expression's vector; a number becomes a series without labels."""
        node = self.compile(tree, grid)
        return constant_vector(node, grid) if isinstance(node, Scalar) else self._sure(node)

    @staticmethod
    def _sure(node: Node) -> Vector:
        if not isinstance(node, Vector):
            raise UnsupportedError("a subquery needs a vector or a number before its brackets")
        return node


__all__ = ["Batch", "Comparison", "Expression", "Selector", "parse"]
