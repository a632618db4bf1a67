"""Users who send unusually much: noticed in closed windows, held at the gate if a rule says so.

A window is judged by the same hour of the week in the four weeks before, so it is never in its own
baseline, and neither are windows that stood out. A user is held from the end of such a window on;
the hold is part of the gate's statement, so a batch that is loaded again is judged as before.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from millrace.rules.model import Rule
from millrace.stores import sql

WEEKS = 4
LEAST_SAMPLES = 30
"""With fewer windows of users in the baseline nobody is judged."""

OWN_LEAST = 8
"""From so many windows on a user's own past counts too."""

MOST_HELD = 1_000
CATCH_UP = timedelta(hours=1)
KEPT = timedelta(days=1)
"""Holds stay in the statement for so long after their end, for messages that are late."""


def judge(
    client: Client,
    rule: Rule,
    held: list[dict[str, Any]],
    keys: dict[str, str],
    since: datetime | None,
    now: datetime,
) -> list[dict[str, Any]]:
    """Judge the windows that closed since ``since``; return who is held from when until when.

    Writes who stood out to ``quality_anomalies``. Judging a window again changes nothing.

    Args:
        client: The warehouse.
        rule: A ``user_rate`` rule.
        held: What this returned the last time.
        keys: The JSON key of the user's id, by source.
        since: When it was called the last time, if it was.
        now: What closes windows.
    """
    length = timedelta(minutes=rule.config.get("window_minutes", 5))
    hold = timedelta(minutes=rule.config.get("hold_minutes", 60))
    holds = {one["user_id"]: one for one in held}
    seconds = int(length.total_seconds())
    earliest = max(now - CATCH_UP, (since or now - length) - 2 * length)
    start = datetime.fromtimestamp(-(-int(earliest.timestamp()) // seconds) * seconds, UTC)
    while start + length <= now:
        end = start + length
        found = _stood_out(client, rule, keys, start, end)
        if found:
            rows = [
                ["user_rate", start, end, rule.event_type or "", f"user_id={one['user_id']}"]
                + [one[name] for name in ("value", "expected", "deviations", "samples")]
                + [now]
                for one in found
            ]
            client.insert("quality_anomalies", rows, column_names=COLUMNS)
        for one in found:
            before = holds.get(one["user_id"])
            since_ms, until_ms = _ms(end), _ms(end + hold)
            if before is not None and before["until"] >= since_ms:
                since_ms, until_ms = before["from"], max(before["until"], until_ms)
            holds[one["user_id"]] = {
                "user_id": one["user_id"],
                "from": since_ms,
                "until": until_ms,
            }
        start = end
    kept = [one for one in holds.values() if one["until"] >= _ms(now - KEPT)]
    newest = sorted(kept, key=lambda one: one["until"], reverse=True)[:MOST_HELD]
    return sorted(newest, key=lambda one: int(one["user_id"]))


COLUMNS = (
    "kind",
    "window_start",
    "window_end",
    "event_type",
    "dimension",
    "value",
    "expected",
    "deviations",
    "samples",
    "found_at",
)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _stood_out(
    client: Client, rule: Rule, keys: dict[str, str], start: datetime, end: datetime
) -> list[dict[str, Any]]:
    """Return the users who sent unusually much from ``start`` to ``end``, the worst first."""
    hour = start.replace(minute=0, second=0, microsecond=0)
    hours = [hour - timedelta(weeks=week) for week in range(1, WEEKS + 1)]
    days = {(at - timedelta(days=back)).date() for at in hours for back in (0, 1)}
    found = client.query(
        sql.render("clickhouse/rules/user_rates.sql"),
        parameters={
            "seconds": int((end - start).total_seconds()),
            "hours": hours,
            "days": sorted(days),
            "event_type": rule.event_type or "",
            "source_id": rule.source_id or "",
            "start": start,
            "end": end,
            "sources": list(keys),
            "keys": list(keys.values()),
            "rule": rule.name,
            "least": LEAST_SAMPLES,
            "own_least": OWN_LEAST,
            "deviations": float(rule.config["deviations"]),
            "limit": MOST_HELD,
        },
    )
    return [dict(row) for row in found.named_results()]
