"""How soon an event can be queried: from Kafka's append to a SELECT that sees it.

``python -m bench.freshness``. Sends at a steady rate while workers load, and asks ClickHouse again
and again for the newest events; an event's delay is the moment of the first answer that has it
minus Kafka's timestamp, so it counts the query as well, and errs on the long side by the pause
between two queries.
"""

from __future__ import annotations

import multiprocessing
import threading
import time
from typing import Annotated, Any

import numpy as np
import typer

from bench import bed
from bench.ingest import warm_up
from millrace.ingest.plan import plan
from millrace.ingest.worker import Share, Worker
from millrace.settings import Settings
from millrace.simulate import faults, send
from millrace.stack.stack import Stack
from millrace.stores import clickhouse


def main(
    rates: Annotated[str, typer.Option(help="Events a second, several by commas.")] = "1000,20000",
    seconds: Annotated[float, typer.Option(help="How long at each rate.")] = 30,
) -> None:
    """Measure at each rate, and write ``results/freshness.json``."""
    found = {}
    with bed.running() as stack:
        warm_up(stack)
        for rate in map(int, rates.split(",")):
            found[f"{rate} a second"] = measure(stack, rate, seconds)
    bed.write("freshness", found)


def measure(stack: Stack, rate: int, seconds: float) -> dict[str, Any]:
    """Return percentiles of the delay at one rate."""
    settings = stack.settings
    run_id = f"fresh-{time.time_ns()}"
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_work, args=(share, run_id, seconds + 8))
        for share in plan(settings, run_id)
    ]
    for worker in workers:
        worker.start()
    time.sleep(5)  # workers import their libraries
    watcher = Watcher(settings)
    watcher.start()
    before = {name: bed.cpu_seconds(stack.pid(name)) for name in bed.SERVERS}
    sender = context.Process(target=_send, args=(rate, seconds))
    sender.start()
    sender.join()
    spent = {name: bed.cpu_seconds(stack.pid(name)) - before[name] for name in bed.SERVERS}
    for worker in workers:
        worker.join()
    watcher.stop()
    delays = np.array(watcher.delays)
    return {
        "events_seen": len(delays),
        "p50_seconds": round(float(np.percentile(delays, 50)), 3),
        "p95_seconds": round(float(np.percentile(delays, 95)), 3),
        "p99_seconds": round(float(np.percentile(delays, 99)), 3),
        "cores": {name: round(cpu / seconds, 2) for name, cpu in spent.items()},
    }


class Watcher(threading.Thread):
    """Asks for events that were not there at the last question."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self.delays: list[float] = []
        self._client = clickhouse.connect(settings)
        self._ended = threading.Event()
        self._seen = {int(b) for (b,) in self._batches()}

    def _batches(self) -> list[tuple[int]]:
        return self._client.query(
            "SELECT DISTINCT batch_id FROM events WHERE ingested_at > now() - 60"
        ).result_rows

    def run(self) -> None:
        """Ask until stopped; every 100th event of a new micro-batch is a sample."""
        while not self._ended.wait(0.01):
            fresh = [int(b) for (b,) in self._batches() if int(b) not in self._seen]
            if not fresh:
                continue
            now = time.time()
            self._seen.update(fresh)
            rows = self._client.query(
                "SELECT toUnixTimestamp64Milli(received_at) FROM events "
                "WHERE ingested_at > now() - 60 AND batch_id IN {batches:Array(UInt64)}",
                parameters={"batches": fresh},
            ).result_rows
            self.delays += [now - stamp / 1000 for (stamp,) in rows]

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()
        self.join(10)


def _work(share: dict[str, Any], run_id: str, seconds: float) -> None:
    Worker(Settings(), Share.from_dict(share), run_id).run(seconds)


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
