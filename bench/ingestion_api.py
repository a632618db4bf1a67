"""How many events the ingestion API takes for a second of processor time, and how soon it answers.

``./millrace bench ingestion_api``. Starts a stack of its own, with the API as people run it (two
worker processes, acks=all, idempotent). Sends batches of 100 events of 320 bytes, single events,
and Segment's batches with gzip over connections that are kept. Beside it, in the same run: a plain
FastAPI endpoint with a producer of its own that waits for Kafka, as one would write it.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import os
import statistics
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from subprocess import Popen
from typing import Annotated, Any
from urllib.parse import urlsplit

import psutil
import typer

from bench import bed
from millrace import waiting
from millrace.lab import engines
from millrace.stack.server import check_port
from millrace.stack.stack import Stack
from millrace.stores import kafka

BATCH = 100
VARIETY = 50
CONNECTIONS = 16
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
        own = [json.dumps([event() for _ in range(BATCH)]).encode() for _ in range(VARIETY)]
        one = [json.dumps(event()).encode() for _ in range(VARIETY * 10)]
        packed = {**auth, "content-encoding": "gzip"}
        kinds = {
            "batches_of_100": requests("/v1/events", own, auth),
            "single_events": requests("/v1/events", one, auth),
            "segment_gzip": requests("/v1/batch", segment(), packed),
        }
        results: dict[str, Any] = {
            name: measured(url, made, 1 if name == "single_events" else BATCH, processes, seconds)
            for name, made in kinds.items()
        }
        with plain(stack) as (plain_url, plain_processes):
            made = requests("/v1/events", own, auth)
            results["plain_fastapi"] = measured(plain_url, made, BATCH, plain_processes, seconds)
    fastest = results["batches_of_100"]["events_per_cpu_second"]
    ratio = fastest / results["plain_fastapi"]["events_per_cpu_second"]
    bed.write("ingestion_api", results | {"times_the_plain_endpoint": round(ratio, 1)})


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
    port = engines.free_port()
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
    url: str, made: Sequence[bytes], events: int, processes: list[psutil.Process], seconds: float
) -> dict[str, Any]:
    """Send for a while; return rates, and what each event cost the server's processes."""
    before, began = cpu(processes), time.monotonic()
    took = asyncio.run(send(url, made, seconds))
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


async def send(url: str, made: Sequence[bytes], seconds: float) -> list[float]:
    """Send requests one after another on each of several connections; return how long each took."""
    until = time.monotonic() + seconds
    numbers = itertools.count()
    took: list[float] = []

    async def client() -> None:
        place = urlsplit(url)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        while time.monotonic() < until:
            began = time.monotonic()
            writer.write(made[next(numbers) % len(made)])
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            took.append(time.monotonic() - began)
        writer.close()

    await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    return took


if __name__ == "__main__":
    app()
