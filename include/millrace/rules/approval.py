"""What a person reads before they approve a replay."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from millrace.rules import replay
from millrace.settings import Settings


def preview(settings: Settings, form: Mapping[str, Any]) -> dict[str, Any]:
    """Preview the replay that a form asks for; ``text`` of the result is what a person approves.

    The form's fields are those of ``replay.Criteria``, empty where they don't narrow, and
    ``repair``. Raises ``RuleError`` when one of them is wrong.
    """
    criteria = {name: value for name, value in form.items() if value and name != "repair"}
    found = replay.preview(settings, replay.Criteria(**criteria), form.get("repair") or [])
    return {**found, "text": describe(found) if found["replay_id"] is not None else ""}


def describe(result: dict[str, Any]) -> str:
    """Return a preview as the Markdown that a person approves."""
    what = result["criteria"]
    where = [f"{name} `{what[name]}`" for name in ("reason", "rule") if name in what]
    lines = [
        f"**{result['selected']:,} rejected events** of source `{what['source_id']}`"
        f"{' with ' + ' and '.join(where) if where else ''}, rejected from {what['since']} (UTC) "
        f"until {what['until']}, would go through the gate again (replay {result['replay_id']}).",
        "| by today's rules | events |\n|---|---:|\n"
        f"| **would pass** | {result['would_pass']:,} |"
        + "".join(
            f"\n| would be rejected again: `{reason}` | {count:,} |"
            for reason, count in sorted(result["would_fail"].items())
        ),
    ]
    if result["judged"] < result["selected"]:
        lines.append(f"Only the first {result['judged']:,} were judged for this preview.")
    repaired = "; ".join(json.dumps(step, ensure_ascii=False) for step in result["repair"])
    lines.append(f"Repair: {_code(repaired)}" if repaired else "Repair: none, sent as they came.")
    example = result["example"]
    if example:
        lines.append(f"For example\n\n{_block(example['before'])}")
        if example["after"] != example["before"]:
            lines.append(f"would be sent as\n\n{_block(example['after'])}")
    lines.append(
        "Approve to send them, each once. An event whose id has come meanwhile is rejected as a "
        "duplicate on arrival. Reject to send nothing; they can be selected again."
    )
    return "\n\n".join(lines)


def _code(text: str) -> str:
    return "`" + text.replace("`", "'") + "`"


def _block(text: str) -> str:
    """Return text from outside as a block of code that it can't break out of."""
    return "\n".join(f"    {line}" for line in text.splitlines())
