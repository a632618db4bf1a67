"""What rollups save, and what they cost: ``python bench/rollups.py [--events 10000000]``.

Starts an engine of its own, fills ``events`` with seven days of traffic, builds the dbt models on
it, and measures in the same run: dashboard questions on rollups and on raw events; ingest with and
without rollups; an incremental build after another million events; bytes per million. Results go
to ``bench/results/rollups-<millions>m.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from millrace.settings import Settings
from millrace.stores import clickhouse
from millrace.transform import project

RESULTS = Path(__file__).parent / "results"
DAYS = 7
MODELS = [
    "stg_events", "metrics_1min", "metrics_5min", "metrics_1h", "page_views_1min", "page_views_1h",
    "int_session_versions", "int_user_activity_versions", "int_user_day_versions",
    "int_unique_user_versions_5min", "int_unique_user_versions_1h", "purchase_funnel_daily",
]  # fmt: skip
INCREMENTAL = [name for name in MODELS if name.startswith("int_") or "funnel" in name]

GENERATE = """
INSERT INTO {target}
SELECT
    generateUUIDv4(),
    toDateTime64({{start:DateTime('UTC')}}, 3, 'UTC')
        + toIntervalMillisecond(intDiv(number * 86399000, {{rows:UInt64}})) AS event_time,
    ['page_view', 'click', 'search', 'add_to_cart', 'login', 'purchase'][
        1 + toUInt32(pow(rand(1) / 4294967296, 2) * 6)
    ] AS event_type,
    1 + toUInt64(pow(rand(2) / 4294967296, 2) * 200000) AS user_id,
    '/product/' || toString(toUInt32(pow(rand(3) / 4294967296, 4) * 500)) AS page,
    ['US', 'DE', 'GB', 'FR', 'IN', 'BR', 'JP', 'CA', 'AU', 'ES', 'IT', 'NL', 'SE', 'PL', 'MX'][
        1 + toUInt32(pow(rand(4) / 4294967296, 2) * 15)
    ] AS country,
    ['mobile', 'desktop', 'tablet', 'tv'][1 + toUInt32(pow(rand(5) / 4294967296, 2) * 4)] AS device,
    map('price', toString(rand(6) % 10000)), map(), map(), [], event_time, now64(3), 'events',
    'events', 0, number % 6, number, intDiv(number, 100000)
