"""Answers are computed once for all who ask, and given whatever happens to the servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from unittest.mock import ANY

import pytest
from prometheus_client import REGISTRY
from tests.integration.query_cache_bed import (
    HOUR,
    NOON,
    ROLLUP,
    World,
    run,
)

from millrace.access.roles import Principal
from millrace.api.query.cache.answers import NONE_SECONDS, Answers, Kept
from millrace.api.query.cache.entries import Entry, digest
from millrace.api.query.cache.shared import SharedCache
from millrace.api.query.cache.wanted import Wanted
from millrace.api.query.warehouse import AT_ONCE, WarehouseAwayError
from millrace.settings import Settings
from millrace.stores import cache


def test_what_of_several_answers_is_not_kept_is_computed_at_once(rollup: Settings) -> None:
    computed: list[list[int]] = []

    async def test(world: World) -> None:
        other = Answers(world.settings, world.generations)
        await other.start()

        async def compute(numbers: Sequence[int]) -> list[bytes]:
            computed.append(list(numbers))
            return [str(number).encode() for number in numbers]

        async def ask(answers: Answers, *keys: str) -> list[tuple[bytes, str]]:
            wanted = [Wanted(key, world.of()) for key in keys]
            kept = await answers.get_all(wanted, compute, seconds=60)
            return [(one.value, one.layer) for one in kept]

        assert await ask(world.answers, "a") == [(b"0", "computed")]
        assert await ask(world.answers, "b", "a", "c") == [
            (b"0", "computed"),
            (b"0", "process"),
            (b"2", "computed"),
        ]
        assert await ask(other, "a", "d", "c") == [
            (b"0", "redis"),
            (b"1", "computed"),
            (b"2", "redis"),
        ]
        await other.stop()
        assert computed == [[0], [0, 2], [1]]

    run(rollup, test)


def test_who_allows_an_age_waits_for_what_began_unless_rows_went_since(rollup: Settings) -> None:
    async def test(world: World) -> None:
        async def asked_while(work: Callable[[], object]) -> tuple[list[Kept], int]:
            """Ask, do something while it is computed, and ask again; count the computations."""
            begun, may_end = asyncio.Event(), asyncio.Event()
            computed = 0

            async def compute() -> bytes:
                nonlocal computed
                computed += 1
                total = await world.total()
                begun.set()
                await may_end.wait()
                return total

            async def ask() -> Kept:
                return await world.answers.get(world.wanted("all", 60), compute, seconds=600)

            await world.answers.forget(["all"])
            first = asyncio.create_task(ask())
            await begun.wait()
            await world.after(work)
            second = asyncio.create_task(ask())
            await asyncio.sleep(0)
            may_end.set()
            return list(await asyncio.gather(first, second)), computed

        row = (NOON, "/", 1)
        found, computed = await asked_while(lambda: world.insert(ROLLUP, row))
        assert ([one.value for one in found], computed) == ([b"12", b"12"], 1)
        gone = f"DELETE FROM {ROLLUP} WHERE window_start = '{NOON:%F %T}'"
        found, computed = await asked_while(lambda: world.command(gone))
        assert ([one.value for one in found], computed) == ([b"13", await world.total()], 2)

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
        token, _ = await killed.claim(digest("all"), [])
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
            await shared.put({"key": entry}, "key", "", now, 60)
        (kept,) = await shared.get(["key"])
        assert kept
        assert kept.value == b"new"
        ahead = Entry(b"ahead", "g3", now + 3600, now + 7200, 0.0)
        await shared.put({"key": ahead}, "key", "", now + 3600, 60)
        await shared.put({"key": newer}, "key", "", now, 60)
        (kept,) = await shared.get(["key"])
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
            assert await ask_anew(world) == Kept(b"12", "computed", ANY, ANY)
        server.flushall()
        server.config_set("maxmemory-policy", "noeviction")
        server.config_set("maxmemory", 1)
        try:
            assert await ask_anew(world) == Kept(b"12", "computed", ANY, ANY)
        finally:
            server.config_set("maxmemory", "256mb")
            server.config_set("maxmemory-policy", "allkeys-lru")
        gone = world.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
        assert await ask_anew(world, gone) == Kept(b"12", "computed", ANY, ANY)

    run(rollup, test)


def test_a_process_that_asks_much_does_not_take_redis_for_gone(rollup: Settings) -> None:
    def failures() -> float:
        return REGISTRY.get_sample_value("millrace_query_cache_redis_failures_total") or 0.0

    async def test(world: World) -> None:
        shared = SharedCache(world.settings, at_once=1)
        await shared.start()
        before = failures()
        claims = await asyncio.gather(*(shared.claim(str(n), ["key"]) for n in range(1000)))
        await shared.stop()
        without_a_turn = [token for token, _ in claims].count("")
        assert without_a_turn > 100, "all of them had a turn within 50 ms"
        assert failures() - before < without_a_turn / 10  # a busy machine may be late by itself

    run(rollup, test)


def test_while_clickhouse_is_away_the_last_answer_is_given_with_its_age(rollup: Settings) -> None:
    async def away() -> bytes:
        raise WarehouseAwayError

    async def test(world: World) -> None:
        before = await world.ask("all")
        await world.after(lambda: world.insert(ROLLUP, (NOON, "/", 1)))
        last = await world.answers.get(Wanted("all", world.of(NOON, NOON + HOUR)), away, seconds=60)
        assert last == Kept(b"12", "stale", before.computed_at, before.generation)
        with pytest.raises(WarehouseAwayError):
            await world.answers.get(Wanted("never asked", world.of()), away, seconds=60)
        opened = world.of(NOON, NOON + HOUR)
        with pytest.raises(WarehouseAwayError):  # what may have been erased
            await world.answers.get(Wanted("all", opened), away, seconds=60, stale_seconds=0)
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
            await world.answers.get(Wanted("person", world.of()), compute, seconds=60)
            assert bool((await shared.get([digest("person")]))[0]) == kept
        assert (
            await world.answers.get(Wanted("person", world.of()), world.total, seconds=60)
        ).value
        await world.answers.forget(["person"])
        assert await shared.get([digest("person")]) == [None]
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
        await world.answers.get(Wanted("nobody", world.of()), nothing, seconds=3600)
        (entry,) = await shared.get([digest("nobody")])
        await shared.stop()
        assert entry
        assert entry.expires - entry.as_of == pytest.approx(NONE_SECONDS, abs=0.01)

    run(rollup, test)
