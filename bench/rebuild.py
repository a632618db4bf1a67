"""How long a day takes to be rebuilt: ``./millrace bench rebuild [--events 10000000]``.

Starts a stack of its own with the dbt rollups that ingest feeds, and puts a day of messages into
``raw_events`` as ingest keeps them, a hundredth of them garbage and another hundredth copies. A
first rebuild makes the day's events out of nothing; the second, of the whole day once it is merged,
is the one that counts. In the same run the day's events are copied with a plain INSERT SELECT,
which judges nothing, has no rollups and no audit. Results go to ``bench/results/rebuild.json``.
"""

from __future__ import annotations

import logging
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import bed
from millrace.ingest import rebuild as rebuilding
from millrace.ingest.warehouse import moment
from millrace.lab import stacks
from millrace.rules import gate
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres
from millrace.transform import project

ROLLUPS = [
    "metrics_1min", "metrics_5min", "metrics_1h",
    "page_views_1min", "page_views_1h", "page_views_1d",
]  # fmt: skip
TARGET_SECONDS = 90
BATCH = 50_000
STEP = 1_000_000

MESSAGES = """
INSERT INTO raw_events
SELECT
    'events', 'events', 0, number % 6 AS partition, intDiv(number, 6) AS offset,
    {start:DateTime64(3, 'UTC')} + toIntervalMillisecond(intDiv(number * 86000000, {rows:UInt64}))
        AS kafka_timestamp,
    toString(user) AS key,
    if(number % 100 = 7, 'garbage', concat(
        '{"event_id":"', toString(reinterpretAsUUID(sipHash128(number - (number % 100 = 9)))),
        '","event":"', ['page_view', 'click', 'search', 'add_to_cart', 'login', 'purchase'][
            1 + toUInt32(pow(rand(1) / 4294967296, 2) * 6)
        ],
        '","timestamp":"', formatDateTime(kafka_timestamp, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC'),
        '","user_id":', toString(1 + toUInt64(pow(rand(2) / 4294967296, 2) * 200000) AS user),
        ',"page":"/product/', toString(toUInt32(pow(rand(3) / 4294967296, 4) * 500)),
        '","country":"', ['US', 'DE', 'GB', 'FR', 'IN', 'BR', 'JP', 'CA'][1 + rand(4) % 8],
        '","device":"', ['mobile', 'desktop', 'tablet'][1 + rand(5) % 3],
        '","amount":', toString((rand(6) % 10000) / 100), '}'
    )) AS value,
    '', {first_batch:UInt64} + intDiv(number, {batch:UInt64}),
    {start:DateTime64(3, 'UTC')} + toIntervalMillisecond(
        intDiv((intDiv(number, {batch:UInt64}) + 1) * {batch:UInt64} * 86000000, {rows:UInt64})
    )
FROM numbers({first:UInt64}, {count:UInt64})
"""


def main(events: Annotated[int, typer.Option(help="Messages of the day.")] = 10_000_000) -> None:
    """Load a day, copy it plainly, and rebuild it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # take the stack down, too
    with (
        tempfile.TemporaryDirectory(prefix="millrace-bench-", dir="/tmp") as folder,
        stacks.running(Path(folder), with_airflow=False) as stack,
        stacks.variables(
            {
                "MILLRACE_HOME": str(stack.settings.home),
                "MILLRACE_PORT_BASE": str(stack.settings.port_base),
            }
        ),
    ):
        settings = stack.settings
        variables = project.environment(settings, project.PRODUCTION)
        project.run(["run", "--select", "stg_events", *ROLLUPS], variables)
        day = datetime.now(UTC).date() - timedelta(days=1)
        keep(settings, datetime(day.year, day.month, day.day, tzinfo=UTC), events)
        first = rebuilding.rebuild(settings, day)
        before = digest(settings)
        copied = copy(settings)
        with clickhouse.connect(settings) as client:
            bed.settle(client)
        engine, started = bed.cpu_seconds(stack.pid("clickhouse")), time.monotonic()
        report = rebuilding.rebuild(settings, day)
        seconds = time.monotonic() - started
        engine = bed.cpu_seconds(stack.pid("clickhouse")) - engine
        bed.write(
            "rebuild",
            {
                "messages": events,
                "rebuild_seconds": round(seconds, 1),
                "target_seconds": TARGET_SECONDS,
                "publishing_waited_seconds": report.locked_seconds,
                "steps_seconds": report.steps,
                "engine_cpu_seconds": round(engine, 1),
                "of_a_day_that_was_lost_seconds": first.seconds,
                "insert_select_seconds": round(copied, 1),
                "times_the_insert_select": round(seconds / copied, 1),
                "after": report.after,
                "is_unchanged": digest(settings) == before,
            },
        )


def keep(settings: Settings, start: datetime, rows: int) -> None:
    """Fill ``raw_events``, and enter the micro-batches into the ledger."""
    with postgres.connect(settings) as connection:
        gate.compile_all(connection, settings)
        row = connection.execute(
            "WITH made AS (INSERT INTO ingest_batches (source_id, gate_id, owner, state, "
            "claimed_at, loaded_at, message_count) "
            "SELECT source_id, gate_id, 'bench', 'loaded', %s, now(), %s "
            "FROM current_gates, generate_series(1, %s) WHERE source_id = 'events' "
            "RETURNING batch_id) SELECT min(batch_id) AS first FROM made",
            [start, BATCH, rows // BATCH],
        ).fetchone()
    assert row is not None  # noqa: S101  an aggregate has a row
    client = clickhouse.connect(settings)
    for first in range(0, rows, STEP):
        values = {"start": moment(start), "rows": rows, "batch": BATCH}
        span = {"first": first, "count": min(STEP, rows - first), "first_batch": row["first"]}
        client.command(MESSAGES, parameters={**values, **span})
    client.close()


def copy(settings: Settings) -> float:
    """Copy the day's events to a table like theirs; return the seconds."""
    client = clickhouse.connect(settings)
    client.command("CREATE TABLE copied AS events")
    started = time.monotonic()
    client.command("INSERT INTO copied SELECT * FROM events")
    seconds = time.monotonic() - started
    client.command("DROP TABLE copied SYNC")
    client.close()
    return seconds


def digest(settings: Settings) -> list[Any]:
    """Count and digest the day's events, rejected messages and one rollup."""
    client = clickhouse.connect(settings)
    found = [
        client.query(statement).result_rows
        for statement in (
            "SELECT count(), groupBitXor(sipHash64(event_id, event_time, partition, offset)) "
            "FROM events",
            "SELECT reason, count(), groupBitXor(sipHash64(partition, offset)) "
            "FROM rejected_events GROUP BY reason ORDER BY reason",
            "SELECT sum(events) FROM analytics.metrics_1h",
        )
    ]
    client.close()
    return found


if __name__ == "__main__":
    typer.run(main)
