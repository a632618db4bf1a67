"""How soon the query API answers, and what an answer costs: ``./millrace bench query_api``.

Starts a stack of its own with rollups of 100 million events of seven days, which are drawn and
counted, not stored, and 1,000 events/s arriving meanwhile. Misses are questions that were never
asked; beside them, such statements are sent to ClickHouse directly, and ClickHouse says how long
the questions' own took it. Hits are asked again: of the process, of Redis where the other process
computed, and with the ETag (304). A Zipf mix of 1,000 dashboards of 12 panels is asked 50 times a
second, and 10,000 connections are held that ask every ten seconds. Hits and the mix are measured
again while one event in a hundred comes late, into the last days. Before the mix and the
connections, each question was asked once.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from bench import bed, rollups
from bench.asking import Connection, Server, questions, serving
from millrace.stack.stack import Stack
from millrace.stores import clickhouse
from millrace.transform import deploy

MILLION = 1_000_000
PAGES = """
INSERT INTO analytics.page_views_1min
SELECT toStartOfMinute(event_time), page, country, device, count()
FROM ({traffic}) WHERE event_type = 'page_view' GROUP BY ALL
"""
MINUTES = """
INSERT INTO analytics.metrics_1min
SELECT toStartOfMinute(event_time), event_type, country, device, count()
FROM ({traffic}) GROUP BY ALL
"""
DASHBOARDS, PANELS = 1_000, 12
ARRIVING = 1_000

app = typer.Typer(help=__doc__)


@app.command()
def query_api(
    events: Annotated[int, typer.Option(help="Events that the rollups are of, in millions.")] = 100,
    seconds: Annotated[int, typer.Option(help="How long the mix is asked.")] = 60,
    connections: Annotated[int, typer.Option(help="Connections that are held.")] = 10_000,
) -> None:
    """Ask in every way, one after another."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    own = {"MILLRACE_QUERY_REQUESTS_PER_MINUTE": "100000000", "MILLRACE_QUERY_WORKERS": "2"}
    result: dict[str, Any] = {"events": events * MILLION}
    with bed.running(**own) as stack:
        fill(stack, events * MILLION)
        with serving(stack) as server:
            with arriving(stack):
                asyncio.run(measure(result, stack, server, seconds, connections))
            with arriving(stack, "--fault", "late=0.01"):
                asyncio.run(measure_with_late_events(result, server, seconds))
    bed.write("query_api", result)


