"""How fast ingest loads, what that costs, and how far it is from the limits of its parts.

``./millrace bench ingest --help``. Starts a stack of its own. A slice at a time keeps runs short:

- ``rate``: a backlog of short events, and one of long events, loaded with ids held.
- ``limits``: Kafka's own consumer, and the engine's raw insert and INSERT SELECT, alone.
- ``operator``: Airflow's ConsumeFromTopicOperator with a callback that inserts, on the same topic.
- ``sizes``: the same load with 1, 10 and 50 million events in the tables.
- ``verified``: many events, sent while they are loaded, and held against the sender's manifest.
- ``handover``: from the last load of a run to the first of the next, which takes over.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import statistics
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import pyarrow as pa
import typer
from clickhouse_connect.driver.client import Client
from confluent_kafka import Message

from bench import bed
from millrace.ingest.warehouse import arrow_stream
from millrace.lab.simulate import faults, send
from millrace.lab.verify import simulation
from millrace.settings import Settings
from millrace.stack import kafka as broker
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, postgres

app = typer.Typer(help=__doc__, no_args_is_help=True)
Events = Annotated[int, typer.Option(help="Messages to load.")]
Held = Annotated[int, typer.Option(help="Event ids held beforehand.")]


@app.command()
def rate(events: Events = 4_000_000, long: int = 500_000, held: Held = 10_000_000) -> None:
    """Load a backlog; short events of about 190 bytes, then long ones of 1.6 KB."""
    with bed.running() as stack:
        bed.hold_ids(stack.settings, held)
        warm_up(stack)
        bed.send(stack.settings, events, seed=1)
        short = bed.load(stack)
        bed.send(stack.settings, long, seed=2, padding=1_400)
        bed.write(
            "ingest_rate",
            {
                "ids_held": held,
                "short_events": short,
                "long_events": bed.load(stack),
                "checks": checks(stack.settings),
            },
        )


@app.command()
def limits(events: Events = 2_000_000) -> None:
    """Measure the parts alone, on the same messages."""
    with bed.running() as stack:
        settings = stack.settings
        warm_up(stack)
        bed.send(settings, events, seed=1)
        loaded = bed.load(stack)
        consumed = consumer_perf(settings, events)
        raw, selected = engine_alone(settings, events)
        ours = loaded["messages_per_second"]
        bed.write(
            "ingest_limits",
            {
                "millrace": loaded,
                "kafka_consumer_perf_messages_per_second": consumed,
                "engine_raw_insert_rows_per_second": raw,
                "engine_insert_select_rows_per_second": selected,
                "millrace_share_of": {
                    "consumer_perf": round(ours / consumed, 2),
                    "raw_insert": round(ours / raw, 2),
                    "insert_select": round(ours / selected, 2),
                },
            },
        )


@app.command()
def operator(events: Events = 2_000_000, theirs: int = 200_000) -> None:
    """Compare with Airflow's operator, which gets the first ``theirs`` of the same messages.

    Its callback does nearest to the same (keep what came, parse, insert as events with the minute
    rollup), what is usual (parse, insert as events) or the least (insert what came), in batches of
    its default size or of 10,000. There are no faults among the messages: the first
    string that is not UTF-8 would end such a callback.
    """
    with bed.running() as stack:
        warm_up(stack, with_faults=False)
        bed.send(stack.settings, events, seed=1, with_faults=False)
        ours = bed.load(stack)
        found: dict[str, Any] = {}
        for name, insert in (
            ("kept, events, rollup", insert_kept),
            ("events", insert_parsed),
            ("raw", insert_raw),
        ):
            for batch in (1_000, 10_000):
                rate = consume_with_operator(stack.settings, theirs, insert, batch)
                found[f"{name}, batches of {batch}"] = {
                    "messages_per_second": round(rate),
                    "millrace_ratio": round(ours["messages_per_second"] / rate, 1),
                }
        bed.write("ingest_operator", {"millrace": ours, "operator": found})


@app.command()
def sizes(events: Events = 2_000_000, steps: str = "1,10,50") -> None:
    """Load the same number of messages with more and more events in the tables."""
    with bed.running() as stack:
        warm_up(stack)
        found: dict[str, Any] = {}
        held = 0
        for step in map(int, steps.split(",")):
            bed.hold_ids(stack.settings, step * 1_000_000 - held)
            held = step * 1_000_000
            bed.send(stack.settings, events, seed=step)
            found[f"{step} million"] = bed.load(stack)
        rates = [f["messages_per_second"] for f in found.values()]
        found["slowest_to_fastest"] = round(min(rates) / max(rates), 2)
        bed.write("ingest_sizes", found)


@app.command()
def verified(events: Events = 10_000_000, held: Held = 16_000_000) -> None:
    """Send while workers load, then let ``verify`` hold everything against the manifest."""
    with bed.running() as stack:
        settings = stack.settings
        bed.hold_ids(settings, held)
        warm_up(stack)
        began = time.monotonic()
        with bed.loading(settings):
            manifest = send.run(
                send.Plan(seed=10, rates=faults.rates({}), rate=0, duration=3600, total=events),
                settings,
                topic=settings.events_topic,
            )
            sent_after = time.monotonic() - began
            report = simulation.verify(manifest, settings, wait_seconds=600)
        bed.write(
            "ingest_verified",
            {
                "messages": manifest.sent,
                "sent_after_seconds": round(sent_after, 1),
                "verified_after_seconds": round(time.monotonic() - began, 1),
                "differences": report.differences,
                "checks": {c.name: c.compared or f"skipped: {c.skipped}" for c in report.checks},
                "conserved": checks(settings),
            },
        )


@app.command()
def handover(runs: int = 4, rate: int = 1_000, seconds: float = 10) -> None:
    """Begin run after run while the last one loads, under traffic, as the DAG does."""
    with bed.running() as stack:
        settings = stack.settings
        warm_up(stack)
        plan = send.Plan(seed=11, rates=faults.rates({}), rate=rate, duration=3_600)
        ended = threading.Event()
        traffic = threading.Thread(
            target=send.run,
            args=(plan, settings),
            kwargs={"topic": settings.events_topic, "stop": ended},
        )
        traffic.start()
        with contextlib.ExitStack() as begun:
            run_ids = []
            for _ in range(runs):
                run_ids.append(begun.enter_context(bed.loading(settings)))
                time.sleep(seconds)  # how long traffic goes on is what is chosen here
            ended.set()
            traffic.join()
        with postgres.connect(settings) as connection:
            rows = connection.execute(
                "SELECT split_part(owner, '/', 1) AS run, split_part(owner, '/', 2) AS task, "
                "extract(epoch FROM loaded_at)::float8 AS at FROM ingest_batches "
                "WHERE split_part(owner, '/', 1) = ANY(%s) ORDER BY task, loaded_at",
                [run_ids],
            ).fetchall()
        pairs = [(a, b) for a, b in itertools.pairwise(rows) if a["task"] == b["task"]]
        within = [b["at"] - a["at"] for a, b in pairs if a["run"] == b["run"]]
        between = [b["at"] - a["at"] for a, b in pairs if a["run"] != b["run"]]
        bed.write(
            "ingest_handover",
            {
                "messages_per_second": rate,
                "seconds_from_load_to_load": {
                    "median": round(statistics.median(within), 2),
                    "longest": round(max(within), 2),
                    "at_a_handover": [round(gap, 2) for gap in between],
                },
            },
        )


def warm_up(stack: Stack, *, with_faults: bool = True) -> None:
    """Load a little, so that no server measures its own start."""
    bed.send(stack.settings, 200_000, seed=99, with_faults=with_faults)
    bed.load(stack)


def checks(settings: Settings) -> dict[str, Any]:
    """Hold what was loaded against itself: kept messages, verdicts, and the rollup."""
    client = clickhouse.connect(settings)
    numbers = {
        "kept": "SELECT count() FROM raw_events",
        "places_kept": "SELECT uniqExact(partition, offset) FROM raw_events",
        "events": "SELECT count() FROM events WHERE topic = 'events'",
        "rejected": "SELECT count() FROM rejected_events",
        "rolled_up": "SELECT sum(events) FROM bench_minute",
        "all_events": "SELECT count() FROM events",
    }
    found: dict[str, Any] = {name: int(str(client.command(q))) for name, q in numbers.items()}
    client.close()
    found["is_conserved"] = (
        found["kept"] == found["places_kept"] == found["events"] + found["rejected"]
        and found["rolled_up"] == found["all_events"]
    )
    return found


def consumer_perf(settings: Settings, events: int) -> float:
    """Return the rate of Kafka's own consumer benchmark on the topic."""
    done = subprocess.run(
        [
            *(broker.java(), "-cp", f"{broker.jars()}/*"),
            "org.apache.kafka.tools.ConsumerPerformance",
            *("--bootstrap-server", settings.kafka_bootstrap_servers),
            *("--topic", settings.events_topic, "--num-records", str(events)),
            *("--timeout", "60000", "--show-detailed-stats", "--reporting-interval", "500"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    # time, id, MB, MB/s, messages, messages/s, …: the median of the intervals after the first
    rows = [line.split(", ") for line in done.stdout.splitlines() if re.match(r"\d{4}-", line)]
    rates = sorted(float(row[5]) for row in rows[1:])
    return round(rates[len(rates) // 2])


def engine_alone(settings: Settings, events: int) -> tuple[float, float]:
    """Return the rates of Arrow into the raw table's like, and of INSERT SELECT from there."""
    client = clickhouse.connect(settings)
    table = client.query_arrow(
        f"SELECT partition, offset, key, value FROM raw_events LIMIT {min(events, 1_000_000)}",
        settings={"output_format_arrow_string_as_string": 0},
    )
    for name in ("bench_raw", "bench_copy"):
        client.command(
            f"CREATE TABLE {name} (partition UInt32, offset UInt64, key String, value String) "
            "ENGINE = MergeTree ORDER BY (partition, offset)"
        )
    blocks = [b"".join(arrow_stream(piece)) for piece in _slices(table, 100_000)]
    began = time.monotonic()
    for block in blocks:
        client.raw_insert("bench_raw", table.column_names, block, fmt="ArrowStream")
    raw = table.num_rows / (time.monotonic() - began)
    began = time.monotonic()
    client.command("INSERT INTO bench_copy SELECT * FROM bench_raw")
    selected = table.num_rows / (time.monotonic() - began)
    client.close()
    return round(raw), round(selected)


def _slices(table: pa.Table, rows: int) -> list[pa.Table]:
    return [table.slice(first, rows) for first in range(0, table.num_rows, rows)]


def consume_with_operator(
    settings: Settings, events: int, insert: Callable[[Client, list[Message]], None], batch: int
) -> float:
    """Return the rate of Airflow's operator with a batch callback that inserts.

    It does less: no duplicate check, no ledger, no rejected messages, no rollup by the same token.
    """
    from airflow.providers.apache.kafka.operators.consume import ConsumeFromTopicOperator

    client = clickhouse.connect(settings)
    client.command(
        "CREATE OR REPLACE TABLE bench_raw (partition UInt32, offset UInt64, key String, "
        "value String) ENGINE = MergeTree ORDER BY (partition, offset)"
    )
    client.command("CREATE OR REPLACE TABLE bench_events AS events")
    client.command("DROP TABLE IF EXISTS bench_events_view")
    if insert is insert_kept:
        view = client.command(
            "SELECT as_select FROM system.tables WHERE name = 'bench_minute_view'"
        )
        client.command(
            "CREATE MATERIALIZED VIEW bench_events_view TO bench_minute AS "
            + str(view).replace(".events ", ".bench_events ")
        )
    config = {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        "group.id": f"bench-operator-{time.time_ns()}",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    with bed.stacks.variables(
        {"AIRFLOW_CONN_BENCH_KAFKA": json.dumps({"conn_type": "kafka", "extra": config})}
    ):
        consume = ConsumeFromTopicOperator(
            task_id="consume",
            kafka_config_id="bench_kafka",
            topics=[settings.events_topic],
            apply_function_batch=lambda messages: insert(client, messages),
            max_messages=events,
            max_batch_size=batch,
            poll_timeout=5,
        )
        began = time.monotonic()
        consume.execute({})
        seconds = time.monotonic() - began
    client.close()
    return events / seconds


def insert_raw(client: Client, messages: list[Message]) -> None:
    """Insert messages as they came."""
    client.insert(
        "bench_raw",
        [[m.partition(), m.offset(), m.key() or b"", m.value() or b""] for m in messages],
        column_names=["partition", "offset", "key", "value"],
    )


def insert_kept(client: Client, messages: list[Message]) -> None:
    """Keep messages as they came, then parse and insert them."""
    insert_raw(client, messages)
    insert_parsed(client, messages)


CONTRACT = {"event_id", "timestamp", "event", "user_id", "page", "country", "device"}


def insert_parsed(client: Client, messages: list[Message]) -> None:
    """Parse messages, drop those that do not fit, and insert the rest as events."""
    rows = []
    for message in messages:
        try:
            found = json.loads(message.value() or b"")
            rows.append(
                [
                    uuid.UUID(found["event_id"]),
                    datetime.fromisoformat(found["timestamp"]),
                    found["event"],
                    int(found["user_id"]),
                    found["page"],
                    found.get("country") or "",
                    found["device"],
                    {name: str(value) for name, value in found.items() if name not in CONTRACT},
                    message.partition(),
                    message.offset(),
                ]
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    client.insert(
        "bench_events",
        rows,
        column_names=[
            *("event_id", "event_time", "event_type", "user_id", "page", "country", "device"),
            *("properties", "partition", "offset"),
        ],
    )


if __name__ == "__main__":
    app()
