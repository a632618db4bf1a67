"""Transformations: how a field is shaped before later rules and the tables see it."""

from __future__ import annotations

from collections.abc import Callable

from millrace.contract.agents import BROWSERS, DEVICES, SYSTEMS, Tokens
from millrace.rules.expressions import Fields, text_of
from millrace.rules.model import Rule
from millrace.stores.quoting import literal


def _first_match(text: str, tokens: Tokens) -> str:
    cases = ", ".join(f"match({text}, {literal(rx)}), {literal(name)}" for name, rx in tokens)
    return f"if({text} = '', '', multiIf({cases}, ''))"


def _trim(fields: Fields, rule: Rule) -> None:
    field = rule.config["field"]
    text = fields.text(field)
    fields.set(field, f"trimBoth({text}, ' \\t\\r\\n')", rule.event_type)


def _case(fields: Fields, rule: Rule) -> None:
    field = rule.config["field"]
    function = "lowerUTF8" if rule.config["to"] == "lower" else "upperUTF8"
    fields.set(field, f"{function}({fields.text(field)})", rule.event_type)


def _default(fields: Fields, rule: Rule) -> None:
    field, text = rule.config["field"], fields.text(rule.config["field"])
    value = literal(text_of(rule.config["value"]))
    fields.set(field, f"if({text} = '', {value}, {text})", rule.event_type)


def _rename(fields: Fields, rule: Rule) -> None:
    old, new = rule.config["field"], rule.config["to"]
    before, there = fields.text(old), fields.text(new)
    # Only what moved leaves its old name: another field already at the new one blocks the move.
    fields.moved[new] = tuple(dict.fromkeys((*fields.keys(new), *fields.keys(old))))
    fields.set(old, f"if({there} = '', '', {before})", rule.event_type)
    fields.set(new, f"if({there} = '', {before}, {there})", rule.event_type)


def _map(fields: Fields, rule: Rule) -> None:
    field, text = rule.config["field"], fields.text(rule.config["field"])
    values: dict[str, str] = rule.config["values"]
    old = ", ".join(literal(key) for key in values)
    new = ", ".join(literal(value) for value in values.values())
    otherwise = literal(rule.config["otherwise"]) if "otherwise" in rule.config else text
    mapped = f"if({text} = '', '', transform({text}, [{old}], [{new}], {otherwise}))"
    fields.set(field, mapped, rule.event_type)


def _hash(fields: Fields, rule: Rule) -> None:
    field, text = rule.config["field"], fields.text(rule.config["field"])
    salted = f"concat({literal(rule.config.get('salt', ''))}, {text})"
    fields.set(field, f"if({text} = '', '', lower(hex(SHA256({salted}))))", rule.event_type)


def _mask(fields: Fields, rule: Rule) -> None:
    field, text = rule.config["field"], fields.text(rule.config["field"])
    keep = rule.config.get("keep_last", 0)
    masked = (
        f"if(lengthUTF8({text}) <= {keep}, repeat('*', lengthUTF8({text})), "
        f"concat(repeat('*', lengthUTF8({text}) - {keep}), rightUTF8({text}, {keep})))"
    )
    fields.set(field, masked, rule.event_type)


def _user_agent(fields: Fields, rule: Rule) -> None:
    agent, device = fields.text(rule.config["field"]), fields.text("device")
    if rule.event_type is not None:
        event = fields.text("event")
        agent = fields.define(
            "user_agent", f"if({event} = {literal(rule.event_type)}, {agent}, '')"
        )
    found = f"if({device} = '', {_first_match(agent, DEVICES)}, {device})"
    fields.set("device", found, rule.event_type)
    os, browser = _first_match(agent, SYSTEMS), _first_match(agent, BROWSERS)
    guessed = f"map('os', {os}, 'browser', {browser})"
    fields.guessed.setdefault("device_info", []).append(guessed)


TRANSFORMATIONS: dict[str, Callable[[Fields, Rule], None]] = {
    "trim": _trim,
    "case": _case,
    "default": _default,
    "rename": _rename,
    "map": _map,
    "hash": _hash,
    "mask": _mask,
    "user_agent": _user_agent,
}
