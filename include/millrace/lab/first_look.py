"""The first look: a little simulated traffic, and what became of it."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from clickhouse_connect.driver.client import Client

from millrace import waiting
from millrace.lab.simulate import faults, send
from millrace.lab.simulate.manifest import Manifest
from millrace.lab.simulate.traffic import COUNTRIES, Traffic
from millrace.stack.server import StackError
from millrace.stack.stack import Stack
from millrace.steps import Step
from millrace.stores import clickhouse, postgres, sql

RATE = 1000
SEED = 1
PROFILES = 20_000
WATCH_SECONDS = 10
CAUGHT_UP_SECONDS = 5
"""Freshness is watched once ingest has caught up with what was sent before it began."""
LONGEST_SECONDS = 300
"""How long to wait for the first event to show in the rollups, and for the last to be loaded."""


@dataclass
class FirstLook:
    """Streams traffic through a new stack once, and remembers how fresh the warehouse was.

    ``ages`` are seconds between the newest event's arrival in Kafka and the moment a query saw it.
    """

    stack: Stack
    ages: list[float] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """Where the manifest of the first traffic lies; it exists once that was sent."""
        return self.stack.settings.home / "manifests" / "first-look.json"

    def run(self) -> None:
        """Send traffic until it has shown in the rollups for a while; wait until all is loaded.

        Raises ``StackError`` when nothing arrives, saying where to look.
        """
        if self.path.exists():
            return
        with clickhouse.connect(self.stack.settings, "operator") as client:
            with self._simulator():
                self._await(lambda: _first(client, "rollup_total") > 0)
                self._await(lambda: _first(client, "newest_event_age") < CAUGHT_UP_SECONDS)
                end = time.monotonic() + WATCH_SECONDS
                while time.monotonic() < end:
                    self.ages.append(_first(client, "newest_event_age"))
                    time.sleep(0.2)
            sent = Manifest.read(self.path)
            self._await(lambda: _loaded(client, sent) >= sent.sent)

    @property
    def freshness(self) -> float | None:
        """The median of ``ages``, in seconds; nothing if no traffic was watched."""
        return statistics.median(self.ages) if self.ages else None

    @contextmanager
    def _simulator(self) -> Iterator[None]:
        """Stream traffic beside the block; afterwards the manifest is written."""
        settings = self.stack.settings
        plan = send.Plan(seed=SEED, rates=faults.rates({}), rate=RATE, duration=3600)
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=1) as pool:
            sending = pool.submit(send.run, plan, settings, topic=settings.events_topic, stop=stop)
            try:
                yield
            finally:
                stop.set()
            sending.result().write(self.path)

    def _await(self, condition: Callable[[], bool]) -> None:
        waiting.until(
            condition,
            "simulated events to show in the rollups",
            seconds=LONGEST_SECONDS,
            every=0.25,
            hint=(
                f"see the run of ingest_events in Airflow ({self.stack.settings.airflow_url}) and "
                "./millrace logs scheduler, then run ./millrace up again"
            ),
            error=StackError,
        )


def steps(look: FirstLook) -> list[Step]:
    """Return the steps that follow in a stack that people look at: profiles and some traffic."""
    airflow_is_up = tuple(look.stack.names("airflow"))
    return [
        Step("user profiles", lambda: seed_profiles(look.stack), ("metadata schema",)),
        Step("traffic", look.run, ("topics", "models", "user profiles", *airflow_is_up)),
    ]


def seed_profiles(stack: Stack) -> None:
    """Give the simulator's most active users a profile, unless profiles are there already."""
    people = Traffic(SEED, "profiles", {}, message_max_bytes=0, retention_days=0)
    ids = people.user_ids(np.arange(PROFILES)).tolist()
    with postgres.connect(stack.settings) as connection, connection.transaction():
        found = connection.execute("SELECT 1 FROM user_profiles LIMIT 1").fetchone()
        if found is not None:
            return
        connection.execute("SELECT set_config('millrace.actor', 'seed', true)")
        statement = "COPY user_profiles (user_id, country, plan) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for place, user_id in enumerate(ids):
                country = COUNTRIES[people.user_country[place]][0]
                copy.write_row((user_id, country, ("free", "free", "free", "pro")[place % 4]))


def _first(client: Client, query: str, **parameters: object) -> float:
    statement = sql.render(f"clickhouse/stack/{query}.sql")
    return float(client.query(statement, parameters=parameters).result_rows[0][0])


def _loaded(client: Client, sent: Manifest) -> int:
    """Count the messages of a manifest that ended in ``events`` or ``rejected_events``."""
    total = 0.0
    for partition, ranges in sent.positions.items():
        total += _first(
            client,
            "loaded_of_partition",
            topic=sent.topic,
            partition=int(partition),
            first_offset=ranges[0][0],
            next_offset=ranges[-1][1],
        )
    return int(total)
