"""PagerDuty's Events API v2: trigger, acknowledge and resolve on one dedup key.

https://developer.pagerduty.com/docs/events-api-v2-overview. Sending the same event again changes
nothing there, so a retry is always safe.
"""

from __future__ import annotations

from typing import Any

from millrace.alerts.channels import wording
from millrace.alerts.outbox import DeliveryError, Message, wish_of

ACTIONS = {
    "trigger": "trigger",
    "update": "trigger",
    "repeat": "trigger",
    "acknowledge": "acknowledge",
    "resolve": "resolve",
}


def event(message: Message) -> dict[str, Any]:
    """Return the event's properties besides action, routing key and dedup key."""
    content = message.content
    described = wording.alerts(content)
    first = described[0] if described else None
    properties: dict[str, Any] = {
        "payload": {
            "summary": wording.headline(message.event, content),
            "source": "millrace",
            "severity": content["severity"],
            "timestamp": content["opened_at"],
            "component": first["rule"] if first else "millrace",
            "group": ", ".join(content["group"].values()),
            "class": first["kind"] if first else "condition",
            "custom_details": {
                "firing": [_detail(alert) for alert in content["firing"]],
                "resolved": [_detail(alert) for alert in content["resolved"]],
                "runbook": first["runbook"] if first else "",
            },
        },
        "client": "Millrace",
        "links": [
            {"href": address, "text": name}
            for name, address in wording.links(content)
            if address.startswith("http")
        ],
    }
    if content["links"]["dashboard"]:
        properties["client_url"] = content["links"]["dashboard"]
    return properties


def _detail(alert: dict[str, Any]) -> dict[str, Any]:
    return {
        "rule": alert["rule"],
        "labels": alert["labels"],
        "value": alert["value"],
        "threshold": alert["threshold"],
        "expression": alert["expression"],
        **alert["annotations"],
    }


def send(client: Any, message: Message) -> dict[str, Any]:
    """Send an event with a ``pagerduty.EventsApiV2Client``; return its dedup key.

    Raises ``DeliveryError`` with PagerDuty's answer and its Retry-After.
    """
    action = ACTIONS[message.event]
    properties = event(message) if action == "trigger" else {}
    try:
        key = client.send_event(action, dedup_key=message.dedup_key, **properties)
    except Exception as error:
        response = getattr(error, "response", None)
        wish = wish_of(getattr(response, "headers", None))
        raise DeliveryError(f"PagerDuty: {error}", wish) from error
    return {"dedup_key": key}
