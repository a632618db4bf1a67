"""PromQL's functions as SQL expressions.

Formulas follow Prometheus' own ``promql/functions.go`` and ``promql/quantile.go``.
"""

from __future__ import annotations

ELEMENTWISE = {
    "abs": "abs({v})",
    "acos": "acos({v})",
    "acosh": "acosh({v})",
    "asin": "asin({v})",
    "asinh": "asinh({v})",
    "atan": "atan({v})",
    "atanh": "atanh({v})",
    "ceil": "ceil({v})",
    "cos": "cos({v})",
    "cosh": "cosh({v})",
    "deg": "{v} * 180 / pi()",
    "exp": "exp({v})",
    "floor": "floor({v})",
    "ln": "log({v})",
    "log10": "log10({v})",
    "log2": "log2({v})",
    "rad": "{v} * pi() / 180",
    "sgn": "if(isNaN({v}), nan, toFloat64(sign({v})))",
    "sin": "sin({v})",
    "sinh": "sinh({v})",
    "sqrt": "sqrt({v})",
    "tan": "tan({v})",
    "tanh": "tanh({v})",
}
"""Of one value each; ``{v}`` is the value."""

_MOMENT = "toDateTime64({v}, 0, 'UTC')"
CALENDAR = {
    "day_of_month": f"toFloat64(toDayOfMonth({_MOMENT}))",
    "day_of_week": f"toFloat64(toDayOfWeek({_MOMENT}) % 7)",
    "day_of_year": f"toFloat64(toDayOfYear({_MOMENT}))",
    "days_in_month": f"toFloat64(toDayOfMonth(toLastDayOfMonth({_MOMENT})))",
    "hour": f"toFloat64(toHour({_MOMENT}))",
    "minute": f"toFloat64(toMinute({_MOMENT}))",
    "month": f"toFloat64(toMonth({_MOMENT}))",
    "year": f"toFloat64(toYear({_MOMENT}))",
}
"""Of a time in seconds since 1970, in UTC; without an argument of the evaluation time."""

_FINITE = "arrayFilter(y -> NOT isNaN(y), vs)"
_RESETS = (
    "arraySum(arrayMap((now, before) -> if(now < before, {then}, 0.), "
    "arrayPopFront(vs), arrayPopBack(vs)))"
)


def quantile(values: str, q: str) -> str:
    """Return the SQL of PromQL's quantile: linear between neighbours, NaN the smallest value."""
    ordered = f"arraySort(y -> (NOT isNaN(y), y), {values})"
    rank = f"({q}) * (length({values}) - 1)"
    lower = f"toUInt64(greatest(0., floor({rank})))"
    return (
        f"multiIf(empty({values}) OR isNaN({q}), nan, ({q}) < 0, -inf, ({q}) > 1, inf, "
        f"arrayElement({ordered}, {lower} + 1) * (1 - ({rank} - floor({rank}))) + "
        f"arrayElement({ordered}, least(toUInt64(length({values})), {lower} + 2)) "
        f"* ({rank} - floor({rank})))"
    )


def _extrapolated(*, is_counter: bool, is_rate: bool, length: int) -> str:
    """Return rate, increase or delta: the change, stretched to the window's ends.

    The stretch stops half a sample's distance beyond the samples where the series seems to begin
    or end inside the window, and a counter is not stretched below zero.
    """
    change = "vs[-1] - vs[1]"
    if is_counter:
        change += " + " + _RESETS.format(then="before")
    span = "((ts[-1] - ts[1]) / 1000)"
    distance = f"({span} / (length(ts) - 1))"
    to_start = f"((ts[1] - (window_end - {length})) / 1000)"
    if is_counter:
        to_start = (
            f"if(({change}) > 0 AND vs[1] >= 0, "
            f"least({to_start}, {span} * (vs[1] / ({change}))), {to_start})"
        )
    to_end = "((window_end - ts[-1]) / 1000)"
    stretched = (
        f"({span} + if({to_start} < {distance} * 1.1, {to_start}, {distance} / 2)"
        f" + if({to_end} < {distance} * 1.1, {to_end}, {distance} / 2))"
    )
    per = f" / {length / 1000!r}" if is_rate else ""
    return f"({change}) * ({stretched} / {span}{per})"


_X = "arrayMap(y -> (y - {origin}) / 1000, ts)"


