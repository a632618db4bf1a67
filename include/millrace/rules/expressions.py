"""ClickHouse expressions over an event's fields: quoting, reading, comparing."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from millrace.stores.quoting import literal

TIMESTAMP_PATTERN = (
    r"^[1-9]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[T ](?:[01]\d|2[0-3]):[0-5]\d"
    r"(?::[0-5]\d(?:\.\d{1,9})?)?(?:Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)$"
)
"""ISO 8601 (the profile of RFC 3339, with minutes as the coarsest): a zone is a must.

Years begin at 1000: the engine takes the year 0000 for none and puts today's in its place."""

STAGES = 24
"""At most so many subqueries deep; an engine takes 100 (``max_subquery_depth``)."""

EXACT_DIGITS = 38
"""Digits on either side of the point with which numbers are compared as decimals."""

PLAIN_NUMBER = rf"^[+-]?[0-9]{{0,{EXACT_DIGITS}}}(?:\.[0-9]{{0,{EXACT_DIGITS}}})?$"


def text_of(value: object) -> str:
    """Return a JSON scalar as the text that ClickHouse reads it as: 12.0 is ``12``, 1e22 ``1e22``.

    It writes a Float64 with the fewest digits that tell it, and with an exponent below 1e-6 and
    from 1e21 on.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    sign, places, exponent = Decimal(repr(value)).as_tuple()
    digits = "".join(map(str, places)).rstrip("0") or "0"
    point = len(places) + int(exponent) if value else 1
    minus = "-" if sign else ""
    if not -6 < point <= 21:
        return f"{minus}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1}"
    whole, fraction = digits[: max(point, 0)].ljust(point, "0"), digits[max(point, 0) :]
    if not fraction:
        return minus + whole
    return f"{minus}{whole or '0'}.{'0' * -point}{fraction}"


def either(conditions: list[str]) -> str:
    """Return whether any of the conditions holds, each evaluated for every row.

    ``OR`` would copy the columns of a condition that it hopes to skip.
    """
    any_of, *others = conditions
    for other in others:
        any_of = f"bitOr({any_of}, {other})"
    return any_of


def nanoseconds(text: str, time: str) -> str:
    """Return an ISO 8601 time as nanoseconds since 1970; null where ``time`` is.

    ``time`` is the text as DateTime64(3), which has the milliseconds; the text has the rest.
    """
    rest = f"rightPad(substring(extract({text}, '[.]([0-9]+)'), 4), 6, '0')"
    return f"(toInt128(toUnixTimestamp64Milli({time})) * 1000000 + toInt128OrZero({rest}))"


class Fields:
    """The text of each field as an expression, after the transformations so far.

    ``aliases`` are the columns that the expressions refer to, in order; an expression that was
    defined before is not defined again. ``guessed`` are maps, by the name of an object's field,
    whose entries stand where the object itself has none.
    """

    def __init__(
        self, names: dict[str, str] | None = None, event_types: tuple[str, ...] = ()
    ) -> None:
        """Start with the fields as they come.

        Args:
            names: The contract's field names, where a source uses others instead.
            event_types: Those that a rule is about; an event's type is its number in them.
        """
        self.names = names or {}
        self.event_types = event_types
        self.aliases: dict[str, str] = {}
        self.changed: dict[str, str] = {}
        self.removed: set[str] = set()
        self.moved: dict[str, tuple[str, ...]] = {}
        self.guessed: dict[str, list[str]] = {}
        self._by_expression: dict[str, str] = {}
        self._levels: dict[str, int] = {}

    def define(self, hint: str, expression: str) -> str:
        """Give ``expression`` an alias made from ``hint`` and return the alias."""
        if expression in self._by_expression:
            return self._by_expression[expression]
        stem = "".join(c if c.isascii() and c.isalnum() else "_" for c in hint) or "field"
        alias, number = f"_{stem}", 1
        while alias in self.aliases:
            number += 1
            alias = f"_{stem}_{number}"
        self.aliases[alias] = expression
        self._by_expression[expression] = alias
        used = [self._levels.get(word, 0) for word in re.findall(r"\w+", expression)]
        self._levels[alias] = 1 + max(used, default=0)
        return alias

    def stages(self) -> list[dict[str, str]]:
        """Return the aliases by stage: each stage is a SELECT over the one before.

        A column of a subquery is named at no cost, an alias is spelled out wherever it is used;
        so each level of dependence gets a stage, as far as subqueries may be nested.
        """
        deepest = max(self._levels.values(), default=0)
        levels_a_stage = -(-deepest // STAGES) or 1
        found: list[dict[str, str]] = [{} for _ in range(-(-deepest // levels_a_stage))]
        for alias, expression in self.aliases.items():
            found[(self._levels[alias] - 1) // levels_a_stage][alias] = expression
        return found

    def event_number(self) -> str:
        """Return the number of the event's type among those that rules are about, 0 for others."""
        if not self.event_types:
            return "0"
        known = ", ".join(literal(name) for name in self.event_types)
        numbers = ", ".join(str(number) for number in range(1, len(self.event_types) + 1))
        return self.define(
            "event_number", f"transform({self.text('event')}, [{known}], [{numbers}], 0)"
        )

    def key(self, field: str) -> str:
        """Return the JSON key that holds ``field`` in this source."""
        return self.names.get(field, field)

    def keys(self, field: str) -> tuple[str, ...]:
        """Return the JSON keys that the field's text may have come from."""
        return self.moved.get(field, (self.key(field),))

    def original(self, key: str) -> str:
        """Return the text that a message holds under a JSON key."""
        return self.define(f"{key}_text", f"fields[{literal(key)}]")

    def text(self, field: str) -> str:
        """Return the field's text; empty where it is absent, null or empty."""
        if field in self.changed:
            return self.changed[field]
        return self.original(self.key(field))

    def number(self, field: str) -> str:
        """Return the field as Float64; NaN where it is no number."""
        text = self.text(field)
        return self.define(f"{field}_number", f"ifNull(toFloat64OrNull({text}), nan)")

    def exact(self, field: str) -> str:
        """Return the field as Nullable(Decimal); null where it is no number, or a longer one."""
        text, number = self.text(field), self.number(field)
        is_plain = f"isFinite({number}) AND match({text}, {literal(PLAIN_NUMBER)})"
        return self.define(
            f"{field}_exact", f"if({is_plain}, toDecimal256OrNull({text}, {EXACT_DIGITS}), NULL)"
        )

    def moment(self, field: str) -> str:
        """Return the field as nanoseconds since 1970; null where it is no ISO 8601 time."""
        return self.define(f"{field}_moment", nanoseconds(self.text(field), self.time(field)))

    def time(self, field: str) -> str:
        """Return the field as Nullable(DateTime64(3)); null where it is no ISO 8601 time."""
        text = self.text(field)
        parsed = self.define(
            f"{field}_parsed", f"parseDateTime64BestEffortOrNull({text}, 3, 'UTC')"
        )
        is_iso = self.define(f"is_{field}_iso", f"match({text}, {literal(TIMESTAMP_PATTERN)})")
        return self.define(f"{field}_time", f"if({is_iso}, {parsed}, NULL)")

    def set(self, field: str, expression: str, event_type: str | None) -> None:
        """Let ``field`` be ``expression`` from here on, for one event type or for all."""
        before = self.text(field)
        if event_type is not None:
            event = self.text("event")
            expression = f"if({event} = {literal(event_type)}, {expression}, {before})"
        self.changed[field] = self.define(f"{field}_changed", expression)
