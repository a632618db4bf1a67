"""How fast backups and restores are, what an increment costs, and how long a disaster takes.

Run it with ``./millrace bench backups [million events]``. Events, their raw messages and a rollup
are generated in ClickHouse. Baselines in the same run, on the same disk: ``cp -a`` of the data
directory with a sync, and ClickHouse's own BACKUP of the same tables straight to the object store,
without encryption, catalogue and hashes. Then real traffic is loaded, both stores are killed and
deleted under it, and ``./millrace restore`` is timed until the oracle agrees. Results go to
bench/results/backups.json.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import bed
from bench.generated import COUNTRY, ID, PAGE, TYPE, USER
from millrace.backups import metadata, warehouse
from millrace.lab.chaos import campaign, disaster
from millrace.lab.verify import conservation, simulation
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse
from millrace.usecases import drill

STEP = 500_000
SECONDS_OF_DAY = 72_000
AT = f"toDateTime64(toStartOfDay(now()) + number % {SECONDS_OF_DAY}, 3, 'UTC')"


def fill(settings: Settings, first: int, count: int) -> None:
    """Insert raw messages and their events, as ingest lays them out, a batch of them at a time."""
    with clickhouse.connect(settings) as client:
        for start in range(first, first + count, STEP):
            rows = f"FROM numbers({start}, {min(STEP, first + count - start)})"
            batch = start // STEP + 1_000_000
            client.command(
                "INSERT INTO events (event_id, event_time, event_type, user_id, page, country, "
                "device, properties, received_at, ingested_at, source_id, topic, partition, "
                f"offset, batch_id) SELECT {ID}, {AT}, {TYPE}, {USER}, {PAGE}, {COUNTRY}, "
                f"'mobile', map('n', toString(number % 977)), {AT}, toStartOfHour({AT}), "
                f"'events', 'generated', number % 6, number, {batch} {rows}"
            )
            client.command(
                "INSERT INTO raw_events SELECT 'events', 'generated', 0, number % 6, number, "
                f'{AT}, toString({USER}), concat(\'{{"event_id": "\', toString({ID}), '
                f'\'", "event": "\', {TYPE}, \'", "timestamp": "\', toString({AT}), '
                f'\'", "user_id": \', toString({USER}), \', "page": "\', {PAGE}, '
                f'\'", "country": "\', {COUNTRY}, \'", "device": "mobile", "n": \', '
                f"toString(number % 977), '}}'), '', {batch}, now64(3) {rows}"
            )


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what ``work`` returns, and its seconds."""
    began = time.monotonic()
    result = work()
    return result, time.monotonic() - began


def size(folder: Path) -> int:
    """Return the bytes of the files below a folder; hard links count once."""
    seen = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found = path.stat()
            seen[found.st_ino] = found.st_size
    return sum(seen.values())


def rate(rows: int, count: int, seconds: float) -> dict[str, Any]:
    """Return seconds, rows and megabytes a second."""
    return {
        "seconds": round(seconds, 2),
        "bytes": count,
        "rows_per_second": round(rows / seconds),
        "megabytes_per_second": round(count / seconds / 1e6, 1),
    }


def copy(settings: Settings) -> None:
    """The plainest backup: copy the data directory, and see that it is on the disk."""
    target = settings.home / "copy"
    subprocess.run(["cp", "-a", settings.home / "clickhouse" / "data", target], check=True)
    os.sync()
    shutil.rmtree(target)


def plain_backup(settings: Settings) -> int:
    """Run ClickHouse's BACKUP of the same database to the object store, and return its size."""
    with clickhouse.connect(settings) as client:
        clickhouse.object_collection(settings)
        return warehouse.run(client, "BACKUP DATABASE millrace TO S3(millrace_objects, 'plain')")


def measure_rates(stack: Stack, events: int) -> dict[str, Any]:
    """Back up ``events`` generated events in every way, and an increment of a hundredth."""
    settings = stack.settings
    fill(settings, 0, events)
    data = settings.home / "clickhouse" / "data"
    result: dict[str, Any] = {"events": events, "data_bytes": size(data)}
    os.sync()
    copied = timed(lambda: copy(settings))[1]
    result["baseline_copy"] = rate(events, result["data_bytes"], copied)
    plain_bytes, plain = timed(lambda: plain_backup(settings))
    result["baseline_plain_backup"] = rate(events, plain_bytes, plain)
    entry, took = timed(lambda: warehouse.back_up(settings, "a benchmark", is_full=True))
    result["full"] = rate(events, entry.byte_count, took) | {
        "tables": len(entry.tables),
        "rows_of_all_tables": entry.rows,
        "publication_stood_still_seconds": round(entry.lock_seconds, 3),
        "ratio_to_plain_backup": round(took / plain, 2),
        "ratio_to_copy": round(took / copied, 2),
    }
    changed = events // 100
    fill(settings, events, changed)
    added, took = timed(lambda: warehouse.back_up(settings, "a benchmark"))
    result["increment"] = rate(changed, added.byte_count, took) | {
        "changed_events": changed,
        "kind": added.kind,
        "share_of_full_bytes": round(added.byte_count / entry.byte_count, 4),
        "bytes_per_changed_event": round(added.byte_count / changed, 1),
        "full_bytes_per_event": round(entry.byte_count / events, 1),
    }
    base, took = timed(lambda: metadata.back_up(settings, "a benchmark"))
    result["metadata"] = {"seconds": round(took, 2), "bytes": base.byte_count}
    return result


def measure_disaster(stack: Stack, events: int) -> dict[str, Any]:
    """Destroy both stores under load, restore, and see that nothing is lost or repeated."""
    settings = stack.settings
    result: dict[str, Any] = {"events_held": events}
    with disaster.under_load(stack, rate=2000, seed=11) as load:
        load.await_messages(5000)
        disaster.millrace(settings, "backups", "run")
        load.await_messages(20_000)
        began = time.monotonic()
        disaster.destroy(stack, "clickhouse", "postgres")
        said = disaster.millrace(settings, "restore")
        restored = time.monotonic()
        load.await_messages(1)
        serving = time.monotonic()
        sent = load.finish()
        reports = [
            simulation.verify(sent, settings, wait_seconds=120),
            conservation.verify(settings, topics=[settings.events_topic], wait_seconds=120),
        ]
        ended = time.monotonic()
    return result | {
        "restore_command_seconds": round(restored - began, 1),
        "until_ingest_loads_again_seconds": round(serving - began, 1),
        "until_caught_up_and_verified_seconds": round(ended - began, 1),
        "restore_said": said.strip().splitlines()[-1],
        "messages": sent.sent,
        "differences": sum(report.differences for report in reports),
    }


def main(
    millions: Annotated[float, typer.Argument(help="Million events.")] = 10,
) -> None:
    """Measure and write the results."""
    events = int(millions * 1_000_000)
    with bed.running(**campaign.ENVIRONMENT) as stack:
        for name in ("backup_gateway", "wal_archiver"):
            stack.start(name)
            stack.wait_healthy(name)
        results: dict[str, Any] = {"rates": measure_rates(stack, events)}
        print(results, flush=True)
        results["disaster"] = measure_disaster(stack, events + events // 100)
        print(results["disaster"], flush=True)
        report, took = timed(lambda: drill.run(stack.settings))
        results["drill"] = {
            "seconds": round(took, 1),
            "rto_seconds": round(report.rto_seconds or 0, 1),
            "metadata_rpo_seconds": round(report.rpo_seconds or 0, 1),
            "steps": [[what, said, round(took, 1)] for what, said, took in report.steps],
        }
        bed.write("backups", results)


if __name__ == "__main__":
    typer.run(main)
