"""From a POST to ``events``: ``./millrace bench post_to_events``.

Starts a stack of its own with the ingestion API and workers that load. First events are posted at a
steady rate, and ClickHouse is asked for the newest ones again and again: an event's delay is the
moment of the first answer that has it, minus the time that the API gave it when it handed it to
Kafka. Then as many are posted as are taken for a while, with everything on the same cores, sender
and its book-keeping included; at the end every acknowledged event is looked for in ``events``, once
and in its user's order.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import bed
from bench.freshness import Watcher
from bench.ingest import warm_up
from bench.ingestion_api import serving
from millrace.lab.simulate import api, faults, send
from millrace.lab.simulate.acknowledged import Acknowledged
from millrace.lab.verify import acknowledged
from millrace.settings import Settings
from millrace.stack.stack import Stack


def main(
    rate: Annotated[float, typer.Option(help="Events a second while delays are measured.")] = 1000,
    seconds: Annotated[float, typer.Option(help="How long at that rate.")] = 30,
    flood_seconds: Annotated[float, typer.Option(help="How long as fast as it goes.")] = 60,
) -> None:
    """Measure both, and write ``results/post_to_events.json``."""
    found: dict[str, Any] = {}
    with bed.running() as stack, serving(stack) as (url, _):
        warm_up(stack, with_faults=False)
        with bed.loading(stack.settings):
            watcher = Watcher(stack.settings)
            watcher.start()
            posted(stack.settings, url, rate, seconds)
            watcher.stop()
            found[f"{rate:g} a second"] = delays(watcher)
            found["flood"] = flooded(stack, url, flood_seconds)
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


def flooded(stack: Stack, url: str, seconds: float) -> dict[str, Any]:
    """Post as fast as events are taken, then wait until all of them are loaded and look at them."""
    before = {name: bed.cpu_seconds(stack.pid(name)) for name in bed.SERVERS}
    began = time.monotonic()
    manifest = posted(stack.settings, url, 0, seconds)
    acknowledging = time.monotonic() - began
    report = acknowledged.verify(manifest, stack.settings)
    spent = {name: bed.cpu_seconds(stack.pid(name)) - before[name] for name in bed.SERVERS}
    return {
        "events": manifest.sent,
        "acknowledged_per_second": round(manifest.sent / acknowledging),
        "in_events_per_second": round(manifest.sent / (time.monotonic() - began)),
        "differences": report.differences,
        "cpu_seconds": {name: round(cpu, 1) for name, cpu in spent.items()},
    }


def _post(url: str, rate: float, seconds: float, path: Path) -> None:
    settings = Settings()
    plan = send.Plan(seed=int(rate), rates=faults.rates({}), rate=rate, duration=seconds)
    key = settings.ingest_key.get_secret_value()
    api.run(plan, settings, url=url, key=key).write(path)


if __name__ == "__main__":
    typer.run(main)
