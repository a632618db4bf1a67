"""Operators between numbers and vectors, and the label sets that match or group series."""

from __future__ import annotations

from typing import Any

import promql_parser

from millrace.alerts.promql.errors import UnsupportedError
from millrace.alerts.promql.functions import ARITHMETIC, COMPARISONS, SET_OPERATORS
from millrace.alerts.promql.nodes import (
    EMPTY_LABELS,
    Node,
    Scalar,
    Vector,
    array,
    template,
)

ONLY_NAME = "mapFilter((k, l) -> k != '__name__', {labels})"


def keep(labels: list[str], source: str) -> str:
    """Return the SQL of a label set reduced to ``labels``."""
    if not labels:
        return EMPTY_LABELS
    return f"mapFilter((k, l) -> k IN {array(labels)}, {source})"


def drop(labels: list[str], source: str) -> str:
    """Return the SQL of a label set without ``labels``."""
    if not labels:
        return source
    return f"mapFilter((k, l) -> k NOT IN {array(labels)}, {source})"


def grouping(modifier: Any) -> tuple[str, bool]:
    """Return the SQL of an aggregation's group, and whether it may hold the metric's name."""
    if modifier is None:
        return EMPTY_LABELS, False
    if modifier.type == promql_parser.AggModifierType.By:
        return keep(modifier.labels, "x.labels"), "__name__" in modifier.labels
    return drop([*modifier.labels, "__name__"], "x.labels"), False


def binary(tree: Any, left: Node, right: Node) -> Node:
    """Return a binary operator's result. Raises ``UnsupportedError`` for what has none."""
    operator, modifier = str(tree.op), tree.modifier
    if modifier is not None and (modifier.fill_values.lhs, modifier.fill_values.rhs) != (
        None,
        None,
    ):
        raise UnsupportedError("the modifiers fill, fill_left and fill_right are not covered")
    is_bool = bool(modifier and modifier.return_bool)
    if isinstance(left, Vector) and isinstance(right, Vector):
        if operator in SET_OPERATORS:
            return _set_operation(operator, modifier, left, right)
        return _matched(operator, modifier, left, right, is_bool=is_bool)
    if isinstance(left, Scalar) and isinstance(right, Scalar):
        return Scalar(_apply(operator, f"({left.expression})", f"({right.expression})"))
    if isinstance(left, Vector) and isinstance(right, Scalar):
        return _with_number(operator, left, "x.v", f"({right.expression})", is_bool=is_bool)
    if isinstance(left, Scalar) and isinstance(right, Vector):
        return _with_number(operator, right, f"({left.expression})", "x.v", is_bool=is_bool)
    raise UnsupportedError(f"'{operator}' needs numbers or vectors: {tree.prettify()}")


def _apply(operator: str, a: str, b: str) -> str:
    """Return an operator's SQL value; a comparison gives 0 or 1."""
    if operator in COMPARISONS:
        return f"toFloat64({COMPARISONS[operator].format(a=a, b=b)})"
    if operator in ARITHMETIC:
        return f"toFloat64({ARITHMETIC[operator].format(a=a, b=b)})"
    raise UnsupportedError(f"the operator {operator} is not covered")


def _with_number(operator: str, vector: Vector, a: str, b: str, *, is_bool: bool) -> Vector:
    if operator in COMPARISONS and not is_bool:
        return vector.mapped("x.v", COMPARISONS[operator].format(a=a, b=b))
    return vector.without_name().mapped(_apply(operator, a, b))


def _signature(modifier: Any) -> tuple[bool, list[str], str]:
    """Return whether ``on`` was said, the labels named, and the signature's SQL."""
    named = modifier.matching if modifier is not None else None
    labels = list(named.labels) if named is not None else []
    is_on = named is not None and named.type == promql_parser.LabelModifierType.Include
    if is_on:
        return True, labels, keep(labels, "x.labels")
    return False, labels, drop([*labels, "__name__"], "x.labels")


def _set_operation(operator: str, modifier: Any, left: Vector, right: Vector) -> Vector:
    _, _, signature = _signature(modifier)
    select = template(
        "set_operation",
        operator=operator,
        signature=signature,
        left=left.select,
        right=right.select,
    )
    if operator == "or":
        return Vector(select, left.has_name or right.has_name, False)
    return Vector(select, left.has_name, left.has_one_name)


def _matched(operator: str, modifier: Any, left: Vector, right: Vector, *, is_bool: bool) -> Vector:
    cardinality = modifier.card if modifier is not None else None
    kinds = promql_parser.VectorMatchCardinality
    is_one_to_one = cardinality in (None, kinds.OneToOne)
    is_swapped = cardinality == kinds.OneToMany
    many, one = (right, left) if is_swapped else (left, right)
    a, b = ("o.v", "m.v") if is_swapped else ("m.v", "o.v")
    is_on, named, signature = _signature(modifier)

    filters = operator in COMPARISONS and not is_bool
    keeps_name = filters and many.has_name
    labels = "m.labels"
    if is_one_to_one:
        labels = keep(named, labels) if is_on else drop(named, labels)
        keeps_name = keeps_name and (not is_on or "__name__" in named)
    if many.has_name and not filters:
        labels = ONLY_NAME.format(labels=labels)
    included = list(modifier.group_labels or []) if modifier is not None else []
    if included and not is_one_to_one:
        brought = f"mapFilter((k, l) -> k IN {array(included)}, o.labels)"
        labels = f"mapSort(mapConcat({drop(included, labels)}, {brought}))"
    select = template(
        "match",
        many=many.select,
        one=one.select,
        signature=signature,
        labels=labels,
        value=a if filters else _apply(operator, a, b),
        condition=COMPARISONS[operator].format(a=a, b=b) if filters else "",
        is_one_to_one=is_one_to_one,
    )
    return Vector(select, keeps_name or "__name__" in included, many.has_one_name)
