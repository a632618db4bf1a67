"""What rollups save, and what they cost: ``./millrace bench rollups [--events 10000000]``.

Starts an engine of its own, fills ``events`` with seven days of traffic drawn inside the engine,
builds the dbt models on it, and measures in the same run: dashboard questions on rollups and on raw
events; inserts with and without rollups; builds after another million events and after none; bytes
per million events. ``--rollup-of 1000000000`` asks a 1-hour rollup of so many events as well, whose
events are drawn and counted but never stored. Results go to ``bench/results/rollups-<millions>m``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from bench import bed
from millrace.lab import engines
from millrace.settings import Settings
from millrace.transform import project

MILLION = 1_000_000
DAYS = 7
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
START = MIDNIGHT - timedelta(days=DAYS - 1)
"""The newest events are of these hours, as live ones are."""
MODELS = [
    "stg_events", "metrics_1min", "metrics_5min", "metrics_1h", "page_views_1min", "page_views_1h",
    "page_views_1d", "top_pages",
    "int_session_versions", "int_user_activity_versions", "int_user_day_versions",
    "int_unique_user_versions_5min", "int_unique_user_versions_1h", "int_funnel_versions",
]  # fmt: skip
INCREMENTAL = [name for name in MODELS if name.startswith("int_")]

COUNTRIES = {
    "US": 30, "DE": 9, "GB": 8, "FR": 6, "IN": 10, "BR": 7, "JP": 6, "CA": 4, "AU": 3, "ES": 3,
    "IT": 3, "NL": 2, "PL": 2, "SE": 1, "MX": 2, "ZA": 1, "KR": 2, "NZ": 1,
}  # fmt: skip
DEVICES = {"mobile": 58, "desktop": 36, "tablet": 6}
TYPES = {
    "page_view": 74, "click": 13, "search": 5, "add_to_cart": 4, "purchase": 1, "login": 2,
    "signup": 1,
}  # fmt: skip
"""Shares in per cent, those of ``millrace simulate``."""


def _of(shares: dict[str, int], draw: str) -> str:
    names = [name for name, share in shares.items() for _ in range(share)]
    return f"{names}[1 + {draw} % {len(names)}]"


# A visit is eight events within ten minutes; few people come often; pages follow Zipf's law.
TRAFFIC = f"""
SELECT
    number,
    {{start:DateTime64(3, 'UTC')}} + toIntervalMillisecond(
        toUInt64(number * {{step_ms:Float64}})
    ) AS event_time,
    intDiv(number, {{visit:UInt64}}) * 1000000 + rand(1) % intDiv({{visit:UInt64}} + 7, 8) AS visit,
    toUInt64(
        1000003 + 7 * floor({{users:UInt64}} * pow(sipHash64(visit) / 18446744073709551616, 2.5))
    ) AS user_id,
    {_of(TYPES, "rand(2)")} AS event_type,
    toUInt32(exp(rand(3) / 4294967296 * log(400))) AS page_number,
    if(page_number = 1, '/', '/product/' || toString(page_number)) AS page,
    {_of(COUNTRIES, "intHash64(user_id)")} AS country,
    {_of(DEVICES, "intHash64(user_id + 1)")} AS device,
    multiIf(
        event_type = 'click', map('element', ['buy', 'gallery-next', 'review'][1 + rand(4) % 3]),
        event_type = 'search', map('query', 'word' || toString(rand(4) % 5000)),
        event_type = 'purchase', map('amount', toString(rand(4) % 50000 / 100), 'currency', 'EUR'),
        map()
    ) AS properties,
    generateUUIDv4() AS event_id
FROM numbers_mt({{first:UInt64}}, {{rows:UInt64}})
"""

STORE = f"""
INSERT INTO {{target}}
SELECT
    event_id, event_time, event_type, user_id, page, country, device, properties, map(), map(), [],
    event_time, now64(3), 'events', 'events', 0, number % 6, intDiv(number, 6),
    intDiv(number, 100000)
