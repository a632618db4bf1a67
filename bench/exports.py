"""How fast exports are, against ClickHouse writing the same Parquet to a local file.

Run it with ``./millrace bench exports [million events]``. An hour of generated events and of raw
messages is exported to the object store as ``export_events`` does it: measured, written, read back
and compared by rows and hashes, published by a manifest. The baselines are plain
``INSERT INTO FUNCTION file(…, Parquet)`` of the same columns, once in the export's order and once
as the rows come, with nothing checked. Results go to bench/results/exports.json.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from bench import bed
from bench.generated import ID, PAGE, TYPE, USER
from millrace.exports import definitions, service
from millrace.exports.definitions import Definition
from millrace.exports.writer import Exporter
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
STEP = 1_000_000
PARQUET = (
    "output_format_parquet_compression_method = 'zstd', "
    "output_format_parquet_row_group_size = 500000, engine_file_truncate_on_insert = 1"
)


def fill(settings: Settings, events: int) -> None:
    """Insert so many events and raw messages into one hour, and have it judged good."""
    at = f"toDateTime64('{HOUR:%F %T}', 3, 'UTC') + toIntervalMillisecond(number % 3599000)"
    with clickhouse.connect(settings) as client:
        for first in range(0, events, STEP):
            rows = f"FROM numbers({first}, {min(STEP, events - first)})"
            client.command(
                "INSERT INTO events (event_id, event_time, event_type, user_id, page, country, "
                f"device, properties, received_at, ingested_at, source_id) SELECT {ID}, {at}, "
                f"{TYPE}, {USER}, {PAGE}, ['US', 'DE', 'FR'][number % 3 + 1], 'mobile', "
                f"map('n', toString(number % 977)), {at}, {at}, 'events' {rows}"
            )
            client.command(
                "INSERT INTO raw_events SELECT 'events', 'generated', 0, number % 6, number, "
                f'{at}, toString({USER}), concat(\'{{"event_id": "\', toString({ID}), '
                f'\'", "event": "\', {TYPE}, \'", "user_id": \', toString({USER}), '
                f"', \"page\": \"', {PAGE}, '\"}}'), '', 1, {at} {rows}"
            )
    with postgres.connect(settings) as connection:
        connection.execute(
            "INSERT INTO published_windows VALUES ('events', %s, %s, 'published', '')",
            [HOUR, HOUR + timedelta(hours=1)],
        )


def plain(settings: Settings, definition: Definition, *, is_sorted: bool) -> dict[str, Any]:
    """Write the same columns of the same hour to a local Parquet file."""
    path = settings.home / "plain.parquet"
    order = f"ORDER BY {definition.order(definition.personal_data)}" if is_sorted else ""
    select = definition.select(settings, definition.personal_data)
    bound = {
        "window_start": HOUR,
        "window_end": HOUR + timedelta(hours=1),
        "snapshot_at": datetime.now(UTC),
        "hash_key": "",
    }
    with clickhouse.connect(settings) as client:
        began = time.monotonic()
        client.command(
            f"INSERT INTO FUNCTION file('{path}', 'Parquet') {select} {order} SETTINGS {PARQUET}",
            parameters=bound,
        )
        seconds = time.monotonic() - began
        rows = int(client.command(f"SELECT count() FROM file('{path}', 'Parquet')"))
    size = path.stat().st_size
    path.unlink()
    return rate(rows, size, seconds)


def rate(rows: int, size: int, seconds: float) -> dict[str, Any]:
    """Return what was written, and how fast."""
    return {
        "rows": rows,
        "bytes": size,
        "seconds": round(seconds, 2),
        "rows_per_second": round(rows / seconds),
        "megabytes_per_second": round(size / seconds / 1e6, 1),
    }


def measure(settings: Settings, name: str) -> dict[str, Any]:
    """Export the hour of one dataset in every way."""
    with Exporter(settings) as exporter:
        (definition,) = definitions.read(exporter.postgres, name)
    window = {"name": name, "start": HOUR.isoformat()}
    window["end"] = (HOUR + timedelta(hours=1)).isoformat()
    result = {
        "baseline_local_unsorted": plain(settings, definition, is_sorted=False),
        "baseline_local_sorted": plain(settings, definition, is_sorted=True),
    }
    began = time.monotonic()
    made: dict[str, Any] = service.export(settings, window, "a benchmark")
    seconds = time.monotonic() - began
    result["export"] = rate(made["rows"], made["bytes"], seconds) | {"files": made["files"]}
    for baseline in ("unsorted", "sorted"):
        other = result[f"baseline_local_{baseline}"]["seconds"]
        result["export"][f"ratio_to_local_{baseline}"] = round(seconds / other, 2)
    return result


def main(
    millions: Annotated[float, typer.Argument(help="Million events.")] = 10,
) -> None:
    """Measure and write the results."""
    events = int(millions * 1_000_000)
    with bed.running() as stack:
        settings = stack.settings
        definitions.apply(settings)
        fill(settings, events)
        results = {name: measure(settings, name) for name in ("events", "raw_events")}
        bed.write("exports", results)


if __name__ == "__main__":
    typer.run(main)
