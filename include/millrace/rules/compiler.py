"""Rules to SQL: one SELECT that judges and shapes a micro-batch in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from millrace.rules.checks import (
    Check,
    Surroundings,
    bounded,
    compile_checks,
    contract_checks,
)
from millrace.rules.contract_fields import UNIQUE_KEYS, entries, event_id, is_no_object, user_id
from millrace.rules.expressions import CONTRACT, OBJECTS, Fields
from millrace.rules.model import Rule
from millrace.rules.transformations import TRANSFORMATIONS
from millrace.rules.verdict import any_broken, broken
from millrace.stores import sql
from millrace.stores.quoting import literal


def _in_order(rules: Iterable[Rule]) -> list[Rule]:
    """Return the rules in the order they run: by priority, then transformations, then name.

    A validation sees what the transformations before it made of a field.
    """
    return sorted(rules, key=lambda r: (r.priority, r.rule_type != "transformation", r.name))


def _properties(fields: Fields) -> str:
    """Return the map of every field that the contract does not name, and of objects that are none.

    A ``device_info`` that is text, a list or a number has no place in its column; it is kept here.
    """
    extra = [name for name in fields.changed if name not in CONTRACT]
    named = [fields.key(name) for name in CONTRACT] + [fields.key(name) for name in extra]
    keys = ", ".join(literal(name) for name in dict.fromkeys(named))
    kept = f"mapFilter((name, text) -> name NOT IN ({keys}), fields)"
    if extra:
        pairs = ", ".join(f"{literal(name)}, {fields.changed[name]}" for name in extra)
        kept = f"mapConcat({kept}, mapFilter((name, text) -> text != '', map({pairs})))"
    strays = ", ".join(
        f"{literal(name)}, if({is_no_object(fields, name)}, {fields.text(name)}, '')"
        for name in OBJECTS
    )
    is_any = " OR ".join(is_no_object(fields, name) for name in OBJECTS)
    strays = f"mapFilter((name, text) -> text != '', map({strays}))"
    return f"if({is_any}, mapConcat({kept}, {strays}), {kept})"


CLAIMED_AT = "{claimed_at:DateTime64(3, 'UTC')}"
"""When a message was received: its micro-batch's claim, which a repeat binds as the first time."""


def compile_statement(
    rules: Iterable[Rule],
    around: Surroundings,
    table: str = "incoming",
    claimed_at: str = "kafka_timestamp",
) -> str:
    """Return the SELECT of ``staged``'s columns from ``table``.

    Shadow rules are left out: they are counted over closed windows, at no cost here. ``table``
    is an expression for FROM with ``incoming``'s columns, and ``claimed_at`` tells when a message
    was received; unless it was loaded, that is when Kafka got it.
    """
    return assemble(*_compile(rules, around), around=around, table=table, claimed_at=claimed_at)


def _compile(rules: Iterable[Rule], around: Surroundings) -> tuple[Fields, list[Check]]:
    """Run through the rules in their order and collect what they ask."""
    ordered = [rule for rule in _in_order(rules) if rule.mode != "shadow"]
    scopes = {r.event_type for r in ordered if r.event_type and r.rule_type == "validation"}
    fields = Fields(around.field_names, tuple(sorted(scopes)))
    checks: list[Check] = []
    for rule in ordered:
        if rule.rule_type == "transformation":
            TRANSFORMATIONS[rule.kind](fields, rule)
        elif rule.rule_type == "validation":
            checks += compile_checks(fields, rule, around)
    asked = bounded(fields, checks)
    contract = [c for c in contract_checks(fields, around) if c.reason not in asked]
    return fields, contract + checks


def assemble(
    fields: Fields,
    checks: list[Check],
    *,
    around: Surroundings,
    table: str = "incoming",
    claimed_at: str = "kafka_timestamp",
) -> str:
    """Return the statement made of the fields' expressions and the checks."""
    enforced = [check for check in checks if check.mode == "enforce"]
    warned = [check for check in checks if check.mode == "warn"]
    device_info = entries(fields, "device_info")
    for guessed in fields.device_info:
        device_info = f"mapUpdate(mapFilter((name, text) -> text != '', {guessed}), {device_info})"
    columns = {
        "is_broken": any_broken(enforced, fields.event_types),
        "is_warned": any_broken(warned, fields.event_types),
        "failures": broken(enforced, fields.event_types),
        "warnings": broken(warned, fields.event_types),
        "event_id": event_id(fields),
        "event_time": fields.time("timestamp"),
        "event_type": fields.text("event"),
        "user_id": user_id(fields),
        "page": fields.text("page"),
        "country": fields.text("country"),
        "device": fields.text("device"),
        "properties": _properties(fields),
        "device_info": device_info,
        "geo_location": entries(fields, "geo_location"),
    }
    return sql.render(
        "clickhouse/rules/gate.sql",
        stages=fields.stages(),
        message_max_bytes=around.message_max_bytes,
        table=table,
        unique_fields=sql.render(UNIQUE_KEYS, entries="all_fields"),
        claimed_at=claimed_at,
        **columns,
    )


def fingerprint(statement: str) -> str:
    """Return what tells one statement from another: its SHA-256."""
    return hashlib.sha256(statement.encode()).hexdigest()