FROM numbers({{rows:UInt64}})
"""

QUESTIONS = {
    "7 days by hour": (
        "SELECT window_start AS k, sum(events) FROM analytics.metrics_1h GROUP BY k ORDER BY k",
        "SELECT toStartOfHour(event_time) AS k, count() FROM events GROUP BY k ORDER BY k",
    ),
    "by country": (
        "SELECT country AS k, sum(events) FROM analytics.metrics_1h GROUP BY k ORDER BY 2 DESC, k",
        "SELECT country AS k, count() FROM events GROUP BY k ORDER BY 2 DESC, k",
    ),
    "top pages": (
        "SELECT page AS k, sum(page_views) FROM analytics.page_views_1h"
        " GROUP BY k ORDER BY 2 DESC, k LIMIT 20",
        "SELECT page AS k, count() FROM events WHERE event_type = 'page_view'"
        " GROUP BY k ORDER BY 2 DESC, k LIMIT 20",
    ),
    "by hour on mobile": (
        "SELECT window_start AS k, sum(events) FROM analytics.metrics_1h"
        " WHERE device = 'mobile' GROUP BY k ORDER BY k",
        "SELECT toStartOfHour(event_time) AS k, count() FROM events"
        " WHERE device = 'mobile' GROUP BY k ORDER BY k",
    ),
}
"""Each question on seven days: asked of a rollup, and of raw events."""


def main() -> None:
    """Run the benchmark and write its results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=50, help="times each question is asked")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = ["-m", "millrace.stack.engine", "--path", f"{folder}/clickhouse"]
        engine = subprocess.Popen(
            [sys.executable, *command, "--port", str(port), "--user", "millrace"],
            env=os.environ | {"MILLRACE_CLICKHOUSE_PASSWORD": "bench"},
        )
        try:
            url = f"http://millrace:bench@127.0.0.1:{port}/millrace"
            settings = Settings(home=Path(folder), clickhouse_url=url)
            result = measure(settings, engine.pid, options.events, options.repeat)
        finally:
            engine.terminate()
            engine.wait(30)
    RESULTS.mkdir(exist_ok=True)
    name = f"rollups-{options.events // 1_000_000}m.json"
    (RESULTS / name).write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure(settings: Settings, pid: int, events: int, repeat: int) -> dict[str, object]:
    """Return every measurement of one run."""
    client = connect(settings)
    million = 1_000_000

    def insert(rows: int, day: int, target: str = "events") -> None:
        start = client.query(
            "SELECT toStartOfDay(now('UTC')) + toIntervalDay({n:Int8})",
            parameters={"n": day - DAYS},
        ).result_rows[0][0]
        for _ in range(rows // 200_000):
            client.command(
                GENERATE.format(target=target), parameters={"start": start, "rows": 200_000}
            )

    def cost(work: Callable[[], None]) -> dict[str, float]:
        cpu, wall = engine_cpu(pid), time.perf_counter()
        work()
        return {
            "seconds": round(time.perf_counter() - wall, 2),
            "engine_cpu_seconds": round(engine_cpu(pid) - cpu, 2),
        }

    def build(*names: str) -> None:
        client.command("INSERT INTO published_through (published_through) SELECT now64(3) + 0.001")
        variables = project.environment(settings, project.PRODUCTION)
        project.run(["run", "--select", *names], variables)

    result: dict[str, object] = {"events": events, "cores": os.cpu_count()}
    result["load_average_before"] = round(os.getloadavg()[0], 1)
    client.command("CREATE TABLE generated AS events ENGINE = Null")
    result["generate_a_million"] = cost(lambda: insert(million, 0, "generated"))
    for day in range(DAYS):
        insert(events // DAYS, day)
    result["insert_a_million_without_rollups"] = cost(lambda: insert(million, 0))
    result["build_history"] = cost(lambda: build(*MODELS))
    result["insert_a_million_with_rollups"] = cost(lambda: insert(million, DAYS - 1))
    result["build_after_a_million_new_events"] = cost(lambda: build(*INCREMENTAL))
    result["build_with_nothing_new"] = cost(lambda: build(*INCREMENTAL))

    questions: dict[str, object] = {}
    for name, (on_rollup, on_raw) in QUESTIONS.items():
        if client.query(on_rollup).result_rows != client.query(on_raw).result_rows:
            raise RuntimeError(f"{name}: rollups and raw events disagree")
        questions[name] = {
            "rollup": ask(client, on_rollup, repeat),
            "raw": ask(client, on_raw, max(5, repeat // 10)),
        }
    result["questions_ms"] = questions
    result["bytes_per_million_events"] = storage(client)
    client.close()
    return result


def connect(settings: Settings) -> Client:
    """Wait for the engine, and prepare its tables."""
    deadline = time.monotonic() + 60
    while True:
        try:
            clickhouse.migrate(settings)
            return clickhouse.connect(settings)
        except (ClickHouseError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def ask(client: Client, query: str, times: int) -> dict[str, float]:
    """Ask a question several times; return milliseconds seen by the client."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        client.query(query)
        taken.append((time.perf_counter() - begin) * 1000)
    return {
        "median": round(statistics.median(taken), 1),
        "p99": round(sorted(taken)[max(0, -(-len(taken) * 99 // 100) - 1)], 1),
    }


def storage(client: Client) -> dict[str, int]:
    """Return bytes on disk of each table per million events, and of the same events as JSON."""
    events = client.query("SELECT count() FROM events").result_rows[0][0]
    rows = client.query(
        "SELECT table, sum(bytes_on_disk) FROM system.parts"
        " WHERE active AND database IN ('millrace', 'analytics')"
        " GROUP BY table HAVING sum(rows) > 1000 ORDER BY 2 DESC"
    ).result_rows
    json_bytes = client.query(
        "SELECT avg(length(formatRow('JSONEachRow', event_id, event_time, event_type, user_id,"
        " page, country, device, properties))) FROM (SELECT * FROM events LIMIT 10000)"
    ).result_rows[0][0]
    per_million = {table: int(size * 1_000_000 / events) for table, size in rows}
    return {"json": int(json_bytes * 1_000_000), **per_million}


def engine_cpu(pid: int) -> float:
    """Return the CPU seconds that the engine has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
