"""Repairs: what a rejected message goes through before it is sent again."""

from __future__ import annotations

import json
from typing import Any

from millrace.contract import json_text
from millrace.contract.errors import RuleError
from millrace.rules.model import Rule, validate

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


def apply(value: bytes, steps: list[dict[str, Any]]) -> bytes:
    """Return the message after the steps; as it was where it is no JSON object that can be written.

    Fields that no step changes keep their text, so that no number loses a digit.
    """
    if not steps:
        return value
    try:
        fields = json_text.fields(value.decode("utf-8-sig"))
        event = {name: item for name, (item, _) in fields.items()}
        for step in steps:
            _step(event, step)
        _dump(event).encode()  # half a surrogate pair is no text
        as_it_came = {id(item): text for item, text in fields.values()}
        pairs = (
            f"{_dump(name)}:{as_it_came.get(id(item)) or _dump(item)}"
            for name, item in event.items()
        )
        return f"{{{','.join(pairs)}}}".encode()
    except (ValueError, RecursionError):
        return value


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


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