def fill(stack: Stack, events: int) -> None:
    """Deploy the models, and count so many events into the rollups."""
    deploy.deploy(stack.settings)
    step = 10 * MILLION
    with clickhouse.connect(stack.settings) as client:
        for first in range(0, events, step):
            rows = min(step, events - first)
            parameters = {
                "start": rollups.START, "first": first, "rows": rows, "users": events // 20,
                "step_ms": rollups.DAYS * 86_400_000 / events,
                "visit": max(events // (rollups.DAYS * 144), 8),
            }  # fmt: skip
            for statement in (MINUTES, PAGES):
                client.command(
                    statement.replace("{traffic}", rollups.TRAFFIC), parameters=parameters
                )
        bed.settle(client)


@contextmanager
def arriving(stack: Stack, *faults: str) -> Iterator[None]:
    """Have 1,000 events a second arrive and be loaded, without faults but those that are given."""
    command = [
        *(sys.executable, "-m", "millrace.cli", "simulate"),
        *("--rate", str(ARRIVING), "--no-faults", *faults),
    ]
    with bed.loading(stack.settings):
        sender = subprocess.Popen(
            [*command, "--duration", "36000", "--to", "kafka"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            sender.send_signal(signal.SIGINT)
            sender.wait()


def noted(result: dict[str, Any], name: str, found: Any) -> None:
    """Keep a measurement, and show it."""
    result[name] = found
    typer.echo(f"{name}: {found}")


async def measure(
    result: dict[str, Any], stack: Stack, server: Server, seconds: int, connections: int
) -> None:
    """Measure everything while all events come in time; each is shown as soon as it is there."""
    asked, kept = questions(300, 1), [{**one, "max_age": "60"} for one in questions(300, 1)]
    noted(result, "miss_ms", await in_turn(server, asked))
    noted(result, "miss_in_clickhouse_ms", await asyncio.to_thread(statements, stack))
    direct = spread(await asyncio.to_thread(plain_statements, stack, 300))
    noted(result, "direct_ms", direct)
    noted(result, "again_ms", await in_turn(server, asked))
    noted(result, "hit_ms", await in_turn(server, kept, times=6))
    noted(result, "not_modified_ms", await in_turn(server, kept, with_etag=True))
    noted(result, "hits_per_cpu_second", await throughput(server, kept[:50]))
    noted(result, "stampede", await stampede(stack, server))
    noted(result, "mix", await mix(server, seconds))
    noted(result, "connections", await many(server, connections, seconds))


async def measure_with_late_events(result: dict[str, Any], server: Server, seconds: int) -> None:
    """Measure what late events change."""
    asked, kept = questions(300, 1), [{**one, "max_age": "60"} for one in questions(300, 1)]
    noted(result, "again_with_late_events_ms", await in_turn(server, asked))
    noted(result, "hit_with_late_events_ms", await in_turn(server, kept, times=2))
    noted(result, "mix_with_late_events", await mix(server, seconds))


async def in_turn(
    server: Server,
    asked: Sequence[dict[str, str]],
    *,
    times: int = 1,
    with_etag: bool = False,
) -> dict[str, Any]:
    """Ask one question after another; return milliseconds by the layer that answered.

    Each of several ``times`` is on a connection of its own, which may be to the other process.
    """
    took: dict[str, list[float]] = {}
    for _ in range(times):
        connection = Connection(server)
        await connection.open()
        for one in asked:
            etag = (await connection.ask(one))[3] if with_etag else ""
            spent, layer, _, _ = await connection.ask(one, etag)
            took.setdefault(layer, []).append(spent)
        connection.close()
    return {layer: spread(found) for layer, found in took.items()}


def statements(stack: Stack) -> dict[str, Any]:
    """Return how long the questions' statements took ClickHouse, by its own log."""
    with clickhouse.connect(stack.settings) as client:
        client.command("SYSTEM FLUSH LOGS")
        found = client.query(
            "SELECT query_duration_ms / 1000 FROM system.query_log WHERE type = 'QueryFinish'"
            " AND user = 'query' AND query LIKE '%window_start%' AND query LIKE '%analytics.%'"
            " AND query NOT LIKE '%system.%'"
        ).result_rows
    return spread([row[0] for row in found])


def plain_statements(stack: Stack, count: int) -> list[float]:
    """Ask ClickHouse itself for what a panel shows; return how long each took."""
    took = []
    with clickhouse.connect(stack.settings, "query") as client:
        for number in range(count):
            country = list(rollups.COUNTRIES)[number % len(rollups.COUNTRIES)]
            began = time.perf_counter()
            client.query(
                "SELECT window_start AS k, sum(events) FROM analytics.metrics_1h"
                f" WHERE {rollups.HOURS}"
                " AND country = {country:String} GROUP BY k ORDER BY k",
                parameters={
                    "since": rollups.START, "until": rollups.MIDNIGHT, "country": country,
                },
            )  # fmt: skip
            took.append(time.perf_counter() - began)
    return took


async def throughput(server: Server, asked: Sequence[dict[str, str]]) -> int:
    """Return how many answers that are kept a second of the server's processor gives."""
    numbers = itertools.count()
    until = time.monotonic() + 8
    before = server.cpu()
    done = 0

    async def client() -> None:
        nonlocal done
        connection = Connection(server)
        await connection.open()
        while time.monotonic() < until:
            await connection.ask(asked[next(numbers) % len(asked)])
            done += 1
        connection.close()

    await asyncio.gather(*(client() for _ in range(16)))
    return round(done / (server.cpu() - before))


async def stampede(stack: Stack, server: Server) -> dict[str, Any]:
    """Ask what nobody asked before 1,000 times at once; return statements and times."""
    connections = [Connection(server) for _ in range(1_000)]
    await asyncio.gather(*(one.open() for one in connections))
    days = f"{rollups.START:%Y-%m-%d}/{rollups.MIDNIGHT - timedelta(days=1):%Y-%m-%d}"
    asked = {"name": "page_views", "range": days, "interval": "1h", "filter": "country:NZ"}
    began = datetime.now(UTC)
    took = [one[0] for one in await asyncio.gather(*(one.ask(asked) for one in connections))]
    until = datetime.now(UTC)
    for one in connections:
        one.close()
    with clickhouse.connect(stack.settings) as client:
        client.command("SYSTEM FLUSH LOGS")
        statements = client.query(
            "SELECT count() FROM system.query_log WHERE type = 'QueryFinish'"
            " AND user = 'query' AND query LIKE '%AS bucket%'"
            " AND event_time_microseconds BETWEEN {began:DateTime64(6)} AND {until:DateTime64(6)}",
            parameters={"began": began, "until": until},
        ).result_rows[0][0]
    return spread(took) | {"seconds": (until - began).total_seconds(), "statements": statements}


async def warmed(server: Server, asked: Sequence[dict[str, str]]) -> None:
    """Ask each once: what is measured is a day's traffic, not its first minute."""
    numbers = iter(asked)

    async def client() -> None:
        connection = Connection(server)
        await connection.open()
        for one in numbers:
            await connection.ask({**one, "max_age": "60"})
        connection.close()

    await asyncio.gather(*(client() for _ in range(8)))


async def mix(server: Server, seconds: int) -> dict[str, Any]:
    """Ask panels of dashboards, few of them often, 50 times a second."""
    panels = questions(DASHBOARDS * PANELS // 4, 2)  # a panel is on several dashboards
    await warmed(server, panels)
    draw = random.Random(3)
    boards = [draw.sample(panels, PANELS) for _ in range(DASHBOARDS)]
    weights = [1 / (rank + 1) for rank in range(DASHBOARDS)]
    idle = asyncio.Queue[Connection]()
    for _ in range(32):
        connection = Connection(server)
        await connection.open()
        idle.put_nowait(connection)
    took: dict[str, list[float]] = {}

    async def one(asked: dict[str, str]) -> None:
        connection = await idle.get()
        spent, layer, _, _ = await connection.ask({**asked, "max_age": "60"})
        idle.put_nowait(connection)
        is_closed = asked["range"] == "last_week"
        took.setdefault(f"{'closed' if is_closed else 'open'} {layer}", []).append(spent)

    before = server.pieces()
    began, running = time.monotonic(), []
    for number in range(seconds * 50):
        board = draw.choices(boards, weights)[0]
        running.append(asyncio.create_task(one(board[number % PANELS])))
        await asyncio.sleep(max(0.0, began + (number + 1) / 50 - time.monotonic()))
    await asyncio.gather(*running)
    pieces = server.pieces() - before
    computed = sum(len(found) for name, found in took.items() if name.endswith("computed"))
    return spread(list(itertools.chain.from_iterable(took.values()))) | {
        "hits_percent": round(100 * (1 - computed / len(running)), 1),
        "pieces": dict(pieces),
        "pieces_kept_percent": round(100 * (1 - pieces["computed"] / pieces.total()), 1),
        "by_layer": {name: spread(found) for name, found in sorted(took.items())},
    }


async def many(server: Server, count: int, seconds: int) -> dict[str, Any]:
    """Hold connections, each of which asks, thinks for ten seconds, and asks again."""
    asked = questions(2_000, 4)
    await warmed(server, asked)
    weights = [1 / (rank + 1) for rank in range(len(asked))]
    draw = random.Random(5)
    took, refused = list[float](), list[float]()
    until = time.monotonic() + seconds + 10

    async def user(number: int) -> None:
        await asyncio.sleep(10 * number / count)
        connection = Connection(server)
        await connection.open()
        while time.monotonic() < until:
            choice = draw.choices(asked, weights)[0]
            spent, layer, _, _ = await connection.ask({**choice, "max_age": "60"}, may_be_busy=True)
            (refused if layer == "503" else took).append(spent)
            await asyncio.sleep(10)
        connection.close()

    before, began = server.cpu(), time.monotonic()
    await asyncio.gather(*(user(number) for number in range(count)))
    elapsed = time.monotonic() - began
    return spread(took) | {
        "connections": count,
        "refused_as_busy": len(refused),
        "requests_per_second": round(len(took) / elapsed),
        "server_cpu_share": round((server.cpu() - before) / elapsed, 2),
    }


def spread(took: Sequence[float]) -> dict[str, Any]:
    """Return milliseconds."""
    ordered = sorted(took)
    return {
        "count": len(ordered),
        "p50": round(statistics.median(ordered) * 1000, 2),
        "p99": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
    }


if __name__ == "__main__":
    app()
