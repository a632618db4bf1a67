"""What a restore makes good: tables without parts, and rollups that lacked events at the cut."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from millrace.backups import restore, warehouse
from millrace.lab import stacks
from millrace.lab.chaos import disaster
from millrace.settings import Settings
from millrace.stores import clickhouse

KEPT = ("Log", "TinyLog", "StripeLog", "Memory")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with stacks.running(tmp_path_factory.mktemp("engines"), with_airflow=False) as started:
        for name in ("backup_gateway", "wal_archiver"):
            started.start(name)
        started.wait_healthy("backup_gateway")
        yield started.settings


def test_a_table_without_parts_comes_back_and_one_that_cannot_is_named(settings: Settings) -> None:
    with clickhouse.connect(settings) as client:
        client.command("CREATE DATABASE IF NOT EXISTS analytics")
        for engine in KEPT:
            table = f"analytics.lookup_{engine.lower()}"
            client.command(f"CREATE TABLE {table} (code String, name String) ENGINE = {engine}")
            client.command(f"INSERT INTO {table} VALUES ('a', 'A'), ('b', 'B'), ('c', 'C')")
        client.command("CREATE TABLE analytics.chosen (code String) ENGINE = Set")
    entry = warehouse.back_up(settings, "a test", is_full=True)
    assert any("analytics.chosen (Set)" in line for line in restore.plan(settings, entry))
    assert "analytics.lookup_log" in restore.plan(settings, entry)[-1]

    restore.restore(settings, entry, is_replace=True)

    with clickhouse.connect(settings) as client:
        for engine in map(str.lower, KEPT):
            assert client.command(f"SELECT count() FROM analytics.lookup_{engine}") == 3
            client.command(f"DROP TABLE analytics.lookup_{engine}")
        client.command("DROP TABLE analytics.chosen")


def test_rollups_that_lack_events_at_the_cut_are_made_good_by_the_restore(
    settings: Settings,
) -> None:
    with clickhouse.connect(settings) as client:
        client.command("CREATE DATABASE IF NOT EXISTS analytics")
        client.command(
            "CREATE TABLE analytics.per_hour (hour DateTime('UTC'), events UInt64) "
            "ENGINE = SummingMergeTree PARTITION BY toDate(hour) ORDER BY hour"
        )
        client.command(
            "CREATE MATERIALIZED VIEW analytics.per_hour_mv TO analytics.per_hour AS "
            "SELECT toStartOfHour(event_time) AS hour, count() AS events "
            "FROM millrace.events GROUP BY hour"
        )
        client.command(
            "INSERT INTO events (event_id, event_time, topic, offset) SELECT generateUUIDv4(), "
            "now64(3) - number, 'events', number FROM numbers(1000)"
        )
        client.command("ALTER TABLE analytics.per_hour DELETE WHERE 1 SETTINGS mutations_sync = 2")
    warehouse.back_up(settings, "a test", is_full=True)

    said = disaster.millrace(settings, "restore", "--only", "warehouse", "--replace")

    assert "rollups of events were recomputed" in said
    with clickhouse.connect(settings) as client:
        assert client.command("SELECT sum(events) FROM analytics.per_hour") == 1000
        client.command("DROP TABLE analytics.per_hour_mv")
        client.command("DROP TABLE analytics.per_hour")
