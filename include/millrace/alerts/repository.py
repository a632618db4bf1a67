"""Rules, states and notifications in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from millrace.alerts.grouping import Group, MaintenanceWindow, Mutes, Notification, Silence
from millrace.alerts.model import (
    Inhibition,
    Instance,
    Kind,
    Route,
    Rule,
    Transition,
    as_json,
    from_json,
)
from millrace.stores import sql

Connection = psycopg.Connection[DictRow]


def query(name: str) -> str:
    """Return the statement in ``include/sql/postgres/alerts/<name>.sql``."""
    return sql.render(f"postgres/alerts/{name}.sql")


def act_as(connection: Connection, actor: str) -> None:
    """Name who makes the changes of this connection, for the audit log."""
    connection.execute("SELECT set_config('millrace.actor', %s, false)", [actor])


def load_rules(connection: Connection) -> list[Rule]:
    """Return every rule, by name."""
    return [Rule(**row) for row in connection.execute(query("rules"))]


def load_routes(connection: Connection) -> list[Route]:
    """Return every route, by name."""
    return [Route(**row) for row in connection.execute(query("routes"))]


def load_mutes(connection: Connection, since: datetime) -> Mutes:
    """Return the silences that end after ``since``, the maintenance windows and inhibitions."""
    windows = connection.execute(
        "SELECT matchers, starts_at, duration, every FROM alert_maintenance_windows"
    )
    inhibitions = connection.execute("SELECT name, source, target, equal FROM alert_inhibitions")
    return Mutes(
        [Silence(**row) for row in connection.execute(query("mutes_now"), {"since": since})],
        [MaintenanceWindow(**row) for row in windows],
        [Inhibition(**row) for row in inhibitions],
    )


def load_instances(connection: Connection) -> dict[tuple[str, Kind, str], Instance]:
    """Return what is pending or firing."""
    rows = connection.execute(
        "SELECT rule_name, kind, labels, state, active_since, fired_at, value FROM alert_instances"
    )
    instances = [Instance(**row) for row in rows]
    return {instance.key: instance for instance in instances}


def load_groups(connection: Connection) -> dict[tuple[str, str], Group]:
    """Return the groups that have alerts or are open."""
    rows = connection.execute(query("groups"))
    groups = []
    for row in rows:
        notified = tuple(instance_from_json(item) for item in row.pop("notified"))
        groups.append(Group(notified=notified, **row))
    return {group.key: group for group in groups}


def open_incidents(connection: Connection) -> dict[tuple[str, str], Group]:
    """Return the groups whose incidents were opened and have not ended."""
    return {key: group for key, group in load_groups(connection).items() if group.opened_at}


def put_back_incidents(
    connection: Connection, told: Mapping[tuple[str, str], Group]
) -> list[Group]:
    """Enter into a restored PostgreSQL the incidents that were open before; return those it lacked.

    Their receivers have them, so that their ends must be told.
    """
    if not told:
        return []
    restored = load_groups(connection)
    with connection.transaction():
        save_groups(connection, restored, {**restored, **told})
    return [group for key, group in told.items() if restored.get(key) != group]


def instance_to_json(instance: Instance) -> dict[str, Any]:
    """Return an alert as JSON can hold it."""
    moments = {
        "active_since": instance.active_since.isoformat(),
        "fired_at": instance.fired_at.isoformat() if instance.fired_at else None,
    }
    return {**asdict(instance), **moments, "value": as_json(instance.value)}


def instance_from_json(value: Mapping[str, Any]) -> Instance:
    """Return what ``instance_to_json`` was given."""
    fired_at = value["fired_at"]
    return Instance(
        **{
            **value,
            "active_since": datetime.fromisoformat(value["active_since"]),
            "fired_at": datetime.fromisoformat(fired_at) if fired_at else None,
            "value": from_json(value["value"]),
        }
    )


def save_states(
    connection: Connection,
    before: Mapping[tuple[str, Kind, str], Instance],
    after: Mapping[tuple[str, Kind, str], Instance],
    transitions: Sequence[Transition],
) -> None:
    """Write what changed between two minutes."""
    cursor = connection.cursor()
    changed = [instance for key, instance in after.items() if before.get(key) != instance]
    if changed:
        cursor.executemany(query("save_instance"), [_instance_row(item) for item in changed])
    gone = [key for key in before if key not in after]
    if gone:
        cursor.executemany(
            "DELETE FROM alert_instances WHERE rule_name = %s AND kind = %s AND fingerprint = %s",
            gone,
        )
    if transitions:
        cursor.executemany(
            query("save_transition"),
            [
                {
                    **_instance_row(item.instance),
                    "evaluated_at": item.evaluated_at,
                    "from_state": item.from_state,
                    "to_state": item.to_state,
                }
                for item in transitions
            ],
        )


def _instance_row(instance: Instance) -> dict[str, Any]:
    return {
        **asdict(instance),
        "labels": Jsonb(instance.labels),
        "fingerprint": instance.fingerprint,
    }


def save_groups(
    connection: Connection,
    before: Mapping[tuple[str, str], Group],
    after: Mapping[tuple[str, str], Group],
) -> None:
    """Write the groups that changed, and forget those that ended."""
    cursor = connection.cursor()
    changed = [group for key, group in after.items() if before.get(key) != group]
    if changed:
        cursor.executemany(
            query("save_group"),
            [
                {
                    **asdict(group),
                    "group_key": group.key[1],
                    "labels": Jsonb(group.labels),
                    "notified": Jsonb([instance_to_json(item) for item in group.notified]),
                }
                for group in changed
            ],
        )
    gone = [key for key in before if key not in after]
    if gone:
        cursor.executemany("DELETE FROM alert_groups WHERE route = %s AND group_key = %s", gone)


def save_notification(
    connection: Connection, notification: Notification, content: Mapping[str, Any]
) -> None:
    """Put a notification into the outbox; one that is there already stays as it is."""
    connection.execute(
        query("save_notification"),
        {
            "route": notification.route,
            "group_key": notification.group.key[1],
            "dedup_key": notification.group.dedup_key,
            "event": notification.event,
            "evaluated_at": notification.evaluated_at,
            "content": Jsonb(dict(content)),
        },
    )


def save_rule(connection: Connection, rule: Rule) -> None:
    """Insert or replace a rule."""
    row = {**asdict(rule), "labels": Jsonb(rule.labels), "annotations": Jsonb(rule.annotations)}
    connection.execute(query("save_rule"), row)


def save_route(connection: Connection, route: Route) -> None:
    """Insert or replace a route."""
    connection.execute(query("save_route"), {**asdict(route), "config": Jsonb(route.config)})
