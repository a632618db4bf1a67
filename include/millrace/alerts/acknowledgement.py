"""Acknowledging: someone is on it."""

from __future__ import annotations

from datetime import UTC, datetime

from millrace.alerts import content, repository
from millrace.alerts.grouping import Notification
from millrace.settings import Settings


def acknowledge(
    connection: repository.Connection, rule_name: str, author: str, comment: str
) -> int:
    """Acknowledge the open incidents that name a rule; return how many there were.

    Receivers that know acknowledgements (PagerDuty) and people who read along (Slack) are told
    once; reminders stop until the incident resolves.
    """
    now = datetime.now(UTC)
    count = 0
    with connection.transaction():
        connection.execute("SELECT evaluated_until FROM alert_clock FOR UPDATE")
        for group in repository.load_groups(connection).values():
            mine = [i for i in group.notified if i.rule_name == rule_name]
            if group.opened_at is None or not mine or group.acknowledged_by is not None:
                continue
            route, group_key = group.key
            connection.execute(
                repository.query("acknowledge_group"),
                {"author": author, "at": now, "route": route, "group_key": group_key},
            )
            notification = Notification(group.route, group, "acknowledge", now, group.notified)
            summary = f"{rule_name} by {author}" + (f": {comment}" if comment else "")
            first = connection.execute(
                repository.query("last_notification"),
                {"route": group.route, "dedup_key": group.dedup_key},
            ).fetchone()
            # What was said of an incident may be lost, as by a restore, and a channel needs it all.
            said = dict(first["content"]) if first else content.Writer(Settings(), {})(notification)
            for alert in said["firing"]:
                alert["annotations"] = {"summary": summary}
            repository.save_notification(connection, notification, {**said, "event": "acknowledge"})
            count += 1
    return count
