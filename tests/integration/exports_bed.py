"""What tests of exports share: rows, verdicts, exports, and what lies in the bucket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from millrace.exports import definitions, service
from millrace.exports.writer import Exporter
from millrace.settings import Settings
from millrace.stores import clickhouse, objects, postgres

HOUR = datetime(2026, 3, 1, 7, tzinfo=UTC)
ROWS = 5_000


@contextmanager
def exporting(settings: Settings) -> Iterator[Exporter]:
    """Give an exporter for tables that keep events of any age, and empty them afterwards."""
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


def forget(exporter: Exporter, name: str) -> None:
    """Remove an export of a test's own, with what it wrote: an erasure asks whose files are."""
    bucket = exporter.settings.s3_bucket
    for one in exporter.objects.list_objects(bucket, f"exports/{name}/", recursive=True):
        exporter.objects.remove_object(bucket, one.object_name)
    exporter.postgres.execute("DELETE FROM export_definitions WHERE name = %s", [name])


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
