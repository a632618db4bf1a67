"""ClickHouse expressions over an event's fields: quoting, reading, comparing."""

from __future__ import annotations

import re
from typing import Any

TIMESTAMP_PATTERN = (
    r"^[1-9]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[T ](?:[01]\d|2[0-3]):[0-5]\d"
    r"(?::[0-5]\d(?:\.\d{1,9})?)?(?:Z|[+-](?:0\d|1[0-4])(?::?[0-5]\d)?)$"
)
"""ISO 8601 (the profile of RFC 3339, with minutes as the coarsest): a zone is a must.

Years begin at 1000: the engine takes the year 0000 for none and puts today's in its place."""

CONTRACT = {
    "event_id": "event_id",
    "event": "event_type",
    "timestamp": "event_time",
    "user_id": "user_id",
    "page": "page",
    "country": "country",
    "device": "device",
    "device_info": "device_info",
    "geo_location": "geo_location",
}
"""The fields of the event contract, and the columns of ``staged`` they become."""

STAGES = 24
"""At most so many subqueries deep; an engine takes 100 (``max_subquery_depth``)."""

COMPARISONS = {
    "equals": "=",
    "not_equals": "!=",
    "less": "<",
    "less_or_equal": "<=",
    "greater": ">",
    "greater_or_equal": ">=",
}


def literal(value: object) -> str:
    """Return ``value`` as a ClickHouse literal; text is quoted and escaped."""
    if isinstance(value, bool):
        return literal("true" if value else "false")
    if isinstance(value, int | float):
        return repr(value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{text}'"


def text_of(value: object) -> str:
    """Return a JSON scalar as the text that ClickHouse reads it as (12.0 is ``12``)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    return str(value)


class Fields:
    """The text of each field as an expression, after the transformations so far.

    ``aliases`` are the columns that the expressions refer to, in order; an expression that was
    defined before is not defined again.
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
        self.device_info: list[str] = []
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

    def text(self, field: str) -> str:
        """Return the field's text; empty where it is absent, null or empty."""
        if field in self.changed:
            return self.changed[field]
        return self.define(f"{field}_text", f"fields[{literal(self.key(field))}]")

    def number(self, field: str) -> str:
        """Return the field as Float64; NaN where it is no number."""
        text = self.text(field)
        return self.define(f"{field}_number", f"ifNull(toFloat64OrNull({text}), nan)")

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


def compare(fields: Fields, field: str, op: str, test: dict[str, Any]) -> str:
    """Return the comparison of a field with a value or another field; false where one is absent."""
    sign, left = COMPARISONS[op], fields.text(field)
    if "other_field" in test:
        right = fields.text(test["other_field"])
        a, b = fields.number(field), fields.number(test["other_field"])
        return (
            f"if(isFinite({a}) AND isFinite({b}), {a} {sign} {b}, "
            f"{left} != '' AND {right} != '' AND {left} {sign} {right})"
        )
    value = test["value"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = fields.number(field)
        return f"(isFinite({number}) AND {number} {sign} {literal(float(value))})"
    return f"({left} != '' AND {left} {sign} {literal(value)})"


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
        values = ", ".join(literal(text_of(value)) for value in test["values"])
        return f"({text} != '' AND {text} IN ({values}))"
    if op == "matches":
        return f"({text} != '' AND match({text}, {literal(test['pattern'])}))"
    return compare(fields, field, op, test)
