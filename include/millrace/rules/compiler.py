"""Rules to a gate, which judges and shapes messages in one pass."""

from __future__ import annotations

from collections.abc import Iterable

from millrace.contract.fields import COLUMNS, FIELDS, NULLS, OBJECTS, PROPERTIES, Field
from millrace.contract.gate import Gate
from millrace.rules.checks import (
    Check,
    Surroundings,
    bounded,
    compile_checks,
    contract_checks,
)
from millrace.rules.contract_fields import (
    entries,
    event_id,
    is_no_object,
    unique_keys,
    user_id,
)
from millrace.rules.expressions import Fields
from millrace.rules.model import Rule
from millrace.rules.transformations import TRANSFORMATIONS
from millrace.rules.verdict import any_broken, broken
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
    contract = [field.name for field in FIELDS]
    extra = [name for name in fields.changed if name not in contract]
    named = [fields.key(name) for name in (*contract, *extra)]
    keys = ", ".join(literal(name) for name in dict.fromkeys(named))
    # What stands under its own name, as it came, is an entry that is kept; the rest is added.
    strays = [n for n in OBJECTS if n not in fields.changed and fields.key(n) == n]
    wanted = [f"entry.1 NOT IN ({keys})"]
    wanted += [f"({is_no_object(fields, name)} AND entry.1 = {literal(name)})" for name in strays]
    kept = unique_keys("fields", " OR ".join(wanted))
    added = {name: fields.changed[name] for name in extra}
    added |= {
        name: f"if({is_no_object(fields, name)}, {fields.text(name)}, '')"
        for name in OBJECTS
        if name not in strays
    }
    if not added:
        return kept
    pairs = ", ".join(f"{literal(name)}, {text}" for name, text in added.items())
    return f"mapConcat({kept}, mapFilter((name, text) -> text != '', map({pairs})))"


def compile_gate(rules: Iterable[Rule], around: Surroundings) -> Gate:
    """Return the gate that rules make.

    Shadow rules are left out: they are counted over closed windows, at no cost here.
    """
    return assemble(*_compile(rules, around), around=around)


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


def assemble(fields: Fields, checks: list[Check], *, around: Surroundings) -> Gate:
    """Return the gate made of the fields' expressions and the checks."""
    enforced = [check for check in checks if check.mode == "enforce"]
    warned = [check for check in checks if check.mode == "warn"]
    columns = {column.column: _column(fields, column) for column in COLUMNS}
    return Gate(
        message_max_bytes=around.message_max_bytes,
        is_broken=any_broken(enforced, fields.event_types),
        is_warned=any_broken(warned, fields.event_types),
        failures=broken(enforced, fields.event_types),
        warnings=broken(warned, fields.event_types),
        columns=columns,
        stages=tuple(fields.stages()),
    )


def _column(fields: Fields, column: Field) -> str:
    """Return what a message becomes in a column of the tables of events."""
    if column is PROPERTIES:
        return _properties(fields)
    if column.reader == "object":
        found = entries(fields, column.name)
        for guessed in fields.guessed.get(column.name, ()):
            found = f"mapUpdate(mapFilter((name, text) -> text != '', {guessed}), {found})"
        return found
    read = {"uuid": event_id, "user_id": user_id}
    if column.reader == "time":
        expression = fields.time(column.name)
    elif column.reader in read:
        expression = read[column.reader](fields)
    else:
        expression = fields.text(column.name)
    null = NULLS.get(column.reader)
    return f"ifNull({expression}, {null})" if null else expression
