"""Exports, written by ClickHouse and read back by readers that have nothing to do with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.request import urlopen

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from psycopg.types.json import Jsonb

from millrace.contract import locks
from millrace.exports import definitions, on_demand, retention, service, windows
from millrace.exports.definitions import ExportError, PersonalData
from millrace.exports.schemas import compare
from millrace.exports.windows import Window
from millrace.exports.writer import Exporter, NotPublishableError
from millrace.settings import Settings
from millrace.stores import clickhouse, objects, postgres, sql

HOUR = datetime(2026, 3, 1, 7, tzinfo=UTC)
ROWS = 5_000


@pytest.fixture(scope="module")
def exporter(settings: Settings) -> Iterator[Exporter]:
    definitions.apply(settings)
    settings = settings.model_copy(update={"events_retention_days": 36500})
    client = clickhouse.connect(settings)
    ttls = dict(
        client.query(
            "SELECT name, extract(engine_full, 'TTL (.*?)(?: SETTINGS|$)') FROM system.tables "
            "WHERE database = currentDatabase() AND name IN ('events', 'raw_events')"
        ).result_rows
    )
    for table in ttls:
        client.command(f"ALTER TABLE {table} REMOVE TTL")
    with Exporter(settings) as exporter:
        yield exporter
    for table, ttl in ttls.items():
        client.command(f"TRUNCATE TABLE {table}")
        client.command(f"ALTER TABLE {table} MODIFY TTL {ttl}")
    client.close()


def insert_events(settings: Settings, start: datetime, rows: int, first: int = 0) -> None:
    client = clickhouse.connect(settings)
    client.command(
        f"""
        INSERT INTO events
        SELECT toUUID('00000000-0000-0000-0000-' || lpad(toString(number + {first}), 12, '0')),
            toDateTime64({{start:DateTime64(3,'UTC')}}, 3, 'UTC') + number % 3599,
            ['page_view', 'purchase'][number % 2 + 1], number % 100 + 1, '/p',
            ['DE', 'GB'][number % 2 + 1], 'mobile', map('amount', toString(number)), map(),
            map('city', 'Zürich'), [], now64(3), now64(3) - 60, 'default', 'events', 0, 0,
            number + {first}, 1
        FROM numbers({rows})
        """,
        parameters={"start": start},
    )
    client.close()


def judge(settings: Settings, status: str, start: datetime, hours: int = 1) -> None:
    with postgres.connect(settings) as connection:
        connection.execute(
            "INSERT INTO published_windows VALUES ('events', %s, %s, %s, 'null rate above 2 %%') "
            "ON CONFLICT (dataset, window_start, window_end) "
            "DO UPDATE SET status = excluded.status",
            [start, start + timedelta(hours=hours), status],
        )


def export(exporter: Exporter, name: str, start: datetime = HOUR) -> dict[str, object]:
    return service.export(
        exporter.settings,
        {"name": name, "start": start.isoformat(), "end": (start + timedelta(hours=1)).isoformat()},
        "a test",
    )


def manifest(settings: Settings, place: str) -> dict[str, object]:
    client = objects.connect(settings)
    text = client.get_object(settings.s3_bucket, f"{place}/manifest.json").read()
    run = client.get_object(settings.s3_bucket, f"{place}/_SUCCESS").read().decode()
    found = json.loads(text)
    assert str(found["run_id"]) == run
    return found


def download(settings: Settings, found: dict[str, object], folder: Path) -> list[Path]:
    client = objects.connect(settings)
    paths = []
    for position, file in enumerate(found["files"]):
        path = folder / f"{position}.{file['key'].rpartition('.')[2]}"
        client.fget_object(settings.s3_bucket, file["key"], str(path))
        assert path.stat().st_size == file["bytes"]
        paths.append(path)
    return paths


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


def test_independent_readers_agree_with_the_warehouse(exporter: Exporter, tmp_path: Path) -> None:
    settings = exporter.settings
    insert_events(settings, HOUR, ROWS)
    judge(settings, "published", HOUR)
    made = export(exporter, "events")
    assert made["rows"] == ROWS
    found = manifest(settings, "exports/events/date=2026-03-01/hour=07")
    (path,) = download(settings, found, tmp_path)

    truth = exporter.clickhouse.query(
        "SELECT count(), sum(user_id), sum(toUInt64(properties['amount'])), min(event_time), "
        "uniqExact(event_id) FROM events WHERE toStartOfHour(event_time) = %(hour)s",
        parameters={"hour": HOUR},
    ).result_rows[0]

    table = pq.read_table(path)
    schema = table.schema
    assert schema.field("event_time").type == pa.timestamp("ms", "UTC")
    assert schema.field("user_id").type == pa.uint64()
    assert schema.field("event_id").type == pa.string()
    assert pa.types.is_map(schema.field("properties").type)
    amounts = [int(dict(pairs)["amount"]) for pairs in table["properties"].to_pylist()]
    assert (table.num_rows, sum(table["user_id"].to_pylist()), sum(amounts)) == truth[:3]
    times = table["event_time"].to_pylist()
    assert times == sorted(times)
    assert dict(table["geo_location"][0].as_py()) == {"city": "Zürich"}
    group = pq.ParquetFile(path).metadata.row_group(0)
    assert group.column(1).statistics.has_min_max
    assert group.column(1).compression == "ZSTD"

    row = duckdb.sql(
        f"SELECT count(*), sum(user_id), sum(CAST(properties['amount'] AS BIGINT)), "
        f"count(DISTINCT event_id) FROM '{path}'"
    ).fetchall()[0]
    assert row == (truth[0], Decimal(truth[1]), truth[2], truth[4])

    frame = polars.read_parquet(path)
    assert frame.height == truth[0]
    assert frame["user_id"].sum() == truth[1]
    assert frame["event_time"].min() == truth[3].replace(tzinfo=UTC)
    assert frame.schema["event_time"] == polars.Datetime("ms", "UTC")


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
        found = windows.due(
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
        return windows.due(
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
    exporter.postgres.execute("DELETE FROM export_definitions WHERE name = 'events_by_day'")


def test_a_schema_change_is_a_new_version(exporter: Exporter) -> None:
    settings = exporter.settings
    definitions.apply(settings)
    (before,) = definitions.read(exporter.postgres, "events")
    place = "exports/events/date=2026-03-01/hour=07"
    old = manifest(settings, place)
    exporter.postgres.execute(
        "UPDATE export_definitions SET columns = columns || "
        """'[{"name": "is_late", "expression": "received_at > event_time + 60"}]' """
        "WHERE name = 'events'"
    )
    export(exporter, "events")
    new = manifest(settings, place)
    definitions.apply(settings)
    assert definitions.read(exporter.postgres, "events") == [before]
    assert new["schema_version"] == old["schema_version"] + 1
    assert compare(old["schema"], new["schema"]) == {
        "added": ["is_late"],
        "removed": [],
        "retyped": [],
    }
    row = exporter.postgres.execute(
        "SELECT changes FROM export_schemas WHERE name = 'events' AND version = %s",
        [new["schema_version"]],
    ).fetchone()
    assert row["changes"]["added"] == ["is_late"]


def test_raw_archive_keeps_bytes_that_are_not_text(exporter: Exporter, tmp_path: Path) -> None:
    settings = exporter.settings
    value = b'{"event_id": \xff\xfe}\x00'
    clickhouse.connect(exporter.settings).command(
        "INSERT INTO raw_events SELECT 'default', 'events', 0, 1, number, {hour:DateTime64(3)}, "
        "'k', unhex({value:String}), '', 1, {hour:DateTime64(3)} FROM numbers(3)",
        parameters={"hour": HOUR, "value": value.hex()},
    )
    assert export(exporter, "raw_events")["rows"] == 3
    found = manifest(settings, "archive/raw_events/date=2026-03-01/hour=07")
    (path,) = download(settings, found, tmp_path)
    assert pq.read_table(path)["value"].to_pylist() == [value] * 3
    assert polars.read_parquet(path)["value"].to_list() == [value] * 3
    key = found["files"][0]["key"]
    again = exporter.clickhouse.query(
        f"SELECT count(), any(hex(value)) FROM s3(millrace_objects, filename = '{key}', "
        "format = 'Parquet')"
    ).result_rows[0]
    assert again == (3, value.hex().upper())


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


def test_a_rewrite_that_fails_leaves_a_run_that_failed(exporter: Exporter) -> None:
    export(exporter, "events")
    (definition,) = definitions.read(exporter.postgres, "events")
    published = exporter.postgres.execute(
        sql.render("postgres/exports/published_all.sql"), {"name": "events"}
    ).fetchall()[-1]
    start = published["window_start"].astimezone(UTC)
    window = Window("events", start, start + timedelta(hours=1))
    with pytest.raises(DatabaseError, match="no_such_column"):
        exporter.rewrite(definition, window, published, "no_such_column = 1", {})
    last = "SELECT state, reason FROM export_runs ORDER BY run_id DESC LIMIT 1"
    run = postgres.one(exporter.postgres.execute(last))
    assert run["state"] == "failed"
    assert "no_such_column" in run["reason"]


def test_two_runs_of_a_window_exclude_each_other(exporter: Exporter) -> None:
    with (
        postgres.connect(exporter.settings) as other,
        locks.alone(other, locks.EXPORT, "events", HOUR.isoformat()),
        pytest.raises(ExportError, match="another run"),
    ):
        export(exporter, "events")
    assert export(exporter, "events")["rows"] == ROWS


def test_on_demand_protects_personal_data_and_ends_with_a_link(
    exporter: Exporter, tmp_path: Path
) -> None:
    settings = exporter.settings
    form = {
        "dataset": "events", "start": "2026-03-01T07:00", "end": "2026-03-01T08:00",
        "filters": "country = DE\nevent_type in page_view, purchase", "format": "CSV",
        "personal_data": "hashed",
    }  # fmt: skip
    with pytest.raises(ExportError, match="may have it excluded"):
        service.deliver(settings, form, "ada")
    definitions.grant(settings, "ada", PersonalData.HASHED)
    with pytest.raises(ExportError, match="may have it hashed"):
        service.deliver(settings, {**form, "personal_data": "plain"}, "ada")
    with pytest.raises(ExportError, match="user_id is none of"):
        service.deliver(settings, {**form, "filters": "user_id = 7"}, "ada")
    made = service.deliver(settings, form, "ada")
    path = tmp_path / "made.csv"
    with urlopen(made["link"]) as reply:  # noqa: S310  our own server
        path.write_bytes(reply.read())
    frame = polars.read_csv(path)
    assert frame.height == ROWS // 2
    assert set(frame["country"]) == {"DE"}
    assert frame["user_id"].str.len_chars().unique().to_list() == [64]
    assert frame["user_id"].n_unique() == 50
    hidden = service.deliver(settings, {**form, "personal_data": "excluded"}, "nobody")
    with urlopen(hidden["link"]) as reply:  # noqa: S310  our own server
        header = reply.readline().decode()
    assert "user_id" not in header
    assert "country" in header


def test_filters_name_what_does_not_fit(exporter: Exporter) -> None:
    (definition,) = definitions.read(exporter.postgres, "events")
    for text, reason in {
        "country": "is not like",
        "offset > 1": "none of",
        "country = x' OR 1": None,
        "user_id > many": "is no number",
    }.items():
        if reason is None:
            _, values = on_demand.compile_filters(definition, PersonalData.PLAIN, (text,))
            assert values == {"filter_0": "x' OR 1"}
        else:
            with pytest.raises(ExportError, match=reason):
                on_demand.compile_filters(definition, PersonalData.PLAIN, (text,))
