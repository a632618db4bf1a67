"""Validations: each becomes one or two checks, and a check is made of tests that an event fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from millrace.contract.failures import CONTRACT_RULE, REASONS, Failure
from millrace.contract.fields import OBJECTS, REQUIRED
from millrace.rules.comparisons import (
    among,
    at_limit,
    is_of_texts,
    moment,
    nudged,
    predicate,
)
from millrace.rules.contract_fields import (
    event_id,
    is_no_object,
    is_rounded,
    json_type,
    user_id,
)
from millrace.rules.expressions import Fields, either, text_of
from millrace.rules.model import Rule
from millrace.stores.quoting import literal

NOT_A_STRING = ", ".join(str(ord(character)) for character in "-0123456789tf{[")
"""First bytes of JSON values that are no strings (null reads as absent)."""

EARLIEST = "toDateTime64('1970-01-01 00:00:00', 3, 'UTC')"
LATEST = "toDateTime64('2099-12-31 23:59:59.999', 3, 'UTC')"
"""What event tables and rollups can hold: their partitions, windows and TTLs are of types that
begin in 1970 and end in 2106, and a TTL lies years after its event."""

LONGEST_AHEAD_SECONDS = 50 * 365 * 86_400
"""What is further ahead of its receipt is beyond ``LATEST``, or as good as."""


@dataclass(frozen=True)
class Test:
    """One way to break a rule; ``operand`` is a ClickHouse expression that is never null.

    What is wrong: the operand ``holds`` (is true), is ``below`` or ``above`` the limit, or is a
    text ``not_among`` those in the limit. Tests of one kind and operand are asked together
    (``verdict``), so many rules about a field cost little more than one.
    """

    kind: Literal["holds", "below", "above", "not_among"]
    operand: str
    limit: float | tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """What is wrong where one of ``tests`` fails, with events of ``event_type`` or with all.

    ``event_number`` tells the event's type as it was at the rule's turn, by its number among the
    types that rules are about.
    """

    reason: str
    field: str
    rule: str
    tests: tuple[Test, ...]
    mode: str = "enforce"
    event_type: str | None = None
    event_number: str = "0"

    @property
    def label(self) -> str:
        """Return the failure as ``staged`` holds it."""
        return Failure(self.reason, self.field, self.rule).label

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


def _holds(fields: Fields, hint: str, expression: str) -> tuple[Test, ...]:
    """Return the test that an expression is true; equal expressions are one."""
    return (Test("holds", fields.define(hint, expression)),)


def contract_checks(fields: Fields, around: Surroundings) -> list[Check]:
    """Return the checks of the event contract, which no rule can switch off.

    The last two are what the tables can hold: an event that they would drop, or put elsewhere, is
    rejected instead.
    """
    user = user_id(fields)
    broken = {
        "event_id": f"{event_id(fields)} IS NULL",
        "timestamp": f"{fields.time('timestamp')} IS NULL",
        "user_id": either(
            [f"{user} = 0", f"toString({user}) != {fields.text('user_id')}", is_rounded(fields)]
        ),
    }
    missing = {name: f"{fields.text(name)} = ''" for name in REQUIRED}
    mistyped = {name: f"bitAnd({fields.text(name)} != '', {test})" for name, test in broken.items()}
    enforced = [
        Check(reason, name, CONTRACT_RULE, _holds(fields, f"{name}_{reason}", test))
        for reason, tests in (("missing_field", missing), ("invalid_type", mistyped))
        for name, test in tests.items()
    ] + [
        Check("event_too_old", "timestamp", CONTRACT_RULE, _older(fields, around)),
        Check("event_in_future", "timestamp", CONTRACT_RULE, _later(fields)),
    ]
    warned = [
        Check(
            "invalid_type",
            name,
            CONTRACT_RULE,
            (Test("holds", is_no_object(fields, name)),),
            mode="warn",
        )
        for name in OBJECTS
    ]
    return enforced + warned


def bounded(fields: Fields, checks: list[Check]) -> set[str]:
    """Return the reasons of the contract's bounds on time that rules for every event ask already.

    Where they do, it is the rule that is named. A rule that came before a change of the timestamp
    asked about another one.
    """
    time = re.compile(rf"\b{fields.time('timestamp')}\b")
    return {
        check.reason
        for check in checks
        if check.reason in ("event_too_old", "event_in_future")
        and (check.mode, check.event_type) == ("enforce", None)
        and all(time.search(fields.aliases[test.operand]) for test in check.tests)
    }


def _older(fields: Fields, around: Surroundings, days: float | None = None) -> tuple[Test, ...]:
    """Return the test that an event is older than ``days``, or than what is kept, when received.

    It is deletion that is asked about (the TTL of ``events``), so what counts is when the message
    was claimed, and not the time that it, or Kafka, gives.
    """
    kept = around.events_retention_days
    seconds = round(min(kept if days is None else days, kept) * 86_400)
    oldest = f"greatest(claimed_at - toIntervalSecond({seconds}), {EARLIEST})"
    return _holds(fields, "too_old", f"ifNull({fields.time('timestamp')} < {oldest}, 0)")


def _later(fields: Fields, seconds: float | None = None) -> tuple[Test, ...]:
    """Return the test that an event is so far ahead of its receipt, or beyond what can be held."""
    latest = LATEST
    if seconds is not None and seconds < LONGEST_AHEAD_SECONDS:
        ahead = f"claimed_at + toIntervalMillisecond({round(seconds * 1000)})"
        latest = f"least({ahead}, {LATEST})"
    return _holds(fields, "in_future", f"ifNull({fields.time('timestamp')} > {latest}, 0)")


CheckParts = list[tuple[str, str, tuple[Test, ...]]]
"""Reason, field and tests of each check that a rule makes."""

RANGE_ENDS: tuple[tuple[str, Literal["below", "above"], str], ...] = (
    ("min", "below", "<"),
    ("max", "above", ">"),
)
"""The ends of a range: its key, what is wrong there, and the comparison that says so."""

Compiler = Callable[[Fields, Rule, Surroundings], CheckParts]


def _required(fields: Fields, rule: Rule, _: Surroundings) -> CheckParts:
    name = rule.config["field"]
    return [("missing_field", name, _holds(fields, f"{name}_missing", f"{fields.text(name)} = ''"))]


def _type(fields: Fields, rule: Rule, _: Surroundings) -> CheckParts:
    name, wanted = rule.config["field"], rule.config["type"]
    text = fields.text(name)
    # JSON is read once, as text, which can't tell 5 from "5". Only a text that looks like
    # something else than a string is asked for its JSON type; a transformed field is a string.
    original = json_type(fields.key(name))
    untouched = name not in fields.changed
    broken = {
        "string": f"if(ascii({text}) IN ({NOT_A_STRING}), {original} != 'String', 0)"
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
    test = f"{text} != '' AND {broken}"
    return [("invalid_type", name, _holds(fields, f"{name}_no_{wanted}", test))]


def _length(fields: Fields, rule: Rule, _: Surroundings) -> CheckParts:
    name, text = rule.config["field"], fields.text(rule.config["field"])
    length = fields.define(f"{name}_length", f"toFloat64(lengthUTF8({text}))")
    tests = []
    if rule.config.get("min"):
        present = fields.define(f"{name}_length_if_any", f"if({text} = '', inf, {length})")
        tests.append(Test("below", present, float(rule.config["min"])))
    if "max" in rule.config:
        tests.append(Test("above", length, float(rule.config["max"])))
    return [("invalid_value", name, tuple(tests))]


def _pattern(fields: Fields, rule: Rule, _: Surroundings) -> CheckParts:
    name, text = rule.config["field"], fields.text(rule.config["field"])
    test = f"{text} != '' AND NOT match({text}, {literal(rule.config['pattern'])})"
    return [("invalid_value", name, _holds(fields, f"{name}_unlike", test))]


def _allowed_values(fields: Fields, rule: Rule, _: Surroundings) -> CheckParts:
    name, text = rule.config["field"], fields.text(rule.config["field"])
    values = rule.config["values"]
    if is_of_texts(values):
        listed = tuple(dict.fromkeys(text_of(value) for value in values))
        return [("invalid_value", name, (Test("not_among", text, listed),))]
    test = f"{text} != '' AND NOT {among(fields, name, values)}"
    return [("invalid_value", name, _holds(fields, f"{name}_not_among", test))]


def _range(fields: Fields, rule: Rule, _: Surroundings) -> CheckParts:
    name = rule.config["field"]
    text, number = fields.text(name), fields.number(name)
    # Comparisons with NaN are false, so an absent field lies outside no range.
    limits: list[Test] = []
    for key, kind, sign in RANGE_ENDS:
        if key not in rule.config:
            continue
        limit = rule.config[key]
        tie = at_limit(fields, name, sign, limit)
        # A limit that no Float64 is written as is compared as a decimal where both are one Float64.
        operand = number if tie else nudged(fields, name, sign)
        limits.append(Test(kind, operand, float(limit)))
        limits += _holds(fields, f"{name}_at_limit", tie) if tie else ()
    broken = f"{text} != '' AND NOT isFinite({number})"
    return [
        ("invalid_type", name, _holds(fields, f"{name}_no_number", broken)),
        ("out_of_range", name, tuple(limits)),
    ]


def _time_range(fields: Fields, rule: Rule, _: Surroundings) -> CheckParts:
    name = rule.config["field"]
    text, time = fields.text(name), fields.time(name)
    limits = [
        f"ifNull({fields.moment(name)} {sign} {moment(rule.config[key])}, 0)"
        for key, _, sign in RANGE_ENDS
        if key in rule.config
    ]
    broken = f"{text} != '' AND {time} IS NULL"
    return [
        ("invalid_type", name, _holds(fields, f"{name}_no_time", broken)),
        ("out_of_range", name, _holds(fields, f"{name}_outside", " OR ".join(limits))),
    ]


def _condition(fields: Fields, rule: Rule, _: Surroundings) -> CheckParts:
    then = predicate(fields, rule.config["then"])
    when = predicate(fields, rule.config["when"]) + " AND " if "when" in rule.config else ""
    name = _first_field(rule.config["then"])
    return [("condition_failed", name, _holds(fields, f"{rule.name}_fails", f"{when}NOT {then}"))]


def _first_field(test: dict[str, Any]) -> str:
    """Return the field that a predicate speaks of first."""
    if "field" in test:
        return str(test["field"])
    inner = test["not"] if "not" in test else (test.get("all") or test["any"])[0]
    return _first_field(inner)


def _registered(fields: Fields, _: Rule, around: Surroundings) -> CheckParts:
    event = fields.text("event")
    known = ", ".join(literal(name) for name in around.event_types)
    test = f"{event} != '' AND {event} NOT IN ({known})" if known else f"{event} != ''"
    return [("unknown_event_type", "event", _holds(fields, "event_unknown", test))]


def _known_user(fields: Fields, __: Rule, ___: Surroundings) -> CheckParts:
    test = f"{user_id(fields)} != 0 AND NOT dictHas('user_profiles', {user_id(fields)})"
    return [("unknown_reference", "user_id", _holds(fields, "user_unknown", test))]


def _max_age(fields: Fields, rule: Rule, around: Surroundings) -> CheckParts:
    return [("event_too_old", "timestamp", _older(fields, around, rule.config.get("days")))]


def _max_ahead(fields: Fields, rule: Rule, _: Surroundings) -> CheckParts:
    return [("event_in_future", "timestamp", _later(fields, rule.config["seconds"]))]


def _outlier(fields: Fields, rule: Rule, around: Surroundings) -> CheckParts:
    name = rule.config["field"]
    event, number, time = fields.text("event"), fields.number(name), fields.time("timestamp")
    hour = fields.define(
        "hour_of_week",
        f"ifNull((toDayOfWeek({time}) - 1) * 24 + toHour({time}), 0) + 1",
    )
    tests = []
    for line in around.baselines.get(rule.name, []):
        medians = "[" + ", ".join(repr(float(x)) for x in line["medians"]) + "]"
        tolerances = "[" + ", ".join(repr(float(x)) for x in line["tolerances"]) + "]"
        distance = f"abs({number} - arrayElement({medians}, {hour}))"
        # One below zero marks an hour without a baseline: nothing is judged there.
        tolerance = f"arrayElement({tolerances}, {hour})"
        same_type = f"{event} = {literal(line['event_type'])}"
        tests.append(f"({same_type} AND {tolerance} >= 0 AND {distance} > {tolerance})")
    if not tests:
        return []
    return [("anomalous", name, _holds(fields, f"{rule.name}_stands_out", " OR ".join(tests)))]


def _user_rate(fields: Fields, rule: Rule, around: Surroundings) -> CheckParts:
    held = around.baselines.get(rule.name, [])
    if not held:
        return []
    users = ", ".join(str(one["user_id"]) for one in held)
    user, moment = user_id(fields), "toUnixTimestamp64Milli(kafka_timestamp)"
    since, until = (
        f"transform({user}, [{users}]::Array(UInt64), "
        f"[{', '.join(str(one[key]) for one in held)}]::Array(Int64), toInt64(0))"
        for key in ("from", "until")
    )
    test = f"{moment} >= {since} AND {moment} < {until}"
    return [("anomalous", "user_id", _holds(fields, f"{rule.name}_stands_out", test))]


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
    "user_rate": _user_rate,
}


def compile_checks(fields: Fields, rule: Rule, around: Surroundings) -> list[Check]:
    """Return a validation rule's checks, over the fields as they are at its turn."""
    number = fields.event_number()
    return [
        Check(reason, name, rule.name, tests, rule.mode, rule.event_type, number)
        for reason, name, tests in CHECKS[rule.kind](fields, rule, around)
    ]
