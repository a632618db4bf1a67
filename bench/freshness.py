"""How soon an event can be queried: from Kafka's append to a SELECT that sees it.

``./millrace bench freshness``. Sends at a steady rate while workers load, and asks ClickHouse again
and again for the newest events; an event's delay is the moment of the first answer that has it
minus the broker's timestamp (the topic is set to ``LogAppendTime``), so it counts the query as
well, and errs on the long side by the pause between two queries (50 ms; asking more often would
take from the two cores what is measured).
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from typing import Annotated, Any

import numpy as np
import typer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from bench import bed
from bench.ingest import warm_up
from millrace.lab.simulate import faults, send
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse, kafka


def main(
    rates: Annotated[str, typer.Option(help="Events a second, several by commas.")] = "1000,20000",
    seconds: Annotated[float, typer.Option(help="How long at each rate.")] = 30,
) -> None:
    """Measure at each rate, and write ``results/freshness.json``."""
    found = {}
    with bed.running() as stack:
        warm_up(stack)
        stamp_appends(stack.settings)
        for rate in map(int, rates.split(",")):
            found[f"{rate} a second"] = measure(stack, rate, seconds)
    bed.write("freshness", found)


def stamp_appends(settings: Settings) -> None:
    """Have the broker stamp messages: a producer that still connects stamps them too early."""
    change = ConfigEntry(
        "message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET
    )
    topic = ConfigResource(ResourceType.TOPIC, settings.events_topic, incremental_configs=[change])
    admin = kafka.admin(settings)
    admin.incremental_alter_configs([topic])[topic].result()


def measure(stack: Stack, rate: int, seconds: float) -> dict[str, Any]:
    """Return percentiles of the delay at one rate."""
    settings = stack.settings
    context = multiprocessing.get_context("spawn")
    with bed.loading(settings):
        watcher = Watcher(settings)
        watcher.start()
        before = {name: bed.cpu_seconds(stack.pid(name)) for name in bed.SERVERS}
        sender = context.Process(target=_send, args=(rate, seconds))
        sender.start()
        sender.join()
        spent = {name: bed.cpu_seconds(stack.pid(name)) - before[name] for name in bed.SERVERS}
        watcher.stop()
    delays = np.array(watcher.delays)
    return {
        "events_seen": len(delays),
        **{
            f"p{share}_seconds": round(float(np.percentile(delays, share)), 3)
            for share in (50, 95, 99)
        },
        "slowest_seconds": round(float(delays.max()), 3),
        "cores": {name: round(cpu / seconds, 2) for name, cpu in spent.items()},
    }


class Watcher(threading.Thread):
    """Asks for events that were not there at the last question."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self.delays: list[float] = []
        self._client = clickhouse.connect(settings)
        self._ended = threading.Event()
        self._seen: set[int] = set()
        self._seen = {number for number, _ in self._fresh()}

    def _fresh(self) -> list[tuple[int, int]]:
        """Return micro-batch and broker's timestamp of the events not seen before."""
        rows = self._client.query(
            "SELECT batch_id, toUnixTimestamp64Milli(received_at) FROM events "
            "WHERE ingested_at > now64(3) - 20 AND batch_id NOT IN {seen:Array(UInt64)}",
            parameters={"seen": sorted(self._seen)},
        ).result_rows
        return [(int(number), int(stamp)) for number, stamp in rows]

    def run(self) -> None:
        """Ask until stopped."""
        while not self._ended.wait(0.05):
            rows = self._fresh()
            now = time.time()
            self._seen |= {number for number, _ in rows}
            self.delays += [now - stamp / 1000 for _, stamp in rows]

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()
        self.join(10)


def _send(rate: int, seconds: float) -> None:
    settings = Settings()
    rates = faults.rates({"huge": 0.0})
    send.run(
        send.Plan(seed=rate, rates=rates, rate=rate, duration=seconds),
        settings,
        topic=settings.events_topic,
    )


if __name__ == "__main__":
    typer.run(main)
