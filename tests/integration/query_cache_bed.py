"""A rollup, and one process's cache of what is asked of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from clickhouse_connect.driver.client import Client

from millrace.api.query.cache.answers import Answers, Kept
from millrace.api.query.cache.generations import Generation, Generations
from millrace.api.query.cache.wanted import Wanted
from millrace.api.query.warehouse import Warehouse
from millrace.settings import Settings
from millrace.stores import cache, clickhouse

HOUR = timedelta(hours=1)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
ROLLUP, SPARE, VIEW = "analytics.cached_1h", "analytics.cached_spare", "analytics.cached"
TOTAL = f"SELECT sum(n) FROM {VIEW} WHERE window_start >= {{start:DateTime}}"


@contextlib.contextmanager
def frozen_redis(settings: Settings) -> Iterator[None]:
    """A moment in which Redis does not answer."""
    process = int(cache.connect(settings).info("server")["process_id"])
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


class World:
    """One process's cache, and a rollup of which it answers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client: Client = clickhouse.connect(settings)
        self.warehouse = Warehouse(settings)
        self.generations = Generations(settings, poll_seconds=0.1)
        self.answers = Answers(settings, self.generations)
        self.statements = 0

    def command(self, statement: str) -> None:
        """Have ClickHouse do something."""
        self.client.command(statement)

    def insert(self, table: str, *rows: tuple[datetime, str, int]) -> None:
        """Add rows, as a load does."""
        self.client.insert(table, [list(row) for row in rows])

    def of(self, start: datetime = NOON - HOUR, end: datetime = NOON) -> Generation:
        """The generation of a span of the rollup, as its view is asked."""
        return self.generations.of([VIEW], start, end)

    async def total(self) -> bytes:
        """The answer, computed."""
        self.statements += 1
        result = await self.warehouse.ask(TOTAL, {"start": "2026-01-01 00:00:00"})
        return str(result.rows[0][0]).encode()

    async def ask(
        self,
        key: str,
        answers: Answers | None = None,
        seconds: float = 600,
        max_age: float = 0.0,
    ) -> Kept:
        """The answer, from a cache if it holds."""
        wanted = self.wanted(key, max_age)
        return await (answers or self.answers).get(wanted, self.total, seconds=seconds)

    def wanted(self, key: str, max_age: float = 0.0) -> Wanted:
        """What is asked for: the whole rollup's total."""
        return Wanted(key, self.of(NOON - timedelta(days=4), NOON + timedelta(days=1)), max_age)

    async def after(self, work: Callable[[], object]) -> None:
        """Do something, and wait until it is noticed, or could have been."""
        await asyncio.to_thread(work)
        await self.generations.polled()


@contextlib.asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[World]:
    """Have a world whose cache runs."""
    world = World(settings)
    await world.warehouse.start()
    await world.generations.start(world.warehouse)
    await world.answers.start()
    await world.generations.polled()
    try:
        yield world
    finally:
        await world.answers.stop()
        await world.generations.stop()
        await world.warehouse.stop()


def run(settings: Settings, test: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run a test in a world of its own."""

    async def whole() -> None:
        async with started(settings) as world:
            await test(world)

    asyncio.run(whole())
