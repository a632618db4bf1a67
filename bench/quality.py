"""What a checkpoint of 10 million events costs, against the same checks written by hand.

Run it with ``./millrace bench quality``. One closed hour holds the events. The suite of ``events``
is audited with everything that belongs to it (Great Expectations, verdict, report); the plain
statement asks the same in one pass over the same hour. Both run in turns, and the best of each
counts (the checkpoint's first turn, which imports Great Expectations, is left out). Before that,
scheduled runs of all datasets and marts in processes of their own, as Airflow runs them: imports
included. Results go to bench/results/quality.json.
"""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from clickhouse_connect.driver.client import Client

from bench import bed
from millrace.quality import audit
from millrace.quality.windows import Window, window_at
from millrace.settings import Settings
from millrace.stores import clickhouse
from millrace.transform import deploy

TURNS = 3
FILL = """
INSERT INTO events (event_id, event_time, event_type, user_id, page, country, device, received_at,
    ingested_at, source_id, topic, topic_incarnation, partition, offset)
SELECT generateUUIDv4(), at, ['page_view', 'click', 'purchase'][number % 3 + 1],
    cityHash64(number) % 200000 + 1, concat('/product/', toString(number % 1000)),
    ['US', 'DE', 'FR', 'IN'][number % 4 + 1], ['mobile', 'desktop'][number % 2 + 1],
    at, at, 'events', 'events', 0, number % 6, number
FROM (
    SELECT
        number, {start:DateTime64(3, 'UTC')} + toIntervalMillisecond(number % {span:UInt64}) AS at
    FROM numbers({first:UInt64}, {count:UInt64})
)
"""
KEEP = """
INSERT INTO raw_events (source_id, topic, topic_incarnation, partition, offset, kafka_timestamp,
    ingested_at)
SELECT source_id, topic, topic_incarnation, partition, offset, received_at, ingested_at FROM events
"""
PLAIN = """
SELECT
    count() AS events,
    countIf(event_id IS NULL),
    events - uniqExact(event_id),
    events - uniqExact(source_id, topic, topic_incarnation, partition, offset),
    countIf((source_id, topic, topic_incarnation, partition, offset) IN (
        SELECT source_id, topic, topic_incarnation, partition, offset FROM rejected_events
    )),
    countIf(user_id < 1),
    countIf(NOT match(country, '^([A-Z]{2})?$')),
    countIf(event_type = ''),
    countIf(event_time > received_at + INTERVAL 10 MINUTE),
    countIf(device NOT IN ('', 'mobile', 'desktop', 'tablet', 'tv', 'bot')),
    countIf(notEmpty(warnings))
FROM events
WHERE event_time >= {start:DateTime64(3, 'UTC')} AND event_time < {end:DateTime64(3, 'UTC')}
"""


def fill(client: Client, window: Window, count: int) -> None:
    """Put events into a window."""
    step = 1_000_000
    for first in range(0, count, step):
        client.command(
            FILL,
            parameters={
                "start": window.start,
                "span": int((window.end - window.start).total_seconds() * 1000),
                "first": first,
                "count": min(step, count - first),
            },
        )


def timed(work: Any, stack: Any) -> dict[str, float]:
    """Return the seconds, and the CPU seconds of the engine and of this process."""
    engine, own = bed.cpu_seconds(stack.pid("clickhouse")), bed.own_cpu()
    began = time.monotonic()
    work()
    return {
        "seconds": round(time.monotonic() - began, 2),
        "engine_cpu_seconds": round(bed.cpu_seconds(stack.pid("clickhouse")) - engine, 2),
        "own_cpu_seconds": round(bed.own_cpu() - own, 2),
    }


CHILD = """
import os, resource, sys, time
began = time.monotonic()
os.environ["GX_ANALYTICS_ENABLED"] = "false"
import great_expectations
from datetime import datetime
from millrace.quality import audit
from millrace.settings import Settings
imported = time.monotonic()
audits = audit.audit_closed(Settings(), datetime.fromisoformat(sys.argv[1]))
used = resource.getrusage(resource.RUSAGE_SELF)
failed = [one.summary() for one in audits if one.failures]
assert not failed, failed
print(len(audits), imported - began, time.monotonic() - imported, used.ru_utime + used.ru_stime)
"""


def scheduled_run(stack: Any, now: datetime) -> dict[str, float]:
    """Audit what waits at a moment, in a process of its own."""
    before = bed.cpu_seconds(stack.pid("clickhouse"))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, now.isoformat()],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.split()
    return {
        "audits": int(done[0]),
        "import_seconds": round(float(done[1]), 2),
        "audit_seconds": round(float(done[2]), 2),
        "own_cpu_seconds": round(float(done[3]), 2),
        "engine_cpu_seconds": round(bed.cpu_seconds(stack.pid("clickhouse")) - before, 2),
    }


def main(
    count: Annotated[int, typer.Option("--events", help="Events of the hour.")] = 10_000_000,
) -> None:
    """Measure, print and write the results."""
    with bed.running() as stack:
        settings = Settings()
        client = clickhouse.connect(settings)
        deploy.deploy(settings)
        now = window_at("1h", datetime.now(UTC)).start - timedelta(hours=1, minutes=9)
        fill(client, window_at("5m", now - timedelta(minutes=6)), 100_000)
        client.command(KEEP)
        scheduled_run(stack, now)  # a new stack has hours and days to catch up on
        scheduled = {
            "five_minutes": scheduled_run(stack, now + timedelta(minutes=5)),
            "on_the_hour": scheduled_run(stack, now + timedelta(minutes=15)),
        }

        hour = window_at("1h", now - timedelta(hours=4))
        fill(client, hour, count)
        bounds = {"start": hour.start, "end": hour.end}
        checkpoint, plain = [], []
        for _ in range(TURNS):
            plain.append(timed(lambda: client.query(PLAIN, parameters=bounds), stack))
            checkpoint.append(timed(lambda: audit.audit_window(settings, hour, "events"), stack))
        best = {
            name: min(runs, key=lambda run: run["seconds"])
            for name, runs in (("plain_sql", plain), ("checkpoint", checkpoint[1:]))
        }
        results = {
            "events": count,
            **best,
            "checkpoint_against_plain": round(
                best["checkpoint"]["seconds"] / best["plain_sql"]["seconds"], 2
            ),
            "scheduled_runs": scheduled,
        }
        client.close()
    bed.write("quality", results)


if __name__ == "__main__":
    typer.run(main)
