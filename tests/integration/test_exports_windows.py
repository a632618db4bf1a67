"""Which windows are exported, when, and again when they change."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from psycopg.types.json import Jsonb
from tests.integration.exports_bed import (
    HOUR,
    download,
    export,
    forget,
    insert_events,
    judge,
    manifest,
)

from millrace.exports import definitions, retention
from millrace.exports import due as due_windows
from millrace.exports.catalogue import NotPublishableError
from millrace.exports.definitions import ExportError
from millrace.exports.windows import Window
from millrace.exports.writer import Exporter
from millrace.stores import clickhouse, postgres


def test_what_changed_is_noticed_however_long_ago_it_was(exporter: Exporter) -> None:
    settings = exporter.settings
    old = datetime(2026, 2, 10, 4, tzinfo=UTC)
    never, withheld = old + timedelta(days=1), old + timedelta(days=2)
    (definition,) = definitions.read(exporter.postgres, "events")

    def due() -> dict[datetime, str]:
        until = old + timedelta(days=20)
        found = due_windows.find(
            settings, exporter.postgres, exporter.clickhouse, [definition], until
        )
        wanted = (old, never, withheld)
        return {window.start: window.cause for window in found if window.start in wanted}

    insert_events(settings, old, 30, first=500_000)
    judge(settings, "published", old)
    export(exporter, "events", old)
    assert due() == {}
    insert_events(settings, old, 3, first=501_000)
    for start, first in ((never, 502_000), (withheld, 503_000)):
        insert_events(settings, start, 5, first=first)
    judge(settings, "published", never)
    with pytest.raises(NotPublishableError):
        export(exporter, "events", withheld)
    assert due() == {old: "+3 rows since", never: "scheduled"}  # that one waits for its gate
    for start in (old, never):
        export(exporter, "events", start)
    assert due() == {}
    # However late its gate lets it pass, it is not forgotten.
    exporter.postgres.execute(
        "UPDATE export_runs SET started_at = started_at + interval '100 days' WHERE name = 'events'"
    )
    judge(settings, "published", withheld)
    assert due() == {withheld: "scheduled"}
    exporter.postgres.execute(
        "UPDATE export_runs SET started_at = started_at - interval '100 days' WHERE name = 'events'"
    )
    export(exporter, "events", withheld)


def test_a_window_that_is_due_is_not_forgotten_while_nothing_exports_it(
    exporter: Exporter,
) -> None:
    settings = exporter.settings
    old = datetime(2026, 1, 20, 4, tzinfo=UTC)
    unjudged = old + timedelta(days=1)
    (definition,) = definitions.read(exporter.postgres, "events")

    def due() -> list[datetime]:
        until = old + timedelta(days=20)
        found = due_windows.find(
            settings, exporter.postgres, exporter.clickhouse, [definition], until
        )
        return [window.start for window in found if window.start in (old, unjudged)]

    insert_events(settings, old, 5, first=600_000)
    insert_events(settings, unjudged, 5, first=601_000)
    judge(settings, "published", old)
    assert due() == [old]
    # The run was killed, and the look at arrivals has moved on since; so it does each hour.
    exporter.postgres.execute(
        "UPDATE export_looks SET looked_at = now() + interval '100 days' WHERE name = 'events'"
    )
    assert due() == [old]
    export(exporter, "events", old)
    assert due() == []
    judge(settings, "published", unjudged)
    assert due() == [unjudged]
    export(exporter, "events", unjudged)
    exporter.postgres.execute("DELETE FROM export_looks WHERE name = 'events'")


def test_what_is_made_from_events_is_due_when_they_change_it_and_not_its_rows(
    exporter: Exporter,
) -> None:
    settings = exporter.settings
    day = datetime(2026, 1, 10, tzinfo=UTC)
    definition = definitions.parse({
        "name": "events_summed",
        "description": "Events of an hour",
        "relation": "(SELECT toStartOfHour(event_time) AS hour, count() AS events "
        f"FROM {clickhouse.database(settings)}.events GROUP BY hour)",
        "columns": ["hour", "events"],
        "time_column": "hour",
        "order_by": ["hour"],
        "schedule": "daily",
        "destination": "exports/events_summed",
    })  # fmt: skip
    definitions.put(exporter.postgres, definition)

    def due() -> list[Window]:
        until = day + timedelta(days=1, hours=5)
        found = due_windows.find(
            settings, exporter.postgres, exporter.clickhouse, [definition], until
        )
        return [window for window in found if window.start == day]

    insert_events(settings, day + timedelta(hours=4), 50, first=700_000)
    (window,) = due()
    assert exporter.run(definition, window, "a test").row_count == 1
    assert due() == []
    with clickhouse.connect(settings) as client:  # claimed after the export
        client.command(
            "INSERT INTO events (event_id, event_time, event_type, user_id, ingested_at) "
            "SELECT generateUUIDv4(), {late:DateTime64(3, 'UTC')}, 'page_view', 7, now64(3) "
            "FROM numbers(5)",
            parameters={"late": day + timedelta(hours=4)},
        )
    (again,) = due()
    assert again.cause.startswith("events since, the last at ")
    exporter.postgres.execute(
        "UPDATE export_looks SET looked_at = now() + interval '100 days' "
        "WHERE name = 'events_summed'"
    )
    assert due() == [again]  # though nobody looks for that arrival any more
    assert exporter.run(definition, window, "a test").row_count == 1
    assert due() == []
    forget(exporter, "events_summed")


def test_an_export_whose_table_is_gone_stops_no_other(exporter: Exporter) -> None:
    settings = exporter.settings
    start = datetime(2026, 1, 4, 7, tzinfo=UTC)
    insert_events(settings, start, 5, first=800_000)
    judge(settings, "published", start)
    (good,) = definitions.read(exporter.postgres, "events")
    broken = replace(good, name="broken", relation="nowhere", gate="")
    found = due_windows.find(
        settings,
        exporter.postgres,
        exporter.clickhouse,
        [broken, good],
        start + timedelta(hours=1),
        timedelta(0),
    )
    causes = {window.name: window.cause for window in found if window.start == start}
    assert causes["events"] == "scheduled"
    assert "nowhere" in causes["broken"]
    with pytest.raises(DatabaseError, match="nowhere"):
        exporter.run(broken, Window("broken", start, start + timedelta(hours=1)), "a test")


def test_the_archive_never_shrinks(exporter: Exporter) -> None:
    settings = exporter.settings
    start = datetime(2026, 3, 3, 4, tzinfo=UTC)
    (definition,) = definitions.read(exporter.postgres, "raw_events")
    with clickhouse.connect(settings) as client:
        client.command(
            "INSERT INTO raw_events SELECT 'default', 'archived', 0, 1, number, "
            "{hour:DateTime64(3)}, 'k', 'v', '', 1, {hour:DateTime64(3)} FROM numbers(50)",
            parameters={"hour": start},
        )
        assert export(exporter, "raw_events", start)["rows"] == 50
        client.command("DELETE FROM raw_events WHERE topic = 'archived' AND offset < 20")
    found = due_windows.find(
        settings, exporter.postgres, exporter.clickhouse, [definition], start + timedelta(hours=1)
    )
    assert start not in [window.start for window in found]
    before = manifest(settings, "archive/raw_events/date=2026-03-03/hour=04")
    with pytest.raises(NotPublishableError, match="30 rows of it by now, and 50 are out"):
        export(exporter, "raw_events", start)
    assert manifest(settings, "archive/raw_events/date=2026-03-03/hour=04") == before


def test_what_events_have_forgotten_stays_exported(exporter: Exporter) -> None:
    """A short retention, or one that was shortened, reaches into what is looked at again."""
    start = datetime(2026, 3, 4, 4, tzinfo=UTC)
    end = start + timedelta(hours=1)
    (definition,) = definitions.read(exporter.postgres, "events")
    insert_events(exporter.settings, start, 30, first=700_000)
    judge(exporter.settings, "published", start)
    assert export(exporter, "events", start)["rows"] == 30
    with clickhouse.connect(exporter.settings) as client:
        client.command("DELETE FROM events WHERE offset BETWEEN 700000 AND 700019")
    shortened = exporter.settings.model_copy(update={"events_retention_days": 1})
    for settings, is_due in ((shortened, False), (exporter.settings, True)):
        found = due_windows.find(
            settings, exporter.postgres, exporter.clickhouse, [definition], end
        )
        assert (start in [window.start for window in found]) is is_due
    with (
        Exporter(shortened) as forgetful,
        pytest.raises(NotPublishableError, match="10 rows of it by now, and 30 are out"),
    ):
        export(forgetful, "events", start)
    assert export(exporter, "events", start)["rows"] == 10  # within its retention they were deleted


def test_a_window_that_has_not_ended_is_not_exported(exporter: Exporter) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    judge(exporter.settings, "published", start)
    with pytest.raises(NotPublishableError, match="has not ended"):
        export(exporter, "events", start)


def test_late_events_replace_the_manifest_and_old_files_go_later(
    exporter: Exporter, tmp_path: Path
) -> None:
    settings = exporter.settings
    start = HOUR + timedelta(hours=1)
    place = "exports/events/date=2026-03-01/hour=08"
    insert_events(settings, start, 100, first=100_000)
    judge(settings, "published", start)
    export(exporter, "events", start)
    first = manifest(settings, place)

    def due() -> list[Window]:
        definition = definitions.read(exporter.postgres, "events")
        end = start + timedelta(hours=1)
        found = due_windows.find(
            settings, exporter.postgres, exporter.clickhouse, definition, end, timedelta(hours=1)
        )
        return [window for window in found if window.start == start]

    assert due() == []
    insert_events(settings, start, 7, first=200_000)
    assert [window.cause for window in due()] == ["+7 rows since"]
    export(exporter, "events", start)
    second = manifest(settings, place)
    assert (first["rows"], second["rows"]) == (100, 107)
    assert due() == []
    clickhouse.connect(exporter.settings).command(
        "INSERT INTO rebuilt_days (day, reason) VALUES ('2026-03-01', 'a test')"
    )
    assert "was rebuilt" in due()[0].cause
    clickhouse.connect(exporter.settings).command("TRUNCATE TABLE rebuilt_days")

    download(settings, first, tmp_path)  # whoever holds the old manifest can still read
    now = datetime.now(UTC)
    exporter.postgres.execute(
        "UPDATE export_definitions SET retention_days = 36500 WHERE name = 'events'"
    )
    retention.expire(settings, now)
    download(settings, first, tmp_path)
    retention.expire(settings, now + retention.GRACE + timedelta(minutes=1))
    with pytest.raises(Exception, match="NoSuchKey"):
        download(settings, first, tmp_path)
    download(settings, second, tmp_path)


def test_a_day_is_one_window_and_gets_late_events_too(exporter: Exporter, tmp_path: Path) -> None:
    settings = exporter.settings
    exporter.postgres.execute(
        "INSERT INTO export_definitions SELECT (jsonb_populate_record(d, %s)).* "
        "FROM export_definitions AS d WHERE name = 'events'",
        [
            Jsonb({
                "name": "events_by_day", "schedule": "daily", "destination": "exports/events_by_day"
            })
        ],
    )  # fmt: skip
    day = datetime(2026, 2, 20, tzinfo=UTC)
    (definition,) = definitions.read(exporter.postgres, "events_by_day")

    def due() -> list[Window]:
        until = day + timedelta(days=1, hours=5)
        return due_windows.find(
            settings, exporter.postgres, exporter.clickhouse, [definition], until, timedelta(days=1)
        )

    for hour in (0, 13, 23):
        insert_events(settings, day + timedelta(hours=hour), 50, first=300_000 + hour * 1000)
    judge(settings, "published", day, hours=24)
    (window,) = [window for window in due() if window.start == day]
    assert window.end == day + timedelta(days=1)
    assert exporter.run(definition, window, "a test").row_count == 150
    place = "exports/events_by_day/date=2026-02-20"
    first = manifest(settings, place)
    assert first["rows"] == 150
    assert all("hour=" not in file["key"] for file in first["files"])
    assert day not in {window.start for window in due()}

    insert_events(settings, day + timedelta(hours=7), 5, first=400_000)
    (again,) = [window for window in due() if window.start == day]
    assert again.cause == "+5 rows since"
    exporter.run(definition, again, "a test")
    (path,) = download(settings, manifest(settings, place), tmp_path)
    assert polars.read_parquet(path).height == 155
    with pytest.raises(ExportError, match="no UTC day"):
        exporter.run(definition, Window("events_by_day", day, day + timedelta(hours=1)), "a test")
    forget(exporter, "events_by_day")


def test_gate_holds_a_window_back_until_it_has_passed(exporter: Exporter) -> None:
    start = HOUR - timedelta(hours=5)
    insert_events(exporter.settings, start, 10, first=900_000)
    with pytest.raises(NotPublishableError, match="unknown"):
        export(exporter, "events", start)
    judge(exporter.settings, "withheld", start)
    with pytest.raises(NotPublishableError, match="null rate above 2 %"):
        export(exporter, "events", start)
    with postgres.connect(exporter.settings) as connection:
        states = connection.execute(
            "SELECT state, reason FROM export_runs WHERE name = 'events' AND window_start = %s",
            [start],
        ).fetchall()
    assert [row["state"] for row in states] == ["skipped", "skipped"]
    judge(exporter.settings, "published", start)
    assert export(exporter, "events", start)["rows"] == 10


def test_an_open_batch_keeps_the_hour_open(exporter: Exporter) -> None:
    with exporter.postgres.transaction(force_rollback=True):
        exporter.postgres.execute(
            "INSERT INTO data_sources (source_id, description, topic, dead_letter_topic) "
            "VALUES ('other', '', 'other', 'other')"
        )
        exporter.postgres.execute(
            "WITH gate AS (INSERT INTO gates (source_id, statement, fingerprint, rules) "
            "VALUES ('other', '', '', '{}') RETURNING gate_id) "
            "INSERT INTO ingest_batches (source_id, gate_id, owner, claimed_at) "
            "SELECT 'other', gate_id, 'a test', %s FROM gate",
            [HOUR + timedelta(minutes=30)],
        )
        (definition,) = definitions.read(exporter.postgres, "raw_events")
        with pytest.raises(NotPublishableError, match="not closed"):
            exporter.run(
                definition, Window("raw_events", HOUR, HOUR + timedelta(hours=1)), "a test"
            )
