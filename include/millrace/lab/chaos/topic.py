"""A topic that is deleted and recreated while it is read."""

from __future__ import annotations

import random

from millrace.lab import topics
from millrace.lab.chaos.load import Load
from millrace.lab.simulate import faults, send
from millrace.lab.simulate.manifest import Manifest
from millrace.lab.verify import simulation
from millrace.rules import gate
from millrace.settings import Settings
from millrace.stores import kafka, postgres, sql

NAME = "remade"
"""The topic, its source, and the table of its events: what goes with it concerns no rollup."""

RATE = 50
MOST_PARTITIONS = 4


class RemadeTopic:
    """A source of its own whose topic is recreated, with more or fewer partitions."""

    def __init__(self, settings: Settings, rng: random.Random, seed: int) -> None:
        self.settings = settings
        self.rng = rng
        self.seed = seed
        self.load: Load | None = None

    def start(self) -> None:
        """Register the source and begin to send."""
        with postgres.connect(self.settings) as connection:
            connection.execute(
                sql.render("postgres/chaos/add_source.sql"),
                {"name": NAME, "dead_letters": self.settings.dead_letter_topic},
            )
            gate.compile_all(connection, self.settings)
        self._begin()

    def remake(self) -> str:
        """Delete the topic, with what is not yet loaded or once all is, and make it again."""
        sent = self.finish()
        is_loaded = self.rng.random() < 0.5 and simulation.await_loaded(
            sent, self.settings, wait_seconds=60
        )
        topics.delete(self.settings, NAME)
        partitions = self._begin()
        return (
            f"deleted {sent.sent} messages, {'all loaded' if is_loaded else 'loaded or not'}; "
            f"{partitions} partitions now"
        )

    def finish(self) -> Manifest:
        """Stop sending; return what was sent since the topic was made."""
        if self.load is None:
            raise RuntimeError("nothing was begun")
        return self.load.finish()

    def stop(self) -> None:
        """Send no more, whatever was sent."""
        if self.load is not None:
            self.load.stopping.set()

    def _begin(self) -> int:
        partitions = self.rng.randint(1, MOST_PARTITIONS)
        kafka.ensure_topic(self.settings, NAME, partitions=partitions)
        self.seed += 1
        rates = faults.rates({}, with_defaults=False)
        plan = send.Plan(self.seed, rates=rates, rate=RATE, duration=86_400)
        self.load = Load(self.settings, NAME, plan)
        self.load.start()
        return partitions