FROM ({TRAFFIC})
"""

KEEP = f"""
INSERT INTO raw_events
SELECT
    'events', 'events', 0, number % 6, intDiv(number, 6), event_time, toString(user_id),
    '{{"event_id":"' || toString(event_id) || '","event":"' || event_type
        || '","timestamp":"' || formatDateTime(event_time, '%Y-%m-%dT%H:%i:%S.%fZ')
        || '","user_id":' || toString(user_id) || ',"page":"' || page
        || '","country":"' || country || '","device":"' || device || '"'
        || arrayStringConcat(
            arrayMap((k, v) -> concat(',"', k, '":"', v, '"'), mapKeys(properties),
                mapValues(properties))
        ) || '}}',
    '', intDiv(number, 100000), now64(3)
FROM ({TRAFFIC})
"""

COUNT = f"""
INSERT INTO {{target}}
SELECT toStartOfHour(event_time) AS window_start, event_type, country, device, count() AS events
FROM ({TRAFFIC})
GROUP BY ALL
"""

HOURS = "window_start >= {since:DateTime('UTC')} AND window_start < {until:DateTime('UTC')}"
EVENTS = HOURS.replace("window_start", "event_time").replace("DateTime(", "DateTime64(3, ")
WHOLE_DAYS = "day >= toDate({since:DateTime('UTC')}) AND day < toDate({until:DateTime('UTC')})"
QUESTIONS = {
    "7 days by hour": (
        f"SELECT window_start AS k, sum(events) FROM analytics.metrics_1h WHERE {HOURS}"
        " GROUP BY k ORDER BY k",
        f"SELECT toStartOfHour(event_time) AS k, count() FROM events WHERE {EVENTS}"
        " GROUP BY k ORDER BY k",
    ),
    "by country": (
        f"SELECT country AS k, sum(events) FROM analytics.metrics_1h WHERE {HOURS}"
        " GROUP BY k ORDER BY 2 DESC, k",
        f"SELECT country AS k, count() FROM events WHERE {EVENTS} GROUP BY k ORDER BY 2 DESC, k",
    ),
    "top pages": (
        f"SELECT page AS k, sum(page_views) FROM analytics.top_pages WHERE {WHOLE_DAYS}"
        " GROUP BY k ORDER BY 2 DESC, k LIMIT 20",
        f"SELECT page AS k, count() FROM events WHERE {EVENTS} AND event_type = 'page_view'"
        " GROUP BY k ORDER BY 2 DESC, k LIMIT 20",
    ),
    "by hour on mobile": (
        f"SELECT window_start AS k, sum(events) FROM analytics.metrics_1h WHERE {HOURS}"
        " AND device = 'mobile' GROUP BY k ORDER BY k",
        f"SELECT toStartOfHour(event_time) AS k, count() FROM events WHERE {EVENTS}"
        " AND device = 'mobile' GROUP BY k ORDER BY k",
    ),
    "top pages on mobile": (
        f"SELECT page AS k, sum(page_views) FROM analytics.page_views_1d WHERE {HOURS}"
        " AND device = 'mobile' GROUP BY k ORDER BY 2 DESC, k LIMIT 20",
        f"SELECT page AS k, count() FROM events WHERE {EVENTS} AND event_type = 'page_view'"
        " AND device = 'mobile' GROUP BY k ORDER BY 2 DESC, k LIMIT 20",
    ),
}
"""Each question on seven days: asked of a rollup, and of raw events."""


def main() -> None:
    """Run the benchmark and write its results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=10 * MILLION)
    parser.add_argument("--repeat", type=int, default=200, help="times each question is asked")
    parser.add_argument("--rollup-of", type=int, default=0, help="events counted into a rollup")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder,
        engines.running(Path(folder) / "clickhouse") as engine,
    ):
        settings = Settings(home=Path(folder), clickhouse_url=engine.settings_url)
        bench = Bench(settings, engine.process.pid, options.events)
        result = bench.measure(options.repeat)
        if options.rollup_of:
            result |= bench.rollup_of(options.rollup_of, options.repeat)
    bed.write(f"rollups-{options.events // MILLION}m", result)


