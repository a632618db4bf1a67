"""Sentences that every channel shares."""

from __future__ import annotations

from typing import Any

from millrace.alerts.model import from_json
from millrace.alerts.templates import in_unit, of_one

COLOURS = {"info": "#2e86c1", "warning": "#f39c12", "error": "#e67e22", "critical": "#c0392b"}
RESOLVED_COLOUR = "#27ae60"
SUMMARY_LIMIT = 1024
"""PagerDuty's limit for a summary; other channels allow more."""


def alerts(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alerts that a notification is about: those firing, else those resolved."""
    found: list[dict[str, Any]] = content["firing"] or content["resolved"]
    return found


def headline(event: str, content: dict[str, Any]) -> str:
    """Return what happened in one line, whatever a label holds: it may be a mail's subject."""
    described = alerts(content)
    if not described:
        return _line(f"{event}: {content['group']}")
    first = described[0]
    text = first["annotations"].get("summary") or first["rule"]
    more = max(content["firing_count"], content["resolved_count"]) - 1
    suffix = f" (and {more} more)" if more > 0 else ""
    prefix = {"resolve": "Resolved: ", "repeat": "Still firing: ", "acknowledge": "Acknowledged: "}
    return _line(f"{prefix.get(event, '')}{text}{suffix}")


def _line(text: str) -> str:
    return " ".join(text.split())[:SUMMARY_LIMIT]


def colour(event: str, content: dict[str, Any]) -> str:
    """Return the colour of a message."""
    return RESOLVED_COLOUR if event == "resolve" else COLOURS[content["severity"]]


def links(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Return names and addresses of where to look next."""
    named = [("Dashboard", content["links"]["dashboard"]), ("Run", content["links"]["run"])]
    if described := alerts(content):
        named.append(("Runbook", described[0]["runbook"]))
    return [(name, address) for name, address in named if address]


def facts(content: dict[str, Any]) -> str:
    """Return severity, owner and since when, in one line."""
    known = [f"severity {content['severity']}"]
    if described := alerts(content):
        since = described[0]["active_since"][:16].replace("T", " ")
        known += [f"owner {described[0]['owner']}", f"since {since} UTC"]
    return " · ".join(known)


def condition(alert: dict[str, Any]) -> str:
    """Return value and threshold: ``812, expected >= 1,000``."""
    if alert["kind"] == "no_data":
        return "no data"
    unit = alert["annotations"].get("unit", "")
    number = from_json(alert["value"])
    value = in_unit(number, unit)
    if unit and unit not in ("ratio", "seconds"):
        named = f"{value} {of_one(unit) if number == 1 else unit}"
    else:
        named = value
    threshold = from_json(alert["threshold"])
    if threshold is None:
        return named
    return f"{named} (fires when {alert['operator']} {in_unit(threshold, unit)})"


def distinct_labels(alert: dict[str, Any]) -> str:
    """Return the labels that tell an alert from its siblings."""
    common = ("alertname", "severity", "owner", "condition")
    own = {name: value for name, value in alert["labels"].items() if name not in common}
    return ", ".join(f"{name}={value}" for name, value in sorted(own.items()))
