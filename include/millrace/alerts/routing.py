"""Routes: where alerts go, changed and tried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from millrace.alerts import outbox, repository, rules
from millrace.alerts.grouping import Group, Notification
from millrace.alerts.model import Route
from millrace.contract.errors import RuleError
from millrace.settings import Settings
from millrace.stores import postgres

CONNECTIONS = {
    "slack": "slack_alerts",
    "pagerduty": "pagerduty_alerts",
    "webhook": "webhook_alerts",
    "email": "smtp_alerts",
}
"""The Airflow connection that a route of a kind has unless it is told another."""


@dataclass(frozen=True)
class Change:
    """What is to be set of a route; what is None or empty stays."""

    kind: str | None = None
    connection_id: str | None = None
    config: Mapping[str, str] = field(default_factory=dict)
    group_by: list[str] | None = None
    repeat_interval_seconds: int | None = None
    is_active: bool | None = None


def find(connection: repository.Connection, name: str) -> Route:
    """Return a route. Raises ``RuleError`` if there is none of that name."""
    routes = {route.name: route for route in repository.load_routes(connection)}
    if name not in routes:
        raise RuleError(f"no route is called {name} (there are: {', '.join(routes) or 'none'})")
    return routes[name]


def change(connection: repository.Connection, name: str, wanted: Change) -> Route:
    """Change a route, or make it where it is not there; return it. Raises ``RuleError``."""
    known = {route.name: route for route in repository.load_routes(connection)}
    route = known.get(name)
    if route is None:
        if not rules.NAME.fullmatch(name):
            raise RuleError(f"route {name!r}: the name must be lower case letters, digits and _")
        if wanted.kind not in CONNECTIONS:
            kinds = ", ".join(CONNECTIONS)
            raise RuleError(f"no route is called {name}; to make it, say --kind, one of {kinds}")
        route = Route(name, wanted.kind, CONNECTIONS[wanted.kind])  # type: ignore[arg-type]
    given = {
        key: getattr(wanted, key)
        for key in ("kind", "connection_id", "group_by", "repeat_interval_seconds", "is_active")
        if getattr(wanted, key) is not None
    }
    made = replace(route, **given, config={**route.config, **wanted.config})
    repository.save_route(connection, rules.check_route(made))
    return made


def send_test(settings: Settings, connection: repository.Connection, name: str) -> datetime:
    """Put an alert that is over at once into the outbox; return the minute that names it.

    It goes the way of every alert: ``check_alerts`` sends it, at its next run, with the route's
    Airflow connection. Raises ``RuleError`` where the route is switched off or there is none.
    """
    route = find(connection, name)
    if not route.is_active:
        raise RuleError(f"route {name} is off; ./millrace alerts routes set {name} --on")
    now = datetime.now(UTC)
    labels = {"alertname": "route_test", "tested_at": now.isoformat(timespec="milliseconds")}
    group = Group(name, labels, now, opened_at=now)
    for event in ("trigger", "resolve"):
        notification = Notification(name, group, event, now, ())
        repository.save_notification(
            connection, notification, _content(settings, event, labels, now)
        )
    return now


def send_now(
    settings: Settings,
    senders: Mapping[str, outbox.Sender],
    route: str | None = None,
    notification_id: int | None = None,
) -> list[str]:
    """Try out a route, or send a notification again; return what became of it, a line each.

    Raises ``RuleError`` unless exactly one of the two is named, for one that is not there, and with
    the channel's answer when it did not take the message, which then waits in the outbox.
    """
    if bool(route) == bool(notification_id):
        raise RuleError("name a route to try out, or a notification to send again")
    with postgres.connect(settings) as connection:
        if route:
            name, at = route, send_test(settings, connection, route)
        else:
            name, at = _send_again(connection, notification_id)
        outbox.deliver(settings, senders)
        outcomes = test_outcome(connection, name, at)
    failures = [outcome["last_error"] for outcome in outcomes if outcome["last_error"]]
    if failures:
        raise RuleError(f"{name} did not take it: {failures[0]}")
    return [f"{outcome['event']} to {name}: {outcome['state']}" for outcome in outcomes]


def _send_again(
    connection: repository.Connection, notification_id: int | None
) -> tuple[str, datetime]:
    row = connection.execute(
        repository.query("send_again"),
        {"notification_id": notification_id, "kept_for": outbox.KEPT_FOR},
    ).fetchone()
    if row is None:
        raise RuleError(
            f"no notification {notification_id} of the last {outbox.KEPT_FOR.days} days is in the "
            "outbox, or it is being sent; ./millrace alerts outbox lists them"
        )
    return row["route"], row["evaluated_at"]


def _content(
    settings: Settings, event: str, labels: dict[str, str], at: datetime
) -> dict[str, Any]:
    alert = {
        "rule": "route_test",
        "kind": "condition",
        "labels": labels,
        "value": 1,
        "threshold": None,
        "operator": None,
        "active_since": at.isoformat(),
        "expression": "",
        "owner": "whoever asked for it",
        "runbook": "",
        "annotations": {"summary": "This is a test of the route; nothing is wrong"},
    }
    is_firing = event == "trigger"
    return {
        "event": event,
        "evaluated_at": at.isoformat(),
        "group": labels,
        "severity": "info",
        "opened_at": at.isoformat(),
        "firing": [alert] if is_firing else [],
        "resolved": [] if is_firing else [alert],
        "firing_count": int(is_firing),
        "resolved_count": int(not is_firing),
        "links": {"dashboard": settings.dashboard_url or settings.airflow_url, "run": ""},
    }


def test_outcome(
    connection: repository.Connection, name: str, at: datetime
) -> list[dict[str, Any]]:
    """Return what became of a test's notifications so far."""
    return connection.execute(
        repository.query("test_outcome"), {"route": name, "evaluated_at": at}
    ).fetchall()
