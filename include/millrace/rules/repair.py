"""Repairs: what a rejected message goes through before it is sent again."""

from __future__ import annotations

import json
from typing import Any

from millrace.rules.model import Rule, RuleError, validate

KINDS = ("trim", "case", "default", "rename", "map")
"""Transformations that can repair; they are those of the rules, on the message itself."""


def check(steps: list[dict[str, Any]]) -> None:
    """Check a repair's steps. Raises ``RuleError`` naming the step that is wrong."""
    for number, step in enumerate(steps, 1):
        if step.get("transform") not in KINDS:
            raise RuleError(
                f"repair step {number}: transform is {step.get('transform')!r}, "
                f"must be one of {', '.join(KINDS)}"
            )
        validate(Rule(f"repair_{number}", "transformation", step))


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def apply(value: bytes, steps: list[dict[str, Any]]) -> bytes:
    """Return the message after the steps; as it was where it is no JSON object."""
    if not steps:
        return value
    try:
        event = json.loads(value, object_pairs_hook=_first_wins)
    except (ValueError, RecursionError):
        return value
    if not isinstance(event, dict):
        return value
    for step in steps:
        _step(event, step)
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _step(event: dict[str, Any], step: dict[str, Any]) -> None:
    field, kind = step["field"], step["transform"]
    now = event.get(field)
    if kind == "default":
        if now in (None, ""):
            event[field] = step["value"]
    elif kind == "rename":
        if event.get(step["to"]) in (None, "") and field in event:
            event[step["to"]] = event.pop(field)
    elif kind == "map" and now not in (None, ""):
        text = now if isinstance(now, str) else json.dumps(now)
        if text in step["values"]:
            event[field] = step["values"][text]
        elif "otherwise" in step:
            event[field] = step["otherwise"]
    elif kind == "trim" and isinstance(now, str):
        event[field] = now.strip(" \t\r\n")
    elif kind == "case" and isinstance(now, str):
        event[field] = now.lower() if step["to"] == "lower" else now.upper()