def _regression(origin: str, result: str) -> str:
    """Return least squares over the window; ``result`` may use ``slope`` and ``intercept``."""
    x, n = _X.format(origin=origin), "length(ts)"
    sum_x, sum_y = f"arraySum({x})", "arraySum(vs)"
    covariance = f"(arraySum((a, b) -> a * b, {x}, vs) - {sum_x} * {sum_y} / {n})"
    variance = f"(arraySum(a -> a * a, {x}) - {sum_x} * {sum_x} / {n})"
    slope = (
        f"if(arrayAll(y -> y = vs[1], vs), if(isFinite(vs[1]), 0., nan), {covariance} / {variance})"
    )
    intercept = f"({sum_y} / {n} - ({slope}) * {sum_x} / {n})"
    return result.format(slope=f"({slope})", intercept=intercept)


def _last_two(change: str) -> str:
    return change.format(new="vs[-1]", old="vs[-2]", seconds="((ts[-1] - ts[-2]) / 1000)")


def over_window(name: str, length: int) -> tuple[str, str] | None:
    """Return a range function's SQL and the condition for it to have a value.

    Both may use ``ts``, ``vs``, ``window_end`` and ``argument``. ``length`` is the window's, in
    ms. Returns None for a function that is not covered.
    """
    always, two = "1", "length(vs) > 1"
    mean = "arrayAvg(vs)"
    variance = f"arrayAvg(y -> (y - {mean}) * (y - {mean}), vs)"
    simple = {
        "avg_over_time": (mean, always),
        "count_over_time": ("toFloat64(length(vs))", always),
        "last_over_time": ("vs[-1]", always),
        "max_over_time": (f"if(empty({_FINITE}), nan, arrayMax({_FINITE}))", always),
        "min_over_time": (f"if(empty({_FINITE}), nan, arrayMin({_FINITE}))", always),
        "present_over_time": ("toFloat64(1)", always),
        "quantile_over_time": (quantile("vs", "argument"), always),
        "stddev_over_time": (f"sqrt({variance})", always),
        "stdvar_over_time": (variance, always),
        "sum_over_time": ("arraySum(vs)", always),
        "changes": (
            "toFloat64(arrayCount((now, before) -> now != before AND NOT (isNaN(now) AND "
            "isNaN(before)), arrayPopFront(vs), arrayPopBack(vs)))",
            always,
        ),
        "resets": (_RESETS.format(then="1."), always),
        "deriv": (_regression("ts[1]", "{slope}"), two),
        "predict_linear": (_regression("t", "{slope} * argument + {intercept}"), two),
        "idelta": (_last_two("{new} - {old}"), f"{two} AND ts[-1] != ts[-2]"),
        "irate": (
            _last_two("if({new} < {old}, {new}, {new} - {old}) / {seconds}"),
            f"{two} AND ts[-1] != ts[-2]",
        ),
    }
    if name in simple:
        return simple[name]
    if name in ("rate", "increase", "delta"):
        value = _extrapolated(is_counter=name != "delta", is_rate=name == "rate", length=length)
        return value, two
    return None


AGGREGATES = {
    "avg": "avg(v)",
    "count": "toFloat64(count())",
    "group": "toFloat64(1)",
    "max": "if(countIf(NOT isNaN(v)) = 0, nan, maxIf(v, NOT isNaN(v)))",
    "min": "if(countIf(NOT isNaN(v)) = 0, nan, minIf(v, NOT isNaN(v)))",
    "stddev": "stddevPopStable(v)",
    "stdvar": "varPopStable(v)",
    "sum": "sum(v)",
}
"""Aggregations without a parameter, over the rows of a group."""

ARITHMETIC = {
    "+": "{a} + {b}",
    "-": "{a} - {b}",
    "*": "{a} * {b}",
    "/": "{a} / {b}",
    "%": "multiIf({b} = 0 OR isInfinite({a}), nan, isInfinite({b}), {a}, modulo({a}, {b}))",
    "^": "pow({a}, {b})",
    "atan2": "atan2({a}, {b})",
}
COMPARISONS = {
    # Not "=", which ClickHouse may make a join key, and NaN equals NaN there.
    "==": "({a} >= {b} AND {a} <= {b})",
    "!=": "{a} != {b}",
    ">": "{a} > {b}",
    "<": "{a} < {b}",
    ">=": "{a} >= {b}",
    "<=": "{a} <= {b}",
}
SET_OPERATORS = ("and", "or", "unless")
