"""Function calls, and the matchers of selectors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import re2

from millrace.alerts.promql import functions
from millrace.alerts.promql.errors import UnsupportedError
from millrace.alerts.promql.nodes import (
    EMPTY_LABELS,
    Compiler,
    Grid,
    Node,
    Scalar,
    Text,
    Vector,
    constant_vector,
    number,
    template,
)
from millrace.alerts.promql.shape import Query
from millrace.stores.quoting import literal

LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def call(compiler: Compiler, tree: Any, grid: Grid) -> Node:
    """Return a function's result. Raises ``UnsupportedError`` naming one that is not covered."""
    name = tree.func.name
    if name in functions.ELEMENTWISE:
        vector = compiler.vector(tree.args[0], grid).without_name()
        return vector.mapped(functions.ELEMENTWISE[name].format(v="x.v"))
    if name in functions.CALENDAR:
        if not tree.args:
            return constant_vector(Scalar(functions.CALENDAR[name].format(v=_seconds(grid))), grid)
        vector = compiler.vector(tree.args[0], grid).without_name()
        return vector.mapped(functions.CALENDAR[name].format(v="x.v"))
    if name in _SPECIAL:
        return _SPECIAL[name](compiler, tree, grid)
    return _over_window(compiler, tree, grid)


def _seconds(grid: Grid, t: str = "t") -> str:
    """Return a time in seconds since 1970."""
    return f"{grid.lanes.clock(t)} / 1000"


def _over_window(compiler: Compiler, tree: Any, grid: Grid) -> Vector:
    name, arguments = tree.func.name, list(tree.args)
    if functions.over_window(name, 1) is None:
        raise UnsupportedError(f"the function {name} is not covered")
    ranges = [a for a in arguments if type(a).__name__ in ("MatrixSelector", "SubqueryExpr")]
    if len(ranges) != 1:
        raise UnsupportedError(f"{name} needs one range (…[5m]): {tree.prettify()}")
    extras = [compiler.scalar(a, grid) for a in arguments if a is not ranges[0]]
    windows = compiler.windows(ranges[0], grid)
    covered = functions.over_window(name, windows.length)
    if covered is None:
        raise UnsupportedError(f"the function {name} is not covered")
    value, condition = covered
    select = template(
        "over_window",
        value=value,
        condition=condition,
        windows=windows.select,
        window_end=windows.end,
        extra=extras[0] if extras else number(0.0),
    )
    vector = Vector(select, windows.has_name, windows.has_one_name)
    return vector if name == "last_over_time" else vector.without_name()


def _absent(compiler: Compiler, tree: Any, grid: Grid) -> Vector:
    argument = tree.args[0]
    if tree.func.name == "absent":
        present: str = compiler.vector(argument, grid).select
    else:
        present = compiler.windows(argument, grid).select
    selector = getattr(argument, "vector_selector", argument)
    labels = EMPTY_LABELS
    if type(selector).__name__ == "VectorSelector":
        labels = grid.lanes.pick([_absent_labels(q) for q in compiler.queries(selector)], "s.t")
    return Vector(template("absent", steps=grid.steps, labels=labels, present=present))


def _absent_labels(query: Query) -> str:
    """Return the labels of an absent series: those that the selector pins to one value."""
    pinned: dict[str, str] = {}
    ambiguous = set()
    for label, operator, value in query.matchers:
        if operator == "=" and label not in pinned:
            pinned[label] = value
        else:
            ambiguous.add(label)
    kept = {k: v for k, v in sorted(pinned.items()) if k not in ambiguous and k != "__name__" and v}
    if not kept:
        return EMPTY_LABELS
    return "map(" + ", ".join(f"{literal(k)}, {literal(v)}" for k, v in kept.items()) + ")"


def _scalar(compiler: Compiler, tree: Any, grid: Grid) -> Scalar:
    vector = compiler.vector(tree.args[0], grid)
    one = f"SELECT t, if(count() = 1, any(v), nan) AS v FROM ({vector.select}) GROUP BY t"
    values = (
        "SELECT CAST(mapFromArrays(groupArray(t), groupArray(v)), 'Map(Int64, Nullable(Float64))')"
        f" FROM ({one})"
    )
    return Scalar(f"ifNull(({values})[t], nan)")


def _vector(compiler: Compiler, tree: Any, grid: Grid) -> Vector:
    return constant_vector(Scalar(compiler.scalar(tree.args[0], grid)), grid)


def _time(compiler: Compiler, tree: Any, grid: Grid) -> Scalar:
    return Scalar(f"({_seconds(grid)})")


def _pi(compiler: Compiler, tree: Any, grid: Grid) -> Scalar:
    return Scalar("pi()")


def _timestamp(compiler: Compiler, tree: Any, grid: Grid) -> Vector:
    argument = tree.args[0]
    while type(argument).__name__ == "ParenExpr":
        argument = argument.expr
    if type(argument).__name__ == "VectorSelector":
        return compiler.instant(argument, grid, wants_timestamp=True).without_name()
    return compiler.vector(argument, grid).without_name().mapped(_seconds(grid, "x.t"))


