"""Validations: each becomes one or two expressions that are true where an event breaks the rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from millrace.rules.expressions import Fields, literal, predicate, text_of
from millrace.rules.model import REASONS, Rule

CONTRACT_RULE = "contract"
"""Name that a failure of the event contract itself carries in place of a rule's."""


@dataclass(frozen=True)
class Check:
    """What is wrong where ``is_broken`` (a ClickHouse expression, never null) holds."""

    reason: str
    field: str
    rule: str
    is_broken: str
    mode: str = "enforce"
    event_type: str | None = None

    @property
    def label(self) -> str:
        """Return the failure as ``staged`` holds it: ``reason|field|rule``."""
        return f"{self.reason}|{self.field}|{self.rule}"

    @property
    def rank(self) -> int:
        """Return the place of the reason in the documented order."""
        return REASONS.index(self.reason)


@dataclass(frozen=True)
class Surroundings:
    """What a gate is compiled with besides the rules themselves.

    All of it becomes part of the statement, so that a replay is judged as the first time.
    """

    event_types: tuple[str, ...]
    message_max_bytes: int
    events_retention_days: int
    field_names: dict[str, str] = field(default_factory=dict)
    baselines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def event_id(fields: Fields) -> str:
    """Return the event's id; null where the text is no UUID."""
    return fields.define("event_id_parsed", f"toUUIDOrNull({fields.text('event_id')})")


def user_id(fields: Fields) -> str:
    """Return the user's id; 0 where the text is no number of 64 bits."""
    return fields.define("user_id_parsed", f"toUInt64OrZero({fields.text('user_id')})")


def contract_checks(fields: Fields) -> list[Check]:
    """Return the checks of the event contract, which no rule can switch off."""
    checks = [
        Check("missing_field", name, CONTRACT_RULE, f"{fields.text(name)} = ''")
        for name in ("event_id", "event", "timestamp", "user_id")
    ]
    user = user_id(fields)
    broken = {
        "event_id": f"{event_id(fields)} IS NULL",
        "timestamp": f"{fields.time('timestamp')} IS NULL",
        "user_id": f"{user} = 0 OR toString({user}) != {fields.text('user_id')}",
    }
    checks += [
        Check("invalid_type", name, CONTRACT_RULE, f"{fields.text(name)} != '' AND ({test})")
        for name, test in broken.items()
    ]
    return checks


Compiler = Callable[[Fields, Rule, Surroundings], list[tuple[str, str, str]]]


def _required(fields: Fields, rule: Rule, _: Surroundings) -> list[tuple[str, str, str]]:
    name = rule.config["field"]
    return [("missing_field", name, f"{fields.text(name)} = ''")]


def _type(fields: Fields, rule: Rule, _: Surroundings) -> list[tuple[str, str, str]]:
    name, wanted = rule.config["field"], rule.config["type"]
    text = fields.text(name)
    # JSON is read once, as text, which can't tell 5 from "5". Only a text that looks like
    # something else than a string is asked for its JSON type; a transformed field is a string.
    original = f"JSONType(value, {literal(fields.key(name))})"
    untouched = name not in fields.changed
    broken = {
        "string": f"if(match({text}, '^[-0-9tf{{[]'), {original} != 'String', 0)"
        if untouched
        else "0",
        "number": f"NOT isFinite({fields.number(name)})" if wanted == "number" else "",
        "integer": f"NOT match({text}, '^-?[0-9]+$')",
        "boolean": f"{text} NOT IN ('true', 'false')",
        "uuid": f"toUUIDOrNull({text}) IS NULL",
        "timestamp": f"{fields.time(name)} IS NULL" if wanted == "timestamp" else "",
        "object": f"if(startsWith({text}, '{{'), {original} != 'Object', 1)",
        "array": f"if(startsWith({text}, '['), {original} != 'Array', 1)",
    }[wanted]
    return [("invalid_type", name, f"{text} != '' AND {broken}")]


def _length(fields: Fields, rule: Rule, _: Surroundings) -> list[tuple[str, str, str]]:
    name, text = rule.config["field"], fields.text(rule.config["field"])
    limits = []
    if rule.config.get("min"):
        limits.append(f"lengthUTF8({text}) < {rule.config['min']}")
    if "max" in rule.config:
        # Bytes are never fewer than characters: the cheap test first.
        most = rule.config["max"]
        limits.append(f"(length({text}) > {most} AND lengthUTF8({text}) > {most})")
    return [("invalid_value", name, f"{text} != '' AND ({' OR '.join(limits) or '0'})")]


def _pattern(fields: Fields, rule: Rule, _: Surroundings) -> list[tuple[str, str, str]]:
    name, text = rule.config["field"], fields.text(rule.config["field"])
    test = f"{text} != '' AND NOT match({text}, {literal(rule.config['pattern'])})"
    return [("invalid_value", name, test)]


def _allowed_values(fields: Fields, rule: Rule, _: Surroundings) -> list[tuple[str, str, str]]:
    name, text = rule.config["field"], fields.text(rule.config["field"])
    values = ", ".join(literal(text_of(value)) for value in rule.config["values"])
    return [("invalid_value", name, f"{text} != '' AND {text} NOT IN ({values})")]


