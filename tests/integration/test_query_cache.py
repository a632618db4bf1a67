"""Answers hold exactly as long as what they were made from, whatever happens to the cache."""

from __future__ import annotations

import asyncio
import contextlib
import math
import operator
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from unittest.mock import ANY

import pytest
from prometheus_client import REGISTRY
from tests.integration.query_cache_bed import (
    HOUR,
    NOON,
    ROLLUP,
    SPARE,
    VIEW,
    World,
    frozen_redis,
    run,
)

from millrace.access.roles import Principal
from millrace.api.query.cache.answers import NONE_SECONDS, Answers, Kept
from millrace.api.query.cache.entries import Entry, digest
from millrace.api.query.cache.generations import CURRENT_SECONDS
from millrace.api.query.cache.shadow import Shadow
from millrace.api.query.cache.shared import SharedCache
from millrace.api.query.warehouse import AT_ONCE, WarehouseAwayError
from millrace.settings import Settings
from millrace.stack.stack import Stack
from millrace.stores import cache, clickhouse


@pytest.fixture
def rollup(settings: Settings) -> Iterator[Settings]:
    """A rollup by the hour with rows of one day, a view of it, and an empty table like it."""
    client = clickhouse.connect(settings)
    client.command("CREATE DATABASE IF NOT EXISTS analytics")
    columns = "(window_start DateTime('UTC'), page String, n UInt64)"
    for table in (ROLLUP, SPARE):
        client.command(
            f"CREATE OR REPLACE TABLE {table} {columns} ENGINE = SummingMergeTree "
            "PARTITION BY toDate(window_start) ORDER BY (window_start, page)"
        )
    client.command(f"CREATE OR REPLACE VIEW {VIEW} AS SELECT * FROM {ROLLUP}")
    for hours in range(6):
        client.insert(ROLLUP, [[NOON - hours * HOUR, "/", 1], [NOON, "/", 1]])
    cache.connect(settings).flushall()
    yield settings
    for what in (f"VIEW {VIEW}", f"TABLE {ROLLUP} SYNC", f"TABLE {SPARE} SYNC"):
        client.command(f"DROP {what}")


@pytest.fixture
def frozen(stack: Stack) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """A moment in which Redis does not answer."""
    return partial(frozen_redis, stack.settings)


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


def test_a_thousand_who_ask_at_once_cost_one_statement(rollup: Settings) -> None:
    async def test(world: World) -> None:
        other = Answers(world.settings, world.generations)
        await other.start()
        asked = [
            world.ask("all", answers) for answers in (world.answers, other) for _ in range(500)
        ]
        found = await asyncio.gather(*asked)
        await other.stop()
        assert {kept.value for kept in found} == {b"12"}
        assert world.statements == 1

    run(rollup, test)


def test_when_who_computes_is_killed_another_does(rollup: Settings) -> None:
    async def test(world: World) -> None:
        killed = SharedCache(world.settings)
        await killed.start()
        token, _ = await killed.claim(digest("all"))
        assert token
        found = await asyncio.gather(*(world.ask("all") for _ in range(1000)))
        await killed.stop()
        assert {kept.value for kept in found} == {b"12"}
        assert world.statements == 1

    run(rollup, test)


def test_an_older_answer_never_takes_the_place_of_a_later_one(rollup: Settings) -> None:
    async def test(world: World) -> None:
        now = world.generations.now()
        shared = SharedCache(world.settings)
        await shared.start()
        newer = Entry(b"new", "g2", now, now + 60, 0.0)
        older = Entry(b"old", "g1", now - 30, now + 60, 0.0)
        for entry in (newer, older):
            await shared.put("key", entry, "", now, 60)
        kept = await shared.get("key")
        assert kept
        assert kept.value == b"new"
        await shared.put(
            "key", Entry(b"ahead", "g3", now + 3600, now + 7200, 0.0), "", now + 3600, 60
        )
        await shared.put("key", newer, "", now, 60)
        kept = await shared.get("key")
        assert kept
        assert kept.value == b"new", "a clock that was set back must not keep answers for ever"
        await shared.stop()

    run(rollup, test)


