"""Rules to SQL: one SELECT that judges and shapes a micro-batch in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from millrace.rules.checks import (
    Check,
    Surroundings,
    compile_checks,
    contract_checks,
    event_id,
    user_id,
)
from millrace.rules.expressions import CONTRACT, Fields, literal
from millrace.rules.model import Rule
from millrace.rules.transformations import TRANSFORMATIONS
from millrace.stores import sql


def _in_order(rules: Iterable[Rule]) -> list[Rule]:
    """Return the rules in the order they run: by priority, then transformations, then name.

    A validation sees what the transformations before it made of a field.
    """
    return sorted(rules, key=lambda r: (r.priority, r.rule_type != "transformation", r.name))


def _any_broken(fields: Fields, checks: list[Check]) -> str:
    """Return one boolean for many checks, those of an event type asked only of its events."""
    general = [c.is_broken for c in checks if c.event_type is None]
    by_type: dict[str, list[str]] = {}
    for check in checks:
        if check.event_type is not None:
            by_type.setdefault(check.event_type, []).append(check.is_broken)
    event = fields.text("event")
    scoped = [
        f"if({event} = {literal(name)}, {' OR '.join(tests)}, 0)" for name, tests in by_type.items()
    ]
    return " OR ".join([*general, *scoped]) or "0"


def _labels(checks: list[Check]) -> str:
    """Return an array expression of the labels of those checks that are broken, in order."""
    ordered = sorted(enumerate(checks), key=lambda pair: (pair[1].rank, pair[0]))
    items = [f"if({check.is_broken}, {literal(check.label)}, '')" for _, check in ordered]
    return "[" + ", ".join(items) + "]" if items else "[]::Array(String)"


def _properties(fields: Fields) -> str:
    """Return the map of every field that the contract does not name."""
    extra = [name for name in fields.changed if name not in CONTRACT]
    named = [fields.key(name) for name in CONTRACT] + [fields.key(name) for name in extra]
    keys = ", ".join(literal(name) for name in dict.fromkeys(named))
    kept = f"mapFilter((name, text) -> name NOT IN ({keys}), fields)"
    if not extra:
        return kept
    pairs = ", ".join(f"{literal(name)}, {fields.changed[name]}" for name in extra)
    return f"mapConcat({kept}, mapFilter((name, text) -> text != '', map({pairs})))"


def _object(text: str) -> str:
    """Return a nested object's fields as a map; empty where there is none."""
    return f"if({text} = '', map(), JSONExtract({text}, 'Map(String, String)'))"


def compile_statement(rules: Iterable[Rule], around: Surroundings, table: str = "incoming") -> str:
    """Return the SELECT of ``staged``'s columns from ``table``.

    Shadow rules are left out: they are counted over closed windows, at no cost here. ``table``
    is an expression for FROM with ``incoming``'s columns.
    """
    return assemble(*_compile(rules, around), around=around, table=table)


def _compile(rules: Iterable[Rule], around: Surroundings) -> tuple[Fields, list[Check]]:
    """Run through the rules in their order and collect what they ask."""
    fields = Fields(around.field_names)
    checks: list[Check] = []
    for rule in _in_order(rules):
        if rule.mode == "shadow":
            continue
        if rule.rule_type == "transformation":
            TRANSFORMATIONS[rule.kind](fields, rule)
        elif rule.rule_type == "validation":
            checks += compile_checks(fields, rule, around)
    # A check is written once, under an alias, and named in the verdict and in the list of failures.
    named = [
        replace(c, is_broken=fields.define(f"{c.rule}_{c.field}", c.is_broken))
        for c in contract_checks(fields) + checks
    ]
    return fields, named


def assemble(
    fields: Fields, checks: list[Check], *, around: Surroundings, table: str = "incoming"
) -> str:
    """Return the statement made of the fields' expressions and the checks."""
    enforced = [check for check in checks if check.mode == "enforce"]
    warned = [check for check in checks if check.mode == "warn"]
    device_info = _object(fields.text("device_info"))
    for guessed in fields.device_info:
        device_info = f"mapUpdate(mapFilter((name, text) -> text != '', {guessed}), {device_info})"
    columns = {
        "is_broken": _any_broken(fields, enforced),
        "is_warned": _any_broken(fields, warned),
        "failures": _labels(enforced),
        "warnings": _labels(warned),
        "event_id": event_id(fields),
        "event_time": fields.time("timestamp"),
        "event_type": fields.text("event"),
        "user_id": user_id(fields),
        "page": fields.text("page"),
        "country": fields.text("country"),
        "device": fields.text("device"),
        "properties": _properties(fields),
        "device_info": device_info,
        "geo_location": _object(fields.text("geo_location")),
    }
    return sql.render(
        "clickhouse/rules/gate.sql",
        aliases=fields.aliases,
        message_max_bytes=around.message_max_bytes,
        table=table,
        **columns,
    )


def fingerprint(statement: str) -> str:
    """Return what tells one statement from another: its SHA-256."""
    return hashlib.sha256(statement.encode()).hexdigest()
