"""Live numbers: what many watch is asked once, and goes on until the last of them goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.query.test_questions import ANYONE, REGISTRY

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.api.query.live import Live

WATCHED = {"name": "views", "range": "2h", "interval": "1h"}


@dataclass
class Numbers:
    """Stands in for what answers questions: they change when ``state`` does."""

    now: str = "first"
    failure: ProblemError | None = None
    asked: list[Principal] = field(default_factory=list)
    inquiry: Any = None

    def state(self, inquiry: Any) -> str:
        """Return what changes when the numbers do."""
        self.inquiry = inquiry
        if self.failure is not None:
            raise self.failure
        return self.now

    async def body(self, _inquiry: Any, _state: str, whose: Principal) -> Any:
        """Return the numbers, and note who asked."""
        self.asked.append(whose)
        return SimpleNamespace(state=self.now, content=b'{"is": "%b"}' % self.now.encode())


def watched(work: Callable[[Live, Numbers], Any]) -> None:
    async def run() -> None:
        numbers = Numbers()
        live = Live(numbers, lambda _whose: REGISTRY)  # type: ignore[arg-type]
        async with asyncio.timeout(20):
            await work(live, numbers)

    asyncio.run(run())


async def event(events: AsyncIterator[str]) -> tuple[str, str]:
    lines = (await anext(events)).splitlines()
    return lines[0].removeprefix("event: "), lines[-2].removeprefix("data: ")


def test_many_are_served_by_one_question() -> None:
    async def work(live: Live, numbers: Numbers) -> None:
        watchers = [live.watch(WATCHED, ANYONE) for _ in range(50)]
        said = [await event(one) for one in watchers]
        assert set(said) == {("numbers", '{"is": "first"}')}
        numbers.now = "second"
        said = [await event(one) for one in watchers]
        assert set(said) == {("numbers", '{"is": "second"}')}
        assert numbers.asked == [ANYONE] * 2
        for one in watchers:
            await one.aclose()

    watched(work)


def test_who_may_see_other_numbers_is_asked_for_apart() -> None:
    async def work(live: Live, numbers: Numbers) -> None:
        web = Principal("eve", "viewer", frozenset({"web"}))
        first, second = live.watch(WATCHED, ANYONE), live.watch(WATCHED, web)
        await event(first)
        await event(second)
        assert numbers.asked == [ANYONE, web]

    watched(work)


def test_what_is_watched_is_what_was_asked_for() -> None:
    async def work(live: Live, numbers: Numbers) -> None:
        asked = {"compare": "1d", "complete_only": "True", "max_age": "5"}
        events = live.watch(WATCHED | asked, ANYONE)
        await event(events)
        question = numbers.inquiry.question
        assert (question.compare, question.is_complete_only) == ("1d", True)
        assert numbers.inquiry.manner.max_age == 5
        await events.aclose()

    watched(work)


def test_nothing_is_asked_once_the_last_has_gone() -> None:
    async def work(live: Live, numbers: Numbers) -> None:
        before = asyncio.all_tasks()
        first, second = live.watch(WATCHED, ANYONE), live.watch(WATCHED, ANYONE)
        await event(first)
        await event(second)
        await first.aclose()
        (following,) = asyncio.all_tasks() - before
        assert not following.done()
        await second.aclose()
        await asyncio.wait([following])
        assert following.cancelled()
        again = live.watch(WATCHED, ANYONE)
        assert await event(again) == ("numbers", '{"is": "first"}')
        assert len(numbers.asked) == 2

    watched(work)


def test_a_problem_is_told_once_and_the_stream_goes_on() -> None:
    async def work(live: Live, numbers: Numbers) -> None:
        events = live.watch(WATCHED, ANYONE)
        await event(events)
        numbers.failure = ProblemError(503, "unavailable", "ClickHouse does not answer.")
        kind, said = await event(events)
        assert (kind, "ClickHouse does not answer." in said) == ("problem", True)
        numbers.failure, numbers.now = None, "third"
        assert await event(events) == ("numbers", '{"is": "third"}')

    watched(work)


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"name": "nosuch"}, "unknown_metric"),
        ({"name": "views", "range": "5d", "interval": "1min"}, "too_large"),
        ({"name": "views", "max_age": "0.0001"}, "invalid_parameter"),
    ],
)
def test_what_cannot_be_watched(parameters: dict[str, str], code: str) -> None:
    async def work(live: Live, _numbers: Numbers) -> None:
        with pytest.raises(ProblemError) as refused:
            live.check(parameters, ANYONE)
        assert refused.value.code == code
        live.check(WATCHED, ANYONE)

    watched(work)


def test_nobody_takes_all_topics() -> None:
    async def work(live: Live, numbers: Numbers) -> None:
        own = [WATCHED | {"range": f"{hours}h"} for hours in range(1, 51)]
        watchers = [live.watch(one, ANYONE) for one in own]
        for one in watchers:
            await event(one)
        with pytest.raises(ProblemError, match="You watch too much"):
            live.check(WATCHED | {"range": "51h"}, ANYONE)
        live.check(own[0], ANYONE)
        live.check(WATCHED, Principal("somebody else", "viewer"))
        for one in watchers:
            await one.aclose()

    watched(work)
