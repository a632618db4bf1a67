"""How fast events are kept while Kafka is away, and how fast Kafka gets them afterwards.

``./millrace bench ingestion_spool``. Starts a stack of its own. Delivers batches of 100 events of
320 bytes, without HTTP: to Kafka; to the spool while Kafka is stopped; and while the spool is
drained and events go on coming at a rate.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from bench import bed
from millrace.api.ingestion.delivery import Delivery, Record
from millrace.api.ingestion.spool import Spool
from millrace.stores import kafka

TOPIC = "spooled"
BATCH = 100
EVENT_BYTES = 320
AT_ONCE = 32

app = typer.Typer(help=__doc__)


@app.command()
def ingestion_spool(
    events: Annotated[int, typer.Option(help="Events a measurement.")] = 1_000_000,
    rate: Annotated[int, typer.Option(help="Events a second that come while it drains.")] = 20_000,
) -> None:
    """Deliver, spool, drain, and drain while more comes."""
    with bed.running() as stack:
        settings = stack.settings
        kafka.ensure_topic(settings, TOPIC)

        async def measure() -> dict[str, Any]:
            delivery = Delivery(settings)
            await delivery.start()
            look = Spool(settings)
            results = {"to_kafka": await deliver(delivery, events)}
            stack.stop("kafka")
            await delivery.deliver(batch())  # finds out that Kafka is away
            results["to_spool"] = await deliver(delivery, events)
            stack.start("kafka")
            results["drained"] = await drained(look)
            stack.stop("kafka")
            await delivery.deliver(batch())
            await deliver(delivery, events)
            stack.start("kafka")
            feeding = asyncio.create_task(feed(delivery, rate, lambda: look.is_empty))
            results["drained_while_more_came"] = await drained(look)
            results["drained_while_more_came"]["milliseconds_to_acknowledge"] = await feeding
            look.close()
            await delivery.close()
            return results

        bed.write("ingestion_spool", asyncio.run(measure()))


def batch() -> list[Record]:
    """Return a request's records."""
    headers = [("source", b"web"), ("request", b"0123456789abcdef")]
    value = b"x" * EVENT_BYTES
    return [Record(TOPIC, b"%d" % user, value, headers) for user in range(BATCH)]


async def deliver(delivery: Delivery, events: int) -> dict[str, Any]:
    """Deliver as fast as it goes."""
    left = iter(range(events // BATCH))
    records = batch()

    async def client() -> None:
        for _ in left:
            await delivery.deliver(records)

    began, cpu = time.monotonic(), bed.own_cpu()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    seconds, cpu = time.monotonic() - began, bed.own_cpu() - cpu
    return {
        "events_per_second": round(events / seconds),
        "cpu_microseconds_an_event": round(cpu / events * 1e6, 2),
    }


async def drained(look: Spool) -> dict[str, Any]:
    """Wait until the spool is empty; rates count from the first that Kafka takes."""
    start = look.drained_to
    frame = next(look.frames())
    frame_bytes = frame.end - start
    while look.drained_to == start:
        await asyncio.sleep(0.002)
    began, cpu, first = time.monotonic(), bed.own_cpu(), look.drained_to
    appended = look.appended_to
    while not look.is_empty:
        await asyncio.sleep(0.002)
    seconds, cpu = time.monotonic() - began, bed.own_cpu() - cpu
    events = (look.drained_to - first) / frame_bytes * BATCH
    came = (look.appended_to - appended) / frame_bytes * BATCH
    return {
        "events_per_second": round(events / seconds),
        "cpu_microseconds_an_event": round(cpu / events * 1e6, 2),
        "events_per_second_that_came": round(came / seconds),
        "seconds": round(seconds, 2),
    }


async def feed(delivery: Delivery, rate: int, is_over: Callable[[], bool]) -> dict[str, float]:
    """Deliver at a rate until the spool is empty; return what acknowledging took."""
    records, took = batch(), []
    running: set[asyncio.Task[None]] = set()

    async def one() -> None:
        began = time.monotonic()
        await delivery.deliver(records)
        took.append((time.monotonic() - began) * 1000)

    began, sent = time.monotonic(), 0
    while not is_over():
        if sent * BATCH / rate <= time.monotonic() - began:
            task = asyncio.create_task(one())
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
        else:
            await asyncio.sleep(0.001)
    await asyncio.gather(*running)
    took.sort()
    return {
        "p50": round(took[len(took) // 2], 1),
        "p99": round(took[int(len(took) * 0.99)], 1),
        "longest": round(took[-1], 1),
    }


if __name__ == "__main__":
    app()
