"""From a POST to ``events``: ``./millrace bench post_to_events``.

Starts a stack of its own with the ingestion API and workers that load. First events are posted at a
steady rate, and ClickHouse is asked for the newest ones again and again: an event's delay is the
moment of the first answer that has it, minus the time that the API gave it when it handed it to
Kafka. Then as many are posted as are taken for a while, made beforehand, with everything on the
same cores, sender included; at the end every acknowledged event is looked for in ``events``, once
and in its user's order.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import typer

from bench import bed, flood
from bench.freshness import Watcher
from bench.ingest import warm_up
from bench.ingestion_api import cpu, serving
from millrace import waiting
from millrace.lab.simulate import api, faults, send
from millrace.lab.simulate.acknowledged import Acknowledged
from millrace.lab.verify import acknowledged
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import clickhouse


def main(
    rate: Annotated[float, typer.Option(help="Events a second while delays are measured.")] = 1000,
    seconds: Annotated[float, typer.Option(help="How long at that rate.")] = 30,
    flood_seconds: Annotated[float, typer.Option(help="How long as fast as it goes.")] = 60,
    flood_events: Annotated[int, typer.Option(help="How many are ready for that.")] = 4_000_000,
) -> None:
    """Measure both, and write ``results/post_to_events.json``."""
    found: dict[str, Any] = {}
    with bed.running() as stack, serving(stack) as (url, processes):
        warm_up(stack, with_faults=False)
        with bed.loading(stack.settings):
            watcher = Watcher(stack.settings)
            watcher.start()
            posted(stack.settings, url, rate, seconds)
            watcher.stop()
            found[f"{rate:g} a second"] = delays(watcher)
            found["flood"] = flooded(stack, url, processes, flood_seconds, flood_events)
    bed.write("post_to_events", found)


def delays(watcher: Watcher) -> dict[str, Any]:
    """Return percentiles of how long events took to be seen."""
    seen = np.array(watcher.delays)
    shares = {f"p{share}_seconds": np.percentile(seen, share) for share in (50, 95, 99)}
    return {
        "events_seen": len(seen),
        **{name: round(float(value), 3) for name, value in shares.items()},
        "slowest_seconds": round(float(seen.max()), 3),
    }


def posted(settings: Settings, url: str, rate: float, seconds: float) -> Acknowledged:
    """Post from a process of its own; return what was acknowledged."""
    path = settings.home / "manifests" / f"posted-{rate:g}.json"
    sender = multiprocessing.get_context("spawn").Process(
        target=_post, args=(url, rate, seconds, path)
    )
    sender.start()
    sender.join()
    manifest = Acknowledged.read(path)
    if sender.exitcode or manifest is None:
        raise RuntimeError("the sender failed; see above")
    return manifest


def flooded(
    stack: Stack, url: str, processes: list[psutil.Process], seconds: float, events: int
) -> dict[str, Any]:
    """Post as fast as events are taken, wait until all are loaded, and look at each of them."""
    settings = stack.settings
    traffic = flood.prepare(settings, events)
    client = clickhouse.connect(settings)
    count = "SELECT count() FROM events"
    there = client.command(count)
    before, began = used(stack, processes), time.monotonic()
    asyncio.run(traffic.send(url, settings.ingest_key.get_secret_value(), seconds))
    acknowledging = time.monotonic() - began
    waiting.until(
        lambda: client.command(count) - there >= traffic.events,
        "the events to be loaded",
        seconds=300,
        every=0.2,
    )
    loading = time.monotonic() - began
    after = used(stack, processes)
    client.close()
    report = acknowledged.verify(traffic.manifest(settings, url), settings)
    return {
        "events": traffic.events,
        "acknowledged_per_second": round(traffic.events / acknowledging),
        "in_events_per_second": round(traffic.events / loading),
        "differences": report.differences,
        "cpu_seconds": {name: round(after[name] - before[name], 1) for name in after},
    }


def used(stack: Stack, api: list[psutil.Process]) -> dict[str, float]:
    """Return the CPU seconds of everything that an event goes through, and of its sender."""
    sender = bed.own_cpu()
    return {
        "sender": sender,
        "ingestion_api": cpu(api),
        **{name: bed.cpu_seconds(stack.pid(name)) for name in bed.SERVERS},
        "loaders": bed.cpu_seconds(os.getpid()) - sender,
    }


def _post(url: str, rate: float, seconds: float, path: Path) -> None:
    settings = Settings()
    plan = send.Plan(seed=int(rate), rates=faults.rates({}), rate=rate, duration=seconds)
    key = settings.ingest_key.get_secret_value()
    api.run(plan, settings, url=url, key=key).write(path)


if __name__ == "__main__":
    typer.run(main)
