"""Answers hold exactly as long as what they were made from, whatever happens to the cache."""

from __future__ import annotations

import asyncio
import contextlib
import math
import operator
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from prometheus_client import REGISTRY
from tests.integration.query_cache_bed import (
    HOUR,
    NOON,
    ROLLUP,
    SPARE,
    VIEW,
    World,
    run,
)

from millrace.api.query.cache.answers import Answers
from millrace.api.query.cache.generations import CURRENT_SECONDS
from millrace.api.query.cache.shadow import Shadow
from millrace.settings import Settings
from millrace.stores import cache


def test_what_changes_rows_raises_the_generation_of_their_times_and_nothing_else_does(
    rollup: Settings,
) -> None:
    """Each step: what happens, and whether the closed hour and the open one change."""

    async def test(world: World) -> None:
        day = NOON.date()
        optimize = f"OPTIMIZE TABLE {ROLLUP} FINAL"
        steps: list[tuple[str, Callable[[], object], bool, bool]] = [
            ("nothing", lambda: None, False, False),
            ("a load", lambda: world.insert(ROLLUP, (NOON, "/a", 1)), False, True),
            ("a merge", lambda: world.command(optimize), False, False),
            ("a late row", lambda: world.insert(ROLLUP, (NOON - HOUR, "/a", 1)), True, False),
            ("older rows", lambda: world.insert(ROLLUP, (NOON - 5 * HOUR, "/", 1)), False, False),
            (
                "an erasure",
                lambda: world.command(f"DELETE FROM {ROLLUP} WHERE page = '/a'"),
                True,
                True,
            ),
            ("a merge after it", lambda: world.command(optimize), False, False),
            ("a shadow", lambda: world.insert(SPARE, (NOON - HOUR, "/", 7)), False, False),
            (
                "a rebuild's swap",
                lambda: world.command(
                    f"ALTER TABLE {ROLLUP} REPLACE PARTITION '{day}' FROM {SPARE}"
                ),
                True,
                True,
            ),
            (
                "a deployment's exchange",
                lambda: world.command(f"EXCHANGE TABLES {ROLLUP} AND {SPARE}"),
                True,
                True,
            ),
            (
                "a view deployed",
                lambda: world.command(
                    f"CREATE OR REPLACE VIEW {VIEW} AS SELECT * FROM {ROLLUP} WHERE n > 0"
                ),
                True,
                True,
            ),
            (
                "a partition dropped",
                lambda: world.command(f"ALTER TABLE {ROLLUP} DROP PARTITION '{day}'"),
                True,
                False,
            ),
            (
                "a restore",
                lambda: world.command(
                    f"ALTER TABLE {ROLLUP} ATTACH PARTITION '{day}' FROM {SPARE}"
                ),
                True,
                False,
            ),
            (
                "an expiry",
                lambda: world.command(
                    f"ALTER TABLE {ROLLUP} MODIFY TTL window_start + INTERVAL 1 DAY"
                ),
                True,
                True,
            ),
        ]
        for what, work, is_closed_raised, is_open_raised in steps:
            closed, opened = world.of(), world.of(NOON, NOON + HOUR)
            await world.after(work)
            assert (world.of() != closed) == is_closed_raised, what
            assert (world.of(NOON, NOON + HOUR) != opened) == is_open_raised, what

    run(rollup, test)


def test_who_allows_an_age_lacks_rows_that_came_and_sees_none_that_went(rollup: Settings) -> None:
    async def test(world: World) -> None:
        def etag() -> str:
            (kept,) = world.answers.generations_kept([world.wanted("all", max_age=60)])
            return kept

        first = await world.ask("all", max_age=60)
        assert (first.layer, first.generation) == ("computed", etag())
        await world.after(lambda: world.insert(ROLLUP, (NOON - 30 * HOUR, "/", 1)))
        assert (await world.ask("all", max_age=60)).value == b"12"
        assert etag() == first.generation
        assert (await world.ask("all")).value == b"13"
        assert etag() != first.generation
        assert (await world.ask("all", max_age=60)).value == b"13", "the newest that is kept"
        await world.after(lambda: world.insert(ROLLUP, (NOON, "/", 1)))
        assert (await world.ask("all", max_age=0.001)).value == b"14", "its age is over"
        await world.after(
            lambda: world.command(f"DELETE FROM {ROLLUP} WHERE window_start = '{NOON:%F %T}'")
        )
        gone = await world.ask("all", max_age=60)
        assert (gone.value, gone.layer) == (await world.total(), "computed")

    run(rollup, test)


