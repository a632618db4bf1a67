"""How many events the ingestion API takes for a second of processor time, and how soon it answers.

``./millrace bench ingestion_api``. Starts a stack of its own, with the API as people run it (two
worker processes, acks=all, idempotent). Sends batches of 100 events of 320 bytes, by HTTP and by
gRPC, single events, and Segment's and PostHog's batches with gzip over connections that are kept,
each as fast as it is taken; and batches at 20,000 events a second, which says how long an answer
takes. Beside it, in the same run: a plain FastAPI endpoint with a producer of its own that waits
for Kafka, as one would write it, and Kafka's own producer benchmark.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from subprocess import Popen
from typing import Annotated, Any
from urllib.parse import urlsplit

import grpc
import psutil
import typer

from bench import bed
from millrace import processes, waiting
from millrace.api.ingestion.v1.ingestion_pb2 import SendRequest
from millrace.settings import Settings
from millrace.stack import kafka as broker
from millrace.stack.server import check_port
from millrace.stack.stack import Stack
from millrace.stores import kafka

BATCH = 100
VARIETY = 50
CONNECTIONS = 16
STEADY = 20_000
WARM_SECONDS = 12.0
METHOD = "/millrace.ingestion.v1.Ingestion/Send"
RECORDS = 3_000_000
"""Of Kafka's own benchmark."""

Send = Callable[[float], Coroutine[Any, Any, list[float]]]
"""Sends for so many seconds; returns how long each request took."""

FASTAPI = """
import os
from confluent_kafka import Producer
from fastapi import FastAPI
from pydantic import BaseModel
import json, uvicorn

class Event(BaseModel, extra="allow"):
    event_id: str
    event: str
    timestamp: str
    user_id: int

app = FastAPI()
producer = Producer({"bootstrap.servers": os.environ["KAFKA"], "acks": "all",
                     "enable.idempotence": True, "linger.ms": 5})

@app.post("/v1/events")
def take(events: list[Event]):
    for event in events:
        producer.produce("plain", event.model_dump_json().encode(), str(event.user_id))
    producer.flush()
    return {"count": len(events)}

uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error")
"""

app = typer.Typer(help=__doc__)


@app.command()
def ingestion_api(
    seconds: Annotated[float, typer.Option(help="How long each kind is sent.")] = 10,
) -> None:
    """Send each kind as fast as it is taken, then the plain endpoint's."""
    with bed.running() as stack, serving(stack) as (url, processes):
        key = stack.settings.ingest_key.get_secret_value()
        auth = {"authorization": f"Bearer {key}"}
        batches = [[json.dumps(event()).encode() for _ in range(BATCH)] for _ in range(VARIETY)]
        own = requests("/v1/events", [b"[%s]" % b",".join(batch) for batch in batches], auth)
        one = requests("/v1/events", [one for batch in batches[:5] for one in batch], auth)
        packed = {**auth, "content-encoding": "gzip"}
        calls = [SendRequest(json_events=batch).SerializeToString() for batch in batches]
        address = stack.settings.ingestion_grpc_address
        kinds: dict[str, Send] = {
            "batches_of_100": by_http(url, own),
            "batches_of_100_by_grpc": by_grpc(address, calls, key),
            "single_events": by_http(url, one),
            "segment_gzip": by_http(url, requests("/v1/batch", segment(), packed)),
            "posthog_gzip": by_http(url, requests("/batch/", posthog(), packed)),
            f"at_{STEADY}_events_a_second": by_http(url, own, STEADY / BATCH),
        }
        asyncio.run(kinds["batches_of_100"](WARM_SECONDS))  # until Kafka has compiled its code
        results: dict[str, Any] = {
            name: measured(send, 1 if name == "single_events" else BATCH, processes, seconds)
            for name, send in kinds.items()
        }
        with plain(stack) as (plain_url, plain_processes):
            send = by_http(plain_url, own)
            results["plain_fastapi"] = measured(send, BATCH, plain_processes, seconds)
        results["kafka_producer_benchmark"] = producer_perf(stack.settings)
    ours, theirs = results["batches_of_100"], results["plain_fastapi"]
    ratio = ours["events_per_cpu_second"] / theirs["events_per_cpu_second"]
    results["times_the_plain_endpoint"] = round(ratio, 1)
    share = ours["events_per_second"] / results["kafka_producer_benchmark"]
    results["share_of_kafkas_producer"] = round(share, 2)
    bed.write("ingestion_api", results)


def event() -> dict[str, Any]:
    """Return an event of some 320 bytes."""
    return {
        "event_id": str(uuid.uuid4()),
        "event": "purchase",
        "timestamp": datetime.now(UTC).isoformat(),
        "user_id": uuid.uuid4().int % 1_000_000 + 1,
        "page": "/checkout/summary",
        "country": "DE",
        "device": "mobile",
        "amount": 49.9,
        "currency": "EUR",
        "referrer": "https://www.example.com/shoes?campaign=autumn",
        "coupon": "AUTUMN-2026",
    }


def segment() -> list[bytes]:
    """Return bodies as analytics-python packs them."""
    bodies = []
    for _ in range(VARIETY):
        now = datetime.now(UTC).isoformat()
        batch = [
            {
                "type": "track",
                "event": "purchase",
                "userId": f"user-{uuid.uuid4().hex[:8]}",
                "anonymousId": None,
                "messageId": str(uuid.uuid4()),
                "timestamp": now,
                "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
                "integrations": {},
                "properties": {"amount": 49.9, "currency": "EUR", "coupon": "AUTUMN-2026"},
            }
            for _ in range(BATCH)
        ]
        bodies.append(gzip.compress(json.dumps({"batch": batch, "sentAt": now}).encode(), 6))
    return bodies