class Bench:
    """An engine, and how many events have been drawn for it."""

    def __init__(self, settings: Settings, pid: int, events: int) -> None:
        self.settings = settings
        self.pid = pid
        self.events = events
        self.drawn = 0
        self.client = bed.await_engine(settings)

    def measure(self, repeat: int) -> dict[str, Any]:
        """Return every measurement of one run."""
        result: dict[str, Any] = {"events": self.events}
        say("without rollups")
        self.client.command("CREATE TABLE generated AS events ENGINE = Null")
        result["draw_a_million"] = self.cost(lambda: self.insert(MILLION, "generated"))
        self.drawn = 0
        history = self.events - 3 * MILLION
        result["insert_history"] = self.cost(lambda: self.insert(history, block=MILLION))
        result["insert_a_million_without_rollups"] = self.cost(lambda: self.insert(MILLION))
        say("models")
        result["build_history"] = self.cost(lambda: self.build(MODELS))
        say("with rollups")
        result["insert_a_million_with_rollups"] = self.cost(lambda: self.insert(MILLION))
        self.build(INCREMENTAL)
        self.insert(MILLION)
        result["build_after_a_million_new_events"] = self.cost(lambda: self.build(INCREMENTAL))
        result["build_with_nothing_new"] = self.cost(lambda: self.build(INCREMENTAL))
        say("questions")
        bed.settle(self.client)
        result["questions_ms"] = {
            name: self.compare(name, on_rollup, on_raw, repeat)
            for name, (on_rollup, on_raw) in QUESTIONS.items()
        }
        result["rows"] = self.table_sums("sum(rows)")
        result["bytes_per_million_events"] = self.storage()
        return result

    def insert(self, rows: int, target: str = "events", block: int = 200_000) -> None:
        """Draw the next ``rows`` events into a table, in blocks as ingest's micro-batches are."""
        for _ in range(rows // block):
            self.draw(STORE.replace("{target}", target), block)

    def draw(self, statement: str, rows: int, days: int = DAYS, events: int = 0) -> None:
        """Run a statement on the next ``rows`` events of a stream of ``events`` in ``days``."""
        events = events or self.events
        parameters = {
            "start": START, "first": self.drawn, "rows": rows, "users": max(events // 20, 50_000),
            "step_ms": days * 86_400_000 / events, "visit": max(events // (days * 144), 8),
        }  # fmt: skip
        one_block = {"max_block_size": rows, "min_insert_block_size_rows": rows}
        settings = one_block if rows <= MILLION else {}
        self.client.command(statement, parameters=parameters, settings=settings)
        self.drawn += rows

    def build(self, names: list[str]) -> dict[str, float]:
        """Run models; return the seconds of each."""
        self.client.command(
            "INSERT INTO published_through (published_through) SELECT now64(3) + 0.001"
        )
        variables = project.environment(self.settings, project.PRODUCTION)
        done = project.run(["run", "--select", *names], variables)
        return {r.node.name: round(r.execution_time, 2) for r in done.results}

    def cost(self, work: Callable[[], dict[str, float] | None]) -> dict[str, Any]:
        """Return how long some work took, and the engine's CPU."""
        cpu, wall = bed.cpu_seconds(self.pid), time.perf_counter()
        parts = work()
        found: dict[str, Any] = {
            "seconds": round(time.perf_counter() - wall, 2),
            "engine_cpu_seconds": round(bed.cpu_seconds(self.pid) - cpu, 2),
        }
        return found | ({"seconds_by_model": parts} if parts else {})

    def compare(self, name: str, on_rollup: str, on_raw: str, repeat: int) -> dict[str, Any]:
        """Ask the same of a rollup and of raw events."""
        span = {"since": START, "until": START + timedelta(days=DAYS)}
        if (
            self.client.query(on_rollup, parameters=span).result_rows
            != self.client.query(on_raw, parameters=span).result_rows
        ):
            raise RuntimeError(f"{name}: rollups and raw events disagree")
        return {
            "rollup": ask(self.client, on_rollup, span, repeat),
            "raw": ask(self.client, on_raw, span, 5),
        }

    def table_sums(self, expression: str) -> dict[str, int]:
        """Return a sum over the active parts of each table that is not tiny."""
        rows = self.client.query(
            f"SELECT table, {expression} FROM system.parts"
            " WHERE active AND database IN ('millrace', 'analytics')"
            " GROUP BY table HAVING sum(rows) > 1000 ORDER BY 2 DESC"
        ).result_rows
        return {table: int(value) for table, value in rows}

    def storage(self) -> dict[str, Any]:
        """Return bytes on disk per million events of each table, and of the events as JSON."""
        stored = self.client.query("SELECT count() FROM events").result_rows[0][0]
        sizes = {
            table: int(size * MILLION / stored)
            for table, size in self.table_sums("sum(bytes_on_disk)").items()
        }
        for _ in range(5):
            self.draw(KEEP, MILLION // 5)
        self.client.command("OPTIMIZE TABLE raw_events FINAL")
        json_bytes = self.client.query("SELECT sum(length(value)) FROM raw_events").result_rows
        columns = self.client.query(
            "SELECT column, sum(column_bytes_on_disk) FROM system.parts_columns"
            " WHERE active AND database = 'millrace' AND table = 'events' GROUP BY column"
            " ORDER BY 2 DESC LIMIT 8"
        ).result_rows
        rollups = sum(size for table, size in sizes.items() if table != "events")
        return {
            "json": json_bytes[0][0],
            "raw_events": self.table_sums("sum(bytes_on_disk)")["raw_events"],
            **sizes,
            "json_to_events": round(json_bytes[0][0] / sizes["events"], 1),
            "json_to_events_and_models": round(json_bytes[0][0] / (sizes["events"] + rollups), 1),
            "events_by_column": {name: int(size * MILLION / stored) for name, size in columns},
        }

    def rollup_of(self, events: int, repeat: int, days: int = 90) -> dict[str, Any]:
        """Ask a 1-hour rollup of ``events`` events in ``days``, which are counted, not stored."""
        say(f"a rollup of {events:,} events")
        table = "analytics.metrics_1h_of_many"
        self.client.command(f"CREATE TABLE {table} AS analytics.metrics_1h")
        self.drawn, step = 0, 10 * MILLION

        def fill() -> None:
            for _ in range(events // step):
                self.draw(COUNT.replace("{target}", table), step, days, events)

        spent = self.cost(fill)
        self.client.command(f"OPTIMIZE TABLE {table} FINAL")
        found: dict[str, Any] = {}
        for length in (7, days):
            span = {"since": START, "until": START + timedelta(days=length)}
            for name in ("7 days by hour", "by country", "by hour on mobile"):
                question = QUESTIONS[name][0].replace("analytics.metrics_1h", table)
                title = f"{name.removeprefix('7 days ')}, {length} days"
                found[title] = ask(self.client, question, span, repeat)
        return {
            "rollup_of_many": {
                "events": events,
                "days": days,
                "fill": spent,
                "rows": self.table_sums("sum(rows)")["metrics_1h_of_many"],
                "bytes": self.table_sums("sum(bytes_on_disk)")["metrics_1h_of_many"],
                "questions_ms": found,
            }
        }


def ask(client: Client, query: str, parameters: dict[str, Any], times: int) -> dict[str, float]:
    """Ask a question several times; return milliseconds seen by the client."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        client.query(query, parameters=parameters)
        taken.append((time.perf_counter() - begin) * 1000)
    return {
        "median": round(statistics.median(taken), 1),
        "p99": round(sorted(taken)[max(0, -(-len(taken) * 99 // 100) - 1)], 1),
    }


def say(what: str) -> None:
    """Tell on standard error what goes on."""
    print(f"{time.strftime('%X')} {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