def _range(fields: Fields, rule: Rule, _: Surroundings) -> list[tuple[str, str, str]]:
    name = rule.config["field"]
    text, number = fields.text(name), fields.number(name)
    # Comparisons with NaN are false, so an absent field lies outside no range.
    limits = []
    if "min" in rule.config:
        limits.append(f"{number} < {literal(float(rule.config['min']))}")
    if "max" in rule.config:
        limits.append(f"{number} > {literal(float(rule.config['max']))}")
    return [
        ("invalid_type", name, f"{text} != '' AND NOT isFinite({number})"),
        ("out_of_range", name, " OR ".join(limits)),
    ]


def _time_range(fields: Fields, rule: Rule, _: Surroundings) -> list[tuple[str, str, str]]:
    name = rule.config["field"]
    text, time = fields.text(name), fields.time(name)
    limits = []
    for key, sign in (("min", "<"), ("max", ">")):
        if key in rule.config:
            moment = f"parseDateTime64BestEffort({literal(rule.config[key])}, 3, 'UTC')"
            limits.append(f"ifNull({time} {sign} {moment}, 0)")
    return [
        ("invalid_type", name, f"{text} != '' AND {time} IS NULL"),
        ("out_of_range", name, " OR ".join(limits)),
    ]


def _condition(fields: Fields, rule: Rule, _: Surroundings) -> list[tuple[str, str, str]]:
    then = predicate(fields, rule.config["then"])
    when = predicate(fields, rule.config["when"]) + " AND " if "when" in rule.config else ""
    return [("condition_failed", _first_field(rule.config["then"]), f"{when}NOT {then}")]


def _first_field(test: dict[str, Any]) -> str:
    """Return the field that a predicate speaks of first."""
    if "field" in test:
        return str(test["field"])
    inner = test["not"] if "not" in test else (test.get("all") or test["any"])[0]
    return _first_field(inner)


def _registered(fields: Fields, _: Rule, around: Surroundings) -> list[tuple[str, str, str]]:
    event = fields.text("event")
    known = ", ".join(literal(name) for name in around.event_types)
    test = f"{event} != '' AND {event} NOT IN ({known})" if known else f"{event} != ''"
    return [("unknown_event_type", "event", test)]


def _known_user(fields: Fields, __: Rule, ___: Surroundings) -> list[tuple[str, str, str]]:
    test = f"{user_id(fields)} != 0 AND NOT dictHas('user_profiles', {user_id(fields)})"
    return [("unknown_reference", "user_id", test)]


def _max_age(fields: Fields, rule: Rule, around: Surroundings) -> list[tuple[str, str, str]]:
    seconds = round(rule.config.get("days", around.events_retention_days) * 86_400)
    limit = f"kafka_timestamp - toIntervalSecond({seconds})"
    test = f"ifNull({fields.time('timestamp')} < {limit}, 0)"
    return [("event_too_old", "timestamp", test)]


def _max_ahead(fields: Fields, rule: Rule, _: Surroundings) -> list[tuple[str, str, str]]:
    limit = f"kafka_timestamp + toIntervalMillisecond({round(rule.config['seconds'] * 1000)})"
    test = f"ifNull({fields.time('timestamp')} > {limit}, 0)"
    return [("event_in_future", "timestamp", test)]


def _outlier(fields: Fields, rule: Rule, around: Surroundings) -> list[tuple[str, str, str]]:
    name = rule.config["field"]
    event, number, time = fields.text("event"), fields.number(name), fields.time("timestamp")
    hour = fields.define(
        "hour_of_week",
        f"ifNull((toDayOfWeek({time}) - 1) * 24 + toHour({time}), 0) + 1",
    )
    tests = []
    for line in around.baselines.get(rule.name, []):
        middles = "[" + ", ".join(repr(float(x)) for x in line["middles"]) + "]"
        reaches = "[" + ", ".join(repr(float(x)) for x in line["reaches"]) + "]"
        distance = f"abs({number} - arrayElement({middles}, {hour}))"
        # A reach below zero marks an hour without a baseline: nothing is judged there.
        reach = f"arrayElement({reaches}, {hour})"
        same_type = f"{event} = {literal(line['event_type'])}"
        tests.append(f"({same_type} AND {reach} >= 0 AND {distance} > {reach})")
    return [("anomalous", name, " OR ".join(tests))] if tests else []


CHECKS: dict[str, Compiler] = {
    "required": _required,
    "type": _type,
    "length": _length,
    "pattern": _pattern,
    "allowed_values": _allowed_values,
    "range": _range,
    "time_range": _time_range,
    "condition": _condition,
    "registered_event_type": _registered,
    "known_user": _known_user,
    "max_age": _max_age,
    "max_ahead": _max_ahead,
    "outlier": _outlier,
}


def compile_checks(fields: Fields, rule: Rule, around: Surroundings) -> list[Check]:
    """Return a validation rule's checks, over the fields as they are at its turn."""
    found = []
    for reason, name, test in CHECKS[rule.kind](fields, rule, around):
        scoped = test
        if rule.event_type is not None:
            scoped = f"{fields.text('event')} = {literal(rule.event_type)} AND ({test})"
        found.append(Check(reason, name, rule.name, scoped, rule.mode, rule.event_type))
    return found
