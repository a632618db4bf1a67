"""What is usual: the baselines that outlier rules judge by, and the users whose rate is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client
from psycopg.types.json import Jsonb

from millrace.contract import sources
from millrace.rules import store, user_rates
from millrace.rules.model import Rule
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

HISTORY = timedelta(days=28)
HOURS = 168
"""Hours of a week."""

LEAST_SAMPLES = 30
"""With fewer events in an hour of the week nothing is judged in it."""


def refresh(
    settings: Settings, now: datetime | None = None, older_than: timedelta = timedelta(0)
) -> list[str]:
    """Compute what is usual for the active rules that ask; return the names of those computed.

    Outlier rules only where their baselines are ``older_than``; the rates of users by each closed
    window.

    A baseline reaches from four weeks to one hour ago, so no event is in the baseline that judges
    it; medians and median absolute deviations are not moved by the outliers among them. The gates
    have to be compiled afterwards.
    """
    moment = now or datetime.now(UTC)
    names = []
    with (
        clickhouse.connect(settings, "loader") as client,
        postgres.connect(settings) as connection,
    ):
        rows = connection.execute("SELECT * FROM rule_baselines").fetchall()
        known = {row["rule_name"]: row for row in rows}
        for rule, active in store.all_rules(connection):
            before, check = known.get(rule.name), rule.config.get("check")
            if not active or check not in ("outlier", "user_rate"):
                continue
            if check == "outlier":
                if before is not None and before["computed_at"] > moment - older_than:
                    continue
                found = baseline(client, rule, moment)
            else:
                found = user_rates.judge(
                    client,
                    rule,
                    held=before["baselines"] if before else [],
                    keys=_user_keys(connection),
                    since=before["computed_at"] if before else None,
                    now=moment,
                )
            connection.execute(
                sql.render("postgres/rules/put_baseline.sql"),
                {"rule_name": rule.name, "baselines": Jsonb(found), "computed_at": moment},
            )
            names.append(rule.name)
    return names


def _user_keys(connection: store.Connection) -> dict[str, str]:
    """Return the JSON key of the user's id for each source."""
    return {
        source.source_id: source.field_names.get("user_id", "user_id")
        for source in sources.every(connection)
    }


def baseline(client: Client, rule: Rule, now: datetime) -> list[dict[str, Any]]:
    """Return median and tolerance by hour of the week (Monday 0 h UTC first), for each event type.

    The tolerance is the rule's number of robust standard deviations (from the median absolute
    deviation; at least a thousandth of the median, so that a constant field is not judged by
    rounding); -1 where there are too few samples.
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
    for event_type, hour, median, deviation in rows:
        line = found.setdefault(
            event_type,
            {"event_type": event_type, "medians": [0.0] * HOURS, "tolerances": [-1.0] * HOURS},
        )
        spread = max(deviation, abs(median) / 1000)
        line["medians"][hour] = median
        line["tolerances"][hour] = rule.config["deviations"] * spread
    return list(found.values())
