"""Closed hours: measured against targets and looked through for what is unusual."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from clickhouse_connect.driver.client import Client

from millrace.contract import ledger, sources
from millrace.quality import anomalies, cursors, metrics
from millrace.quality.windows import Window, closed_windows, window_at
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres, sql

log = logging.getLogger(__name__)

CURSOR = "hours"


def judge_closed(settings: Settings, now: datetime | None = None) -> list[Window]:
    """Measure every closed hour that waits, and look for anomalies in it; return those hours.

    An hour waits once it is closed, and again when messages came late to it or its day was rebuilt;
    that is looked for when an hour has closed. Metrics go to ``quality_metrics`` and, for alerts,
    to ``pipeline_metrics``; anomalies to ``quality_anomalies``. The newest hour comes first, and
    each is kept when it is done, so that a run that is cut short loses nothing.
    """
    moment = now or datetime.now(UTC)
    with (
        postgres.connect(settings) as connection,
        clickhouse.connect(settings, "quality") as client,
    ):
        until = ledger.watermark(connection)
        known = sources.every(connection)
        hours = _waiting(client, moment, until)
        oldest = moment - timedelta(days=settings.raw_retention_days)
        for number, hour in enumerate(hours, 1):
            if hour.start > oldest:  # before it, messages are no longer there to be counted
                changed = metrics.changed(connection, hour)
                metrics.keep(client, metrics.measure(client, hour, known, changed), moment)
            found = anomalies.find(client, hour, moment)
            client.insert(
                "quality_hours",
                [[hour.start, until, moment]],
                column_names=["hour", "covers_until", "measured_at"],
            )
            log.info(
                "%s of %s: %s: measured; %s series stood out", number, len(hours), hour.label, found
            )
        if hours:
            cursors.record(client, CURSOR, until)
    return hours


def _waiting(client: Client, now: datetime, until: datetime) -> list[Window]:
    """Return the hours to measure, newest first.

    Changes are looked for when an hour has closed, and after a run that was cut short, whose hours
    cover more than the cursor says.
    """
    closed = closed_windows("1h", now)
    rows = client.query("SELECT hour, covers_until FROM quality_hours FINAL").result_rows
    covered = {row[0].replace(tzinfo=UTC): row[1].replace(tzinfo=UTC) for row in rows}
    fresh = {hour for hour in closed if hour.start not in covered}
    since = cursors.read(client, CURSOR, "quality_hours")
    if since is None or not (fresh or since < max(covered.values(), default=since)):
        return sorted(fresh, reverse=True)
    changed = client.query(
        sql.render("clickhouse/quality/touched_hours.sql"),
        parameters={"since": since, "until": until},
    ).result_rows
    touched = {
        window_at("1h", start.replace(tzinfo=UTC))
        for start, changed_at in changed
        if changed_at.replace(tzinfo=UTC) >= covered.get(start.replace(tzinfo=UTC), since)
    }
    return sorted({*fresh, *(hour for hour in touched if hour <= closed[-1])}, reverse=True)
