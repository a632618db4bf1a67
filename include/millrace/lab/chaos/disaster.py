"""Losing both stores under load, and what a person types then."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import psutil

from millrace import waiting
from millrace.lab.chaos import campaign
from millrace.lab.chaos.ingest_scheduler import IngestScheduler
from millrace.lab.simulate import faults as traffic_faults
from millrace.lab.simulate import send
from millrace.lab.simulate.manifest import Manifest
from millrace.rules import gate
from millrace.settings import REPOSITORY, Settings
from millrace.stack.stack import Stack
from millrace.stores import objects, postgres
from millrace.transform import project

LOST = {"clickhouse": "clickhouse", "postgres": "postgres/data"}
"""What is deleted of each server, below the stack's home."""


@dataclass
class Load:
    """Simulated traffic, and the scheduler that loads it, until told to stop."""

    stack: Stack
    plan: send.Plan
    manifest: Manifest | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.sender = threading.Thread(target=self._send, daemon=True)

    def _send(self) -> None:
        settings = self.stack.settings
        self.manifest = send.run(
            self.plan, settings, topic=settings.events_topic, stop=self.stopping
        )

    def send_more(self) -> None:
        """Send again, other messages than before."""
        self.stopping.clear()
        self.plan = replace(self.plan, seed=self.plan.seed + 1)
        self.sender = threading.Thread(target=self._send, daemon=True)
        self.sender.start()

    def finish(self) -> Manifest:
        """Stop sending and return what was sent; ingest goes on."""
        self.stopping.set()
        self.sender.join()
        if self.manifest is None:
            raise RuntimeError("the simulation died; its traceback is above")
        return self.manifest

    def loaded(self) -> int:
        """Return how many messages ingest counts as loaded."""
        with postgres.connect(self.stack.settings) as connection:
            query = "SELECT coalesce(sum(message_count), 0)::bigint AS n FROM ingest_batches"
            return int(connection.execute(query).fetchall()[0]["n"])

    def await_messages(self, count: int, timeout: float = 180) -> None:
        """Wait until so many more messages are loaded."""
        wanted = self.loaded() + count
        waiting.until(
            lambda: self.loaded() >= wanted, f"{count:,} more messages to load", seconds=timeout
        )


@contextmanager
def under_load(stack: Stack, rate: float, seed: int) -> Iterator[Load]:
    """Send traffic until ``finish``, and load it for the length of a ``with``."""
    settings = stack.settings
    with postgres.connect(settings) as connection:
        gate.compile_all(connection, settings)
    # The minute rollup is a view that ingest feeds, so that it is lost and restored too.
    project.run(
        ["run", "--select", "metrics_1min"], project.environment(settings, project.PRODUCTION)
    )
    environment = {**stack.environment, **campaign.ENVIRONMENT}
    scheduler = IngestScheduler(
        environment, stack.supervisor.logs / "ingest-scheduler.log", campaign.RUN_SECONDS
    )
    rates = traffic_faults.rates({"huge": 0.0})
    load = Load(stack, send.Plan(seed=seed, rates=rates, rate=rate, duration=86_400))
    scheduler.start()
    load.sender.start()
    try:
        yield load
    finally:
        load.stopping.set()
        load.sender.join()
        scheduler.stop()


def destroy(stack: Stack, *names: str) -> None:
    """Kill -9 servers and delete their folders, in the middle of whatever they do."""
    victims: list[psutil.Process] = []
    for name in names:
        main = psutil.Process(stack.pid(name))
        victims += [main, *main.children(recursive=True)]
    for process in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    for name in names:
        folder = stack.settings.home / LOST[name]
        gone = folder.with_name("gone")
        folder.rename(gone)  # at once: the supervisor is starting the server again
        psutil.wait_procs(victims, timeout=10)
        shutil.rmtree(gone)


def delete_bucket(stack: Stack, bucket: str) -> None:
    """Delete a bucket and every object in it."""
    client = objects.connect(stack.settings)
    for found in client.list_objects(bucket, recursive=True):
        client.remove_object(bucket, found.object_name)
    client.remove_bucket(bucket)


def millrace(settings: Settings, *arguments: str, timeout: float = 300) -> str:
    """Type ``./millrace …`` and return what it prints; raises ``RuntimeError`` if it fails."""
    environment = {
        **os.environ,
        "MILLRACE_HOME": str(settings.home),
        "MILLRACE_PORT_BASE": str(settings.port_base),
    }
    done = subprocess.run(
        [REPOSITORY / "millrace", *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=timeout,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"./millrace {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout
