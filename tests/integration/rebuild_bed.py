"""What tests of rebuilds share: days, rollups, and what has to be so afterwards."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from tests.integration.ingest_bed import Bed


def today() -> date:
    """The day it is."""
    return datetime.now(UTC).date()


def noon(days_ago: int = 0) -> str:
    """A moment after midnight, as events have it."""
    moment = datetime.now(UTC).replace(hour=0, minute=0, second=1) - timedelta(days=days_ago)
    return moment.isoformat()


def shadows(bed: Bed) -> list[tuple[str]]:
    """Tables that a rebuild works in."""
    return bed.query("SELECT name FROM system.tables WHERE name LIKE '%__rebuild_%'")


def make_rollups(bed: Bed) -> None:
    """Two rollups, the second filled from the first, as dbt builds them."""
    for statement in (
        "CREATE DATABASE IF NOT EXISTS analytics_r",
        "CREATE TABLE IF NOT EXISTS analytics_r.minutes (minute DateTime('UTC'), source_id String, "
        "n UInt64) ENGINE = SummingMergeTree PARTITION BY toDate(minute) "
        "ORDER BY (minute, source_id) SETTINGS non_replicated_deduplication_window = 1000",
        "CREATE TABLE IF NOT EXISTS analytics_r.hours (hour DateTime('UTC'), source_id String, "
        "n UInt64) ENGINE = SummingMergeTree PARTITION BY (toDate(hour)) "
        "ORDER BY (hour, source_id) SETTINGS non_replicated_deduplication_window = 1000",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS analytics_r.minutes_mv TO analytics_r.minutes AS "
        "SELECT toStartOfMinute(event_time) AS minute, toString(events.source_id) AS source_id, "
        "count() AS n FROM events GROUP BY minute, source_id",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS analytics_r.hours_mv TO analytics_r.hours AS "
        "SELECT toStartOfHour(m.minute) AS hour, source_id, sum(m.n) AS n "
        "FROM analytics_r.minutes AS m GROUP BY hour, source_id",
    ):
        bed.query(statement)


def assert_rolled_up(bed: Bed) -> None:
    """Hold both rollups against the events."""
    where = "WHERE source_id = {source}"
    expected = bed.query(
        "SELECT toStartOfMinute(event_time) AS minute, count() FROM events "
        f"{where} GROUP BY minute ORDER BY minute"
    )
    found = bed.query(
        f"SELECT minute, sum(n) FROM analytics_r.minutes {where} GROUP BY minute ORDER BY minute"
    )
    assert found == expected
    ((hours,),) = bed.query(f"SELECT sum(n) FROM analytics_r.hours {where}")
    assert hours == sum(n for _, n in expected)


def events(bed: Bed) -> list[tuple[object, ...]]:
    """Every event of the bed, in order."""
    return bed.query("SELECT * FROM events WHERE source_id = {source} ORDER BY partition, offset")
