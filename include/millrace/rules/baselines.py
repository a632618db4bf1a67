"""What is usual: the baselines that outlier rules judge by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client
from psycopg.types.json import Jsonb

from millrace.rules import store
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

HISTORY = timedelta(days=28)
LEAST_SAMPLES = 30
"""With fewer events in an hour of the week nothing is judged in it."""


def refresh(
    settings: Settings, now: datetime | None = None, older_than: timedelta = timedelta(0)
) -> list[str]:
    """Compute baselines of active outlier rules that are ``older_than``; return the rules' names.

    A baseline reaches from four weeks to one hour ago, so no event is in the baseline that judges
    it; medians and median absolute deviations are not moved by the outliers among them. The gates
    have to be compiled afterwards.
    """
    moment = now or datetime.now(UTC)
    client = clickhouse.connect(settings)
    names = []
    try:
        with postgres.connect(settings) as connection:
            rows = connection.execute(
                "SELECT rule_name FROM rule_baselines WHERE computed_at > now() - %s", [older_than]
            ).fetchall()
            fresh = {row["rule_name"] for row in rows}
            for rule, active in store.all_rules(connection):
                if active and rule.config.get("check") == "outlier" and rule.name not in fresh:
                    connection.execute(
                        "INSERT INTO rule_baselines (rule_name, baselines) VALUES (%s, %s) "
                        "ON CONFLICT (rule_name) DO UPDATE SET baselines = EXCLUDED.baselines, "
                        "computed_at = now()",
                        [rule.name, Jsonb(baseline(client, rule, moment))],
                    )
                    names.append(rule.name)
    finally:
        client.close()
    return names


def baseline(client: Client, rule: Rule, now: datetime) -> list[dict[str, Any]]:
    """Return middle and reach by hour of the week (Monday 0 h UTC first), for each event type.

    The reach is the rule's number of robust standard deviations (1.4826 x MAD, at least a
    thousandth of the median, so that a constant field is not judged by rounding); -1 where there
    are too few samples.
    """
    rows = client.query(
        sql.render("clickhouse/rules/baseline.sql"),
        parameters={
            "field": rule.config["field"],
            "event_type": rule.event_type or "",
            "source_id": rule.source_id or "",
            "start": now - HISTORY,
            "end": now - timedelta(hours=1),
            "least": LEAST_SAMPLES,
        },
    ).result_rows
    found: dict[str, dict[str, Any]] = {}
    for event_type, hour, middle, deviation in rows:
        line = found.setdefault(
            event_type, {"event_type": event_type, "middles": [0.0] * 168, "reaches": [-1.0] * 168}
        )
        spread = max(1.4826 * deviation, abs(middle) / 1000)
        line["middles"][hour] = middle
        line["reaches"][hour] = rule.config["deviations"] * spread
    return list(found.values())
