"""A few statements run at once, and who asks little does not wait for others."""

from __future__ import annotations

import asyncio

import pytest

from millrace.api.http import ProblemError
from millrace.api.query import turns
from millrace.api.query.turns import Turns


def test_one_asker_has_no_more_than_its_share() -> None:
    async def run() -> list[str]:
        given: list[str] = []
        release = asyncio.Event()
        all_turns = Turns(4)

        async def ask(asker: str) -> None:
            async with all_turns.taken(asker, 2):
                given.append(asker)
                await release.wait()

        many = [asyncio.create_task(ask("many")) for _ in range(10)]
        await asyncio.sleep(0)
        few = asyncio.create_task(ask("few"))
        await asyncio.sleep(0)
        early = list(given)
        release.set()
        await asyncio.gather(*many, few)
        assert len(given) == 11
        return early

    assert asyncio.run(run()) == ["many", "many", "few"]


def test_those_who_wait_take_turns() -> None:
    async def run() -> list[str]:
        given: list[str] = []
        all_turns = Turns(1)

        async def ask(asker: str) -> None:
            async with all_turns.taken(asker, 1):
                given.append(asker)
                await asyncio.sleep(0)

        asked = [asyncio.create_task(ask(asker)) for asker in "aaaabb"]
        await asyncio.gather(*asked)
        return given

    assert asyncio.run(run()) == list("aababa")


def test_who_goes_away_leaves_the_turn_to_others() -> None:
    async def run() -> None:
        all_turns = Turns(1)
        async with all_turns.taken("a", 1):
            waits = asyncio.create_task(all_turns.taken("b", 1).__aenter__())
            await asyncio.sleep(0)
            waits.cancel()
            await asyncio.wait([waits])
        async with asyncio.timeout(1), all_turns.taken("c", 1):
            pass

    asyncio.run(run())


def test_too_many_who_wait_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST_WAITING", 1)
    monkeypatch.setattr(turns, "WAIT_SECONDS", 0.01)

    async def run() -> None:
        all_turns = Turns(1)
        async with all_turns.taken("a", 1):
            first = asyncio.create_task(all_turns.taken("a", 1).__aenter__())
            await asyncio.sleep(0)
            with pytest.raises(ProblemError, match="Too many"):
                await all_turns.taken("a", 1).__aenter__()
            with pytest.raises(ProblemError) as late:
                await first
            assert late.value.status == 503

    asyncio.run(run())
