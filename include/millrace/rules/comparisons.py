"""Values of rules held against fields: numbers as numbers, times as times, all of them exactly.

A number is first compared as Float64. What that can't tell apart (more than 15 digits) is compared
as a decimal of up to 38 digits on either side of the point, if it is spelled without an exponent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TypeGuard

from millrace.rules.expressions import (
    EXACT_DIGITS,
    TIMESTAMP_PATTERN,
    Fields,
    nanoseconds,
    text_of,
)
from millrace.stores.quoting import literal

SIGNS = {
    "equals": "=",
    "not_equals": "!=",
    "less": "<",
    "less_or_equal": "<=",
    "greater": ">",
    "greater_or_equal": ">=",
}
FLOAT_DIGITS = 15
"""So many significant digits a Float64 always keeps."""


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value of a rule is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_time(value: object) -> TypeGuard[str]:
    """Tell whether a value of a rule is a time: a text in ISO 8601 with a zone."""
    return isinstance(value, str) and re.search(TIMESTAMP_PATTERN, value, re.ASCII) is not None


def decimal(value: float) -> str | None:
    """Return a number as a decimal literal; nothing if it has too many digits."""
    text = format(Decimal(text_of(value)), "f")
    whole, _, fraction = text.lstrip("-").partition(".")
    if len(whole) > EXACT_DIGITS or len(fraction) > EXACT_DIGITS:
        return None
    return f"toDecimal256({literal(text)}, {EXACT_DIGITS})"


def moment(text: str) -> str:
    """Return a time of a rule as an expression: nanoseconds since 1970."""
    written = literal(text)
    return nanoseconds(written, f"parseDateTime64BestEffortOrNull({written}, 3, 'UTC')")


def compare(fields: Fields, field: str, op: str, test: dict[str, Any]) -> str:
    """Return the comparison of a field with a value or another field; false where one is absent."""
    sign, left = SIGNS[op], fields.text(field)
    if "other_field" in test:
        other = test["other_field"]
        a, b, right = fields.number(field), fields.number(other), fields.text(other)
        numbers = _with_ties(a, b, sign, fields.exact(field), fields.exact(other))
        times = f"{fields.moment(field)} {sign} {fields.moment(other)}"
        return (
            f"multiIf(isFinite({a}) AND isFinite({b}), {numbers}, "
            f"isNotNull({times}), ifNull({times}, 0), "
            f"{left} != '' AND {right} != '' AND {left} {sign} {right})"
        )
    value = test["value"]
    if is_number(value):
        number, exact = fields.number(field), fields.exact(field)
        compared = _with_ties(number, literal(float(value)), sign, exact, decimal(value))
        return f"(isFinite({number}) AND {compared})"
    texts = f"{left} != '' AND {left} {sign} {literal(value)}"
    if is_time(value):
        times = f"{fields.moment(field)} {sign} {moment(value)}"
        return f"ifNull({times}, {texts})"
    return f"({texts})"


def nudged(fields: Fields, field: str, sign: str) -> str:
    """Return a number as the Float64 that is below (``<``) or above a limit exactly if it is.

    It is the nearest Float64, or the next one where the number is beyond what that one is written
    as: so one comparison with a limit that a Float64 is written as is exact, and rules stay merged.
    """
    number, exact = fields.number(field), fields.exact(field)
    written = f"toDecimal256OrNull(toString({number}), {EXACT_DIGITS})"
    away = 1 if sign == ">" else -1
    bits = f"reinterpretAsInt64({number}) + if({number} > 0, {away}, {-away})"
    beyond = f"if({number} = 0, {away} * 5e-324, reinterpretAsFloat64({bits}))"
    is_beyond = (
        f"length({fields.text(field)}) > {FLOAT_DIGITS} AND ifNull({exact} {sign} {written}, 0)"
    )
    name = f"{field}_{'above' if sign == '>' else 'below'}"
    return fields.define(name, f"if({is_beyond}, {beyond}, {number})")


def at_limit(fields: Fields, field: str, sign: str, limit: float) -> str | None:
    """Return whether a number that equals a long limit as Float64 is beyond it; nothing if short.

    ``nudged`` is exact for the limits that a Float64 is written as.
    """
    edge = decimal(limit)
    if edge is None or Decimal(text_of(limit)) == Decimal(text_of(float(limit))):
        return None
    number, exact = fields.number(field), fields.exact(field)
    return f"({number} = {literal(float(limit))} AND ifNull({exact} {sign} {edge}, 0))"


def among(fields: Fields, field: str, values: Iterable[object]) -> str:
    """Return whether a field is one of some values."""
    values = list(values)
    text = fields.text(field)
    found = [f"{text} IN ({', '.join(dict.fromkeys(literal(text_of(v)) for v in values))})"]
    if numbers := [value for value in values if is_number(value)]:
        number, exact = fields.number(field), fields.exact(field)
        floats = ", ".join(dict.fromkeys(literal(float(value)) for value in numbers))
        exactly = ", ".join(dict.fromkeys(filter(None, map(decimal, numbers))))
        known = f"ifNull({exact} IN ({exactly}), 1)" if exactly else f"isNull({exact})"
        found.append(f"({number} IN ({floats}) AND {known})")
    if times := [value for value in values if is_time(value)]:
        moments = " OR ".join(f"ifNull({fields.moment(field)} = {moment(t)}, 0)" for t in times)
        found.append(f"({moments})")
    return f"({text} != '' AND ({' OR '.join(found)}))"


def is_of_texts(values: Iterable[object]) -> bool:
    """Tell whether a list is compared as text: it holds no number and no time."""
    return not any(is_number(value) or is_time(value) for value in values)


def predicate(fields: Fields, test: dict[str, Any]) -> str:
    """Return a predicate of the rule schema as a boolean expression."""
    if "all" in test:
        return "(" + " AND ".join(predicate(fields, part) for part in test["all"]) + ")"
    if "any" in test:
        return "(" + " OR ".join(predicate(fields, part) for part in test["any"]) + ")"
    if "not" in test:
        return f"(NOT {predicate(fields, test['not'])})"
    field, op = test["field"], test["op"]
    text = fields.text(field)
    if op == "present":
        return f"({text} != '')"
    if op == "absent":
        return f"({text} = '')"
    if op == "in":
        return among(fields, field, test["values"])
    if op == "matches":
        return f"({text} != '' AND match({text}, {literal(test['pattern'])}))"
    return compare(fields, field, op, test)


def _with_ties(a: str, b: str, sign: str, exact_a: str, exact_b: str | None) -> str:
    """Compare two Float64, and where they are the same the decimals that they stand for."""
    floats = f"{a} {sign} {b}"
    if exact_b is None:
        return f"({floats})"
    # Rounding keeps the order, so different floats tell it; a null decimal tells nothing more.
    return f"if({a} = {b}, ifNull({exact_a} {sign} {exact_b}, {floats}), {floats})"