def _checks(outcome: str) -> float:
    name = "millrace_query_cache_shadow_checks_total"
    return REGISTRY.get_sample_value(name, {"outcome": outcome}) or 0.0


def test_a_wrong_answer_is_an_incident_and_a_changed_one_is_none(
    rollup: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(world: World) -> None:
        shadow = Shadow(world.generations, share=1.0)

        async def check(kept: bytes, compute: Callable[[], Awaitable[bytes]]) -> bool:
            generation = world.of(NOON, NOON + HOUR)
            assert shadow.is_chosen(generation)
            return await shadow.differs("all", kept, generation, compute, operator.eq)

        async def change() -> bytes:
            world.insert(ROLLUP, (NOON, "/", 1))
            return await world.total()

        counted = {outcome: _checks(outcome) for outcome in ("equal", "different", "unsettled")}
        assert not await check(b"12", world.total)
        assert not await check(b"12", change)
        assert await check(b"12", world.total)
        assert {outcome: _checks(outcome) - n for outcome, n in counted.items()} == {
            "equal": 1,
            "different": 1,
            "unsettled": 1,
        }
        assert "The cache gave a wrong answer" in caplog.text

    run(rollup, test)


def test_no_answer_is_older_than_two_seconds_whatever_happens(
    rollup: Settings, frozen: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    """Two processes ask all the time while tables change and Redis is flushed and frozen."""
    chance = random.Random(20)
    stale: list[str] = []

    async def watch(world: World, answers: Answers, until: dict[int, float]) -> None:
        """Ask; what is said must have been true less than two seconds before."""
        while True:
            began = time.monotonic()
            said = int((await world.ask("all", answers)).value)
            if until.get(said, 0.0) < began - CURRENT_SECONDS:
                stale.append(f"{said} at {began:.2f}, true until {until}")
            await asyncio.sleep(0.01)

    async def test(world: World) -> None:
        other = Answers(world.settings, world.generations)
        await other.start()
        total = 12
        until = {total: math.inf}
        watchers = [
            asyncio.create_task(watch(world, answers, until)) for answers in (world.answers, other)
        ]

        async def change(work: Callable[[], object], now: int) -> None:
            nonlocal total
            until[now] = math.inf
            await asyncio.to_thread(work)
            until[total], total = time.monotonic(), now

        for _ in range(12):
            late = NOON - chance.randrange(6) * HOUR
            await change(partial(world.insert, ROLLUP, (late, "/", 1)), total + 1)
            match chance.randrange(4):
                case 0:
                    cache.connect(world.settings).flushall()
                case 1:
                    with frozen():
                        await asyncio.sleep(0.2)
                case 2:
                    world.command(f"OPTIMIZE TABLE {ROLLUP} FINAL")
                case 3:
                    world.command(f"CREATE OR REPLACE TABLE {SPARE} AS {ROLLUP}")
                    world.insert(SPARE, (NOON, "/", total + 100))
                    exchange = f"EXCHANGE TABLES {ROLLUP} AND {SPARE}"
                    await change(partial(world.command, exchange), total + 100)
            await asyncio.sleep(0.1)
        await world.generations.polled()
        assert int((await world.ask("all")).value) == total
        for watcher in watchers:
            assert not watcher.done(), watcher.exception()
            watcher.cancel()
        await other.stop()

    run(rollup, test)
    assert not stale