def posthog() -> list[bytes]:
    """Return bodies as posthog-python packs them."""
    bodies = []
    for _ in range(VARIETY):
        now = datetime.now(UTC).isoformat()
        batch = [
            {
                "event": "purchase",
                "distinct_id": f"user-{uuid.uuid4().hex[:8]}",
                "uuid": str(uuid.uuid4()),
                "timestamp": now,
                "properties": {
                    "$lib": "posthog-python",
                    "$lib_version": "7.91.1",
                    "$os": "Linux",
                    "$geoip_disable": True,
                    "amount": 49.9,
                    "currency": "EUR",
                    "coupon": "AUTUMN-2026",
                },
            }
            for _ in range(BATCH)
        ]
        bodies.append(gzip.compress(json.dumps({"batch": batch, "sent_at": now}).encode(), 6))
    return bodies


def requests(path: str, bodies: Sequence[bytes], headers: dict[str, str]) -> list[bytes]:
    """Return whole requests, as they travel."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return [
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{lines}"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies
    ]


@contextmanager
def serving(stack: Stack) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Run the API on the stack; yield its address and processes."""
    with_apis = Stack(with_airflow=False, with_apis=True)
    with_apis.configure()
    with_apis.start("ingestion-api")
    with_apis.wait_healthy("ingestion-api", 60)
    main = psutil.Process(with_apis.pid("ingestion-api"))
    yield with_apis.servers["ingestion-api"].addresses["http"], [main, *main.children(True)]


@contextmanager
def plain(stack: Stack) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Run the endpoint as one would write it."""
    port = processes.free_port()
    kafka.ensure_topic(stack.settings, "plain")
    values = {"KAFKA": stack.settings.kafka_bootstrap_servers, "PORT": str(port)}
    with Popen([sys.executable, "-c", FASTAPI], env=os.environ | values) as process:
        waiting.until(lambda: _serves(port), "the endpoint to serve", seconds=60)
        yield f"http://127.0.0.1:{port}", [psutil.Process(process.pid)]
        process.terminate()


def _serves(port: int) -> bool:
    try:
        check_port(port)
    except OSError:
        return False
    return True


def measured(
    send: Send, events: int, processes: list[psutil.Process], seconds: float
) -> dict[str, Any]:
    """Send for a while; return rates, and what each event cost the server's processes."""
    before, began = cpu(processes), time.monotonic()
    took = asyncio.run(send(seconds))
    used, elapsed = cpu(processes) - before, time.monotonic() - began
    took.sort()
    return {
        "requests": len(took),
        "events_per_second": round(len(took) * events / elapsed),
        "events_per_cpu_second": round(len(took) * events / used),
        "cpu_microseconds_per_event": round(used / len(took) / events * 1e6, 2),
        "milliseconds_to_acknowledge": {
            "p50": round(statistics.median(took) * 1000, 1),
            "p99": round(took[int(len(took) * 0.99)] * 1000, 1),
        },
    }


def cpu(processes: list[psutil.Process]) -> float:
    """Return the processor seconds that processes have used."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def by_http(url: str, made: Sequence[bytes], rate: float = 0) -> Send:
    """Send requests one after another on each of several connections.

    At a rate, a request's time counts from when it was due.
    """
    place = urlsplit(url)

    async def client(numbers: Iterator[int], seconds: float, took: list[float]) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        start = time.monotonic()
        for number in numbers:
            began = time.monotonic()
            if rate:
                began = start + number / rate
                await asyncio.sleep(max(0.0, began - time.monotonic()))
            if time.monotonic() > start + seconds:
                break
            writer.write(made[number % len(made)])
            await answered(reader)
            took.append(time.monotonic() - began)
        writer.close()

    return partial(_all, client)


async def answered(reader: asyncio.StreamReader) -> None:
    """Read an answer. Raises ``RuntimeError`` where it is no success."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)


def by_grpc(address: str, made: Sequence[bytes], key: str) -> Send:
    """Call one after another on each of several connections."""
    metadata = (("authorization", f"Bearer {key}"),)
    options = [("grpc.use_local_subchannel_pool", 1)]

    async def client(numbers: Iterator[int], seconds: float, took: list[float]) -> None:
        until = time.monotonic() + seconds
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            call = channel.unary_unary(METHOD)
            while time.monotonic() < until:
                began = time.monotonic()
                await call(made[next(numbers) % len(made)], metadata=metadata)
                took.append(time.monotonic() - began)

    return partial(_all, client)


async def _all(client: Callable[..., Coroutine[Any, Any, None]], seconds: float) -> list[float]:
    numbers, took = itertools.count(), list[float]()
    await asyncio.gather(*(client(numbers, seconds, took) for _ in range(CONNECTIONS)))
    return took


def producer_perf(settings: Settings) -> int:
    """Return the rate of Kafka's own producer benchmark, with records of that size."""
    kafka.ensure_topic(settings, "performance")
    done = subprocess.run(
        [
            *(broker.java(), "-cp", f"{broker.jars()}/*"),
            "org.apache.kafka.tools.ProducerPerformance",
            *("--topic", "performance", "--num-records", str(RECORDS), "--record-size", "320"),
            *("--throughput", "-1", "--command-property", "acks=all", "compression.type=lz4"),
            *("--bootstrap-server", settings.kafka_bootstrap_servers),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    rates = re.findall(r"([\d.]+) records/sec", done.stdout)
    return round(float(rates[-1]))  # the last line is of the whole


if __name__ == "__main__":
    app()
