"""One computes for all who ask, the process keeps so many bytes, and old answers give way."""

from __future__ import annotations

import asyncio

import pytest

from millrace.api.query.cache.entries import OVERHEAD_BYTES, Entry, ProcessCache
from millrace.api.query.cache.flights import Flights


def test_work_runs_once_for_all_and_again_for_those_who_come_after() -> None:
    async def run() -> None:
        flights: Flights[int] = Flights()
        runs = 0

        async def work() -> int:
            nonlocal runs
            runs += 1
            await asyncio.sleep(0)
            return runs

        assert await asyncio.gather(*(flights.join("key", work) for _ in range(100))) == [1] * 100
        assert await flights.join("key", work) == 2

    asyncio.run(run())


def test_work_goes_on_until_the_last_who_waits_has_gone() -> None:
    async def run() -> None:
        flights: Flights[int] = Flights()
        begun, ended = asyncio.Event(), asyncio.Event()

        async def work() -> int:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return 0

        waiting = [asyncio.create_task(flights.join("key", work)) for _ in range(2)]
        await begun.wait()
        waiting[0].cancel()
        await asyncio.gather(waiting[0], return_exceptions=True)
        assert not ended.is_set()
        waiting[1].cancel()
        async with asyncio.timeout(5):
            await ended.wait()

    asyncio.run(run())


def test_what_fails_fails_for_all() -> None:
    async def run() -> list[int | BaseException]:
        flights: Flights[int] = Flights()

        async def work() -> int:
            await asyncio.sleep(0)
            raise ValueError

        both = (flights.join("key", work) for _ in range(2))
        return await asyncio.gather(*both, return_exceptions=True)

    assert [type(found) for found in asyncio.run(run())] == [ValueError, ValueError]


def entry(value: bytes = b"", *, as_of: float = 100.0, expires: float = 200.0) -> Entry:
    """An answer of generation g."""
    return Entry(value, "g", as_of, expires, 0.01)


@pytest.mark.parametrize(
    ("generation", "since", "now", "holds"),
    [
        pytest.param("g", 150.0, 160.0, True, id="its tables are as they were"),
        pytest.param("h", 90.0, 160.0, True, id="it was computed after the last change"),
        pytest.param("h", 150.0, 160.0, False, id="something changed since"),
        pytest.param("g", 90.0, 200.0, False, id="its time is over"),
        pytest.param("g", 90.0, 10.0, False, id="it is from the future"),
    ],
)
def test_how_long_an_answer_holds(generation: str, since: float, now: float, holds: bool) -> None:
    assert entry().holds(generation, since, now) == holds


def test_an_answer_survives_being_packed() -> None:
    kept = Entry(b"\x00value\xff", "generation ä", 1795947702.125, 1795951302.5, 0.25)
    assert Entry.unpacked(kept.packed()) == kept


def test_the_least_recently_used_goes_first_and_the_later_stays() -> None:
    cache = ProcessCache(most_bytes=10 * (OVERHEAD_BYTES + 1000))
    for number in range(9):
        cache.put(str(number), entry(b"x" * 999), 100.0)
    assert cache.get("0")
    for number in range(9, 12):
        cache.put(str(number), entry(b"x" * 900), 100.0)
    assert cache.get("0")
    assert cache.get("1") is None
    cache.put("0", entry(b"older", as_of=99.0), 100.0)
    assert cache.get("0") == entry(b"x" * 999)
    cache.put("large", entry(b"x" * 100_000), 100.0)
    assert cache.get("large") is None