def test_redis_may_be_flushed_frozen_full_or_gone(
    rollup: Settings, frozen: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    async def ask_anew(world: World, settings: Settings | None = None) -> Kept:
        """Ask as a process does that has just begun."""
        answers = Answers(settings or world.settings, world.generations)
        await answers.start()
        try:
            return await world.ask("all", answers)
        finally:
            await answers.stop()

    async def test(world: World) -> None:
        server = cache.connect(world.settings)
        assert (await ask_anew(world)).layer == "computed"
        assert (await ask_anew(world)).layer == "redis"
        server.flushall()
        assert (await ask_anew(world)).layer == "computed"
        with frozen():
            assert await ask_anew(world) == Kept(b"12", "computed", ANY)
        server.flushall()
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", 1)
        try:
            assert await ask_anew(world) == Kept(b"12", "computed", ANY)
        finally:
            server.config_set("maxmemory", "256mb")
            server.config_set("maxmemory-policy", "allkeys-lru")
        gone = world.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
        assert await ask_anew(world, gone) == Kept(b"12", "computed", ANY)

    run(rollup, test)


def test_while_clickhouse_is_away_the_last_answer_is_given_with_its_age(rollup: Settings) -> None:
    async def away() -> bytes:
        raise WarehouseAwayError

    async def test(world: World) -> None:
        before = await world.ask("all")
        await world.after(lambda: world.insert(ROLLUP, (NOON, "/", 1)))
        last = await world.answers.get("all", world.of(NOON, NOON + HOUR), away, seconds=60)
        assert last == Kept(b"12", "stale", before.computed_at)
        with pytest.raises(WarehouseAwayError):
            await world.answers.get("never asked", world.of(), away, seconds=60)
        opened = world.of(NOON, NOON + HOUR)
        with pytest.raises(WarehouseAwayError):  # what may have been erased
            await world.answers.get("all", opened, away, seconds=60, stale_seconds=0)
        assert (await world.ask("all")).value == b"13"

    run(rollup, test)


def test_what_is_forgotten_while_it_is_computed_is_kept_nowhere(rollup: Settings) -> None:
    """What was erased may be in an answer that was begun before."""

    async def test(world: World) -> None:
        async def erased_meanwhile() -> bytes:
            await world.answers.forget(["person"])
            return b"personal"

        shared = SharedCache(world.settings)
        await shared.start()
        for compute, kept in ((erased_meanwhile, False), (world.total, True)):
            await world.answers.get("person", world.of(), compute, seconds=60)
            assert bool(await shared.get(digest("person"))) == kept
        assert (await world.answers.get("person", world.of(), world.total, seconds=60)).value
        await world.answers.forget(["person"])
        assert await shared.get(digest("person")) is None
        await shared.stop()

    run(rollup, test)


def test_slow_questions_keep_nobody_from_telling_whether_answers_hold(rollup: Settings) -> None:
    """They take all the turns that there are, for longer than anybody waits here."""

    async def test(world: World) -> None:
        slow = (
            "SELECT count() FROM numbers(600) WHERE NOT ignore(sleepEachRow(1)) "
            "SETTINGS max_block_size = 1"
        )
        asking = [
            asyncio.create_task(world.warehouse.ask(slow, whose=Principal(f"p{number}", "admin")))
            for number in range(AT_ONCE)
        ]
        running = f"SELECT count() = {AT_ONCE} FROM system.processes WHERE query = '{slow}'"
        async with asyncio.timeout(40):
            while not world.client.query(running).result_rows[0][0]:
                await asyncio.sleep(0.1)
            await world.generations.polled()
        assert not any(task.done() for task in asking)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    run(rollup, test)


def test_that_there_is_nothing_is_kept_for_a_short_time(rollup: Settings) -> None:
    async def nothing() -> bytes:
        return b""

    async def test(world: World) -> None:
        shared = SharedCache(world.settings)
        await shared.start()
        await world.answers.get("nobody", world.of(), nothing, seconds=3600)
        entry = await shared.get(digest("nobody"))
        await shared.stop()
        assert entry
        assert entry.expires - entry.as_of == pytest.approx(NONE_SECONDS, abs=0.01)

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
