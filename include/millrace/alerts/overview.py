"""What people are shown of rules and alerts: how they stand now, and what they may ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.exceptions import DatabaseError

from millrace.alerts import repository
from millrace.alerts.model import Instance, Labels, Route, Rule, as_json
from millrace.alerts.rules import RESERVED_LABELS, Metric
from millrace.alerts.samples import OWN_PREFIX
from millrace.settings import Settings
from millrace.stores import clickhouse, sql

STATES = ("inactive", "pending", "firing")


@dataclass(frozen=True)
class Standing:
    """How a rule stands: its state, its alerts, and why they are held back, if they are."""

    rule: str
    severity: str
    state: str
    alerts: list[dict[str, Any]]
    held_back: str
    routes: list[str]
    owner: str

    def as_dict(self) -> dict[str, Any]:
        """Return it by name."""
        return asdict(self)


def standings(connection: repository.Connection) -> list[Standing]:
    """Return every rule as it stands now."""
    now = datetime.now(UTC)
    instances = list(repository.load_instances(connection).values())
    mutes = repository.load_mutes(connection, now)
    held_back = mutes.among([one.labels for one in instances if one.state == "firing"], now)
    routes = {route.name: route for route in repository.load_routes(connection)}
    return [
        _standing(rule, [i for i in instances if i.rule_name == rule.name], held_back, routes)
        for rule in repository.load_rules(connection)
    ]


def _standing(
    rule: Rule,
    mine: list[Instance],
    held_back: Callable[[Labels], str],
    routes: dict[str, Route],
) -> Standing:
    alerts: list[dict[str, Any]] = []
    for one in mine:
        alerts.append(
            {
                "kind": one.kind,
                "state": one.state,
                "labels": one.labels,
                "value": as_json(one.value),
                "active_since": one.active_since,
                "held_back": held_back(one.labels),
            }
        )
    state = max((one.state for one in mine), default="inactive", key=STATES.index)
    if not rule.is_active:
        state = "off"
    if any(one.kind == "no_data" for one in mine):
        state += ", no data"
    held = sorted({alert["held_back"] for alert in alerts if alert["held_back"]})
    shown = [
        name if name in routes and routes[name].is_active else f"{name} (off)"
        for name in rule.routes
    ]
    return Standing(rule.name, rule.severity, state, alerts, ", ".join(held), shown, rule.owner)


def judged_until(connection: repository.Connection) -> datetime | None:
    """Return the last minute that was judged, if any was."""
    row = connection.execute("SELECT evaluated_until FROM alert_clock").fetchone()
    return row["evaluated_until"] if row else None


def published_metrics(settings: Settings) -> dict[str, Metric] | None:
    """Return the published metrics by name, or None where dbt has not run yet."""
    with clickhouse.connect(settings, "alerts") as client:
        try:
            answer = client.query(sql.render("clickhouse/alerts/published_metrics.sql"))
        except DatabaseError:
            return None
    return {
        str(name): Metric(str(kind), int(grain), frozenset(dimensions))
        for name, kind, grain, dimensions in answer.result_rows
    }


def without_samples(settings: Settings, rule: Rule) -> list[str]:
    """Return which of Millrace's own metrics that a rule asks for had no sample in a week."""
    asked = {selector.query.name for selector in rule.parsed.selectors}
    own = sorted(name for name in asked if name and name.startswith(OWN_PREFIX))
    if not own:
        return []
    with clickhouse.connect(settings, "alerts") as client:
        answer = client.query(
            sql.render("clickhouse/alerts/own_metrics.sql"), parameters={"names": own}
        )
    seen = {name for (name,) in answer.result_rows}
    return [name for name in own if name not in seen]


def known_labels(
    connection: repository.Connection, metrics: dict[str, Metric] | None
) -> frozenset[str]:
    """Return the labels that an alert may have."""
    found = set(RESERVED_LABELS)
    for rule in repository.load_rules(connection):
        found |= rule.labels.keys()
    for metric in (metrics or {}).values():
        found |= metric.dimensions or set()
    rows = connection.execute(sql.render("postgres/alerts/labels_seen.sql"))
    return frozenset(found | {row["label"] for row in rows})
