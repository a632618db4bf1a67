"""Closed hours: measured against targets and looked through for what is unusual."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from millrace.contract import ledger
from millrace.quality import anomalies, metrics
from millrace.quality.windows import Window, closed_windows, window_at
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

log = logging.getLogger(__name__)


def judge_closed(settings: Settings, now: datetime | None = None) -> list[Window]:
    """Measure every closed hour that waits, and look for anomalies in it; return those hours.

    An hour waits once it is closed, and again when messages came late to it or its day was rebuilt;
    that is looked for when an hour has closed. Metrics go to ``quality_metrics`` and, for alerts,
    to ``pipeline_metrics``; anomalies to ``quality_anomalies``.
    """
    moment = now or datetime.now(UTC)
    with postgres.connect(settings) as connection:
        until = ledger.watermark(connection)
    with clickhouse.connect(settings, "quality") as client:
        hours = _waiting(client, moment, until)
        oldest = moment - timedelta(days=settings.raw_retention_days)
        for hour in hours:
            if hour.start > oldest:  # before it, messages are no longer there to be counted
                metrics.keep(client, metrics.measure(client, hour), moment)
            found = anomalies.find(client, hour, moment)
            log.info("%s: measured; %s series stood out", hour.label, found)
        if hours:
            client.insert(
                "quality_hours",
                [[hour.start, until, moment] for hour in hours],
                column_names=["hour", "covers_until", "measured_at"],
            )
    return hours


def _waiting(client: Client, now: datetime, until: datetime) -> list[Window]:
    closed = closed_windows("1h", now)
    rows = client.query(
        "SELECT toUnixTimestamp(hour), covers_until FROM quality_hours FINAL "
        "WHERE hour >= {since:DateTime('UTC')}",
        parameters={"since": closed[0].start},
    ).result_rows
    done = {row[0] for row in rows}
    fresh = [hour for hour in closed if int(hour.start.timestamp()) not in done]
    if not fresh or not done:
        return fresh
    since = max(row[1] for row in rows).replace(tzinfo=UTC)
    changed = client.query(
        sql.render("clickhouse/quality/touched_hours.sql"),
        parameters={"since": since, "until": until},
    ).result_rows
    touched = {window_at("1h", row[0].replace(tzinfo=UTC)) for row in changed}
    return sorted({*fresh, *(hour for hour in touched if hour <= closed[-1])})
