"""Sentences that every channel shares."""

from __future__ import annotations

from typing import Any

from millrace.alerts.templates import humanize

SUMMARY_LIMIT = 1024
"""PagerDuty's limit for a summary; other channels allow more."""


def alerts(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alerts that a notification is about: those firing, else those resolved."""
    found: list[dict[str, Any]] = content["firing"] or content["resolved"]
    return found


def headline(event: str, content: dict[str, Any]) -> str:
    """Return what happened in one line."""
    described = alerts(content)
    if not described:
        return f"{event}: {content['group']}"[:SUMMARY_LIMIT]
    first = described[0]
    text = first["annotations"].get("summary") or first["rule"]
    more = max(content["firing_count"], content["resolved_count"]) - 1
    suffix = f" (and {more} more)" if more > 0 else ""
    prefix = {"resolve": "Resolved: ", "repeat": "Still firing: ", "acknowledge": "Acknowledged: "}
    return f"{prefix.get(event, '')}{text}{suffix}"[:SUMMARY_LIMIT]


def condition(alert: dict[str, Any]) -> str:
    """Return value and threshold: ``812, expected >= 1,000``."""
    if alert["kind"] == "no_data":
        return "no data"
    value = humanize(alert["value"])
    if alert["threshold"] is None:
        return value
    return f"{value} (fires when {alert['operator']} {humanize(alert['threshold'])})"


def distinct_labels(alert: dict[str, Any]) -> str:
    """Return the labels that tell an alert from its siblings."""
    common = ("alertname", "severity", "owner", "condition")
    own = {name: value for name, value in alert["labels"].items() if name not in common}
    return ", ".join(f"{name}={value}" for name, value in sorted(own.items()))