def _sort(compiler: Compiler, tree: Any, grid: Grid) -> Vector:
    # A result is a set of series here; their order carries no meaning for a rule.
    return compiler.vector(tree.args[0], grid)


def _round(compiler: Compiler, tree: Any, grid: Grid) -> Vector:
    nearest = compiler.scalar(tree.args[1], grid) if len(tree.args) > 1 else number(1.0)
    vector = compiler.vector(tree.args[0], grid).without_name()
    return vector.mapped(f"floor(x.v * (1 / {nearest}) + 0.5) / (1 / {nearest})")


def _clamp(compiler: Compiler, tree: Any, grid: Grid) -> Vector:
    name = tree.func.name
    bounds = [compiler.scalar(argument, grid) for argument in tree.args[1:]]
    vector = compiler.vector(tree.args[0], grid).without_name()
    low = bounds[0] if name in ("clamp", "clamp_min") else None
    high = bounds[-1] if name in ("clamp", "clamp_max") else None
    value = "x.v"
    if high:
        value = f"least({high}, {value})"
    if low:
        value = f"greatest({low}, {value})"
    nans = " OR ".join(f"isNaN({part})" for part in ("x.v", *bounds))
    condition = f"NOT ({high} < {low})" if low and high else ""
    return vector.mapped(f"if({nans}, nan, {value})", condition)


def _histogram_quantile(compiler: Compiler, tree: Any, grid: Grid) -> Vector:
    argument = compiler.scalar(tree.args[0], grid)
    vector = compiler.vector(tree.args[1], grid)
    return Vector(template("histogram_quantile", argument=argument, vector=vector.select))


def _texts(compiler: Compiler, tree: Any, grid: Grid) -> list[str]:
    nodes = [compiler.compile(argument, grid) for argument in tree.args[1:]]
    if not all(isinstance(node, Text) for node in nodes):
        raise UnsupportedError(f"{tree.func.name} needs strings: {tree.prettify()}")
    return [node.value for node in nodes if isinstance(node, Text)]


def _relabelled(vector: Vector, target: str, value: str) -> Vector:
    """Return the vector with the label ``target`` set to ``value`` (SQL over ``x.labels``)."""
    if not LABEL_NAME.fullmatch(target):
        raise UnsupportedError(f"invalid label name {target!r}")
    labels = (
        "mapSort(mapFilter((k, l) -> l != '', mapConcat("
        f"mapFilter((k, l) -> k != {literal(target)}, x.labels), map({literal(target)}, {value}))))"
    )
    select = f"SELECT x.t AS t, {labels} AS labels, x.v AS v FROM ({vector.select}) AS x"
    return Vector(template("unique_series", vector=select), True, False)


def _label_replace(compiler: Compiler, tree: Any, grid: Grid) -> Vector:
    vector = compiler.vector(tree.args[0], grid)
    target, replacement, source, pattern = _texts(compiler, tree, grid)
    options = re2.Options()
    options.log_errors = False
    try:
        groups = re2.compile(pattern, options)
    except re2.error as error:
        said = error.args[0].decode(errors="replace")
        raise UnsupportedError(f"label_replace: invalid pattern {pattern!r}: {said}") from error
    anchored = literal(f"^(?:{pattern})$")
    current, old = f"x.labels[{literal(source)}]", f"x.labels[{literal(target)}]"
    template_ = literal(_replacement(replacement, groups))
    replaced = f"replaceRegexpOne({current}, {anchored}, {template_})"
    value = f"if(match({current}, {anchored}), {replaced}, {old})"
    return _relabelled(vector, target, value)


def _replacement(text: str, pattern: Any) -> str:
    r"""Return Go's replacement (``$1``, ``${name}``, ``$$``) in RE2's form (``\1``)."""

    def convert(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        name = match[1] or match[2]
        index = int(name) if name.isdigit() else pattern.groupindex.get(name, -1)
        return f"\\{index}" if 0 <= index <= pattern.groups else ""

    return re.sub(r"\$\$|\$(\w+)|\$\{(\w+)\}", convert, text.replace("\\", "\\\\"))


def _label_join(compiler: Compiler, tree: Any, grid: Grid) -> Vector:
    vector = compiler.vector(tree.args[0], grid)
    target, separator, *sources = _texts(compiler, tree, grid)
    parts = ", ".join(f"x.labels[{literal(source)}]" for source in sources)
    joined = f"arrayStringConcat([{parts}], {literal(separator)})" if sources else "''"
    return _relabelled(vector, target, joined)


_SPECIAL: dict[str, Callable[[Compiler, Any, Grid], Node]] = {
    "absent": _absent,
    "absent_over_time": _absent,
    "clamp": _clamp,
    "clamp_max": _clamp,
    "clamp_min": _clamp,
    "histogram_quantile": _histogram_quantile,
    "label_join": _label_join,
    "label_replace": _label_replace,
    "pi": _pi,
    "round": _round,
    "scalar": _scalar,
    "sort": _sort,
    "sort_desc": _sort,
    "time": _time,
    "timestamp": _timestamp,
    "vector": _vector,
}
