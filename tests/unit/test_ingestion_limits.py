"""Rates and quotas hold over all workers, though each knows of the others a second late."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from millrace.access.keys import Key
from millrace.api.http import ProblemError
from millrace.api.ingestion.limits import Limits

START = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def key(rate: int | None = None, quota: int | None = None, name: str = "shop") -> Key:
    return Key("id", name, "events", b"", rate_per_second=rate, quota_per_day=quota)


class World:
    """A clock, and the totals that PostgreSQL would keep."""

    def __init__(self, workers: int) -> None:
        self.now = START
        self.totals: dict[tuple[str, str], int] = {}
        self.is_down = False
        self.workers = [Limits(workers, self.clock, self.clock) for _ in range(workers)]

    def clock(self) -> float:
        """Return the time, in seconds."""
        return self.now

    def count(self, name: str, taken: int) -> tuple[str, int]:
        """Add to the day's total, and return it."""
        if self.is_down:
            raise ConnectionError
        day = datetime.fromtimestamp(self.now, UTC).date().isoformat()
        self.totals[name, day] = self.totals.get((name, day), 0) + taken
        return day, self.totals[name, day]

    def synchronise(self, worker: Limits) -> None:
        """Let a worker say what it took, and learn what the others did."""
        try:
            worker.synchronise(self.count)
        except ConnectionError:
            assert self.is_down

    def run(
        self, seconds: float, key: Key, shares: Sequence[float], demand: float, batch: int = 1
    ) -> int:
        """Send ``demand`` events a second, spread by ``shares``; return how many were taken."""
        chance, taken, step = random.Random(4), 0, 0.01
        end = self.now + seconds
        while self.now < end - step / 2:
            self.now += step
            for number, worker in enumerate(self.workers):
                expected = demand * step * shares[number] / batch
                tries = int(expected) + (chance.random() < expected % 1)
                taken += batch * sum(admitted(worker, key, batch) for _ in range(tries))
                offset = (number + 0.5) / len(self.workers)
                before, after = self.now - step - offset, self.now - offset
                if int(before) != int(after):  # once a second, each at a moment of its own
                    self.synchronise(worker)
        return taken


def admitted(limits: Limits, key: Key, count: int) -> bool:
    try:
        limits.check(key, count)
    except ProblemError:
        return False
    return True


@pytest.mark.parametrize(
    ("shares", "rate", "batch"),
    [
        ([1.0], 100, 1),
        ([0.5, 0.5], 100, 1),
        ([1.0, 0.0], 100, 1),
        ([0.9, 0.1], 100, 1),
        ([0.25, 0.25, 0.25, 0.25], 100, 1),
        ([0.7, 0.1, 0.1, 0.1], 1_000, 10),
        ([0.5, 0.5], 1_000, 100),
    ],
)
def test_a_rate_is_kept_over_a_minute(shares: list[float], rate: int, batch: int) -> None:
    world = World(len(shares))
    limited = key(rate=rate)
    world.run(10, limited, shares, 5 * rate, batch)
    taken = world.run(60, limited, shares, 5 * rate, batch)
    assert taken == pytest.approx(60 * rate, rel=0.05)


def test_a_rate_holds_from_the_first_minute_on() -> None:
    world = World(2)
    assert world.run(60, key(rate=100), [0.5, 0.5], 500) == pytest.approx(6_000, rel=0.05)


def test_traffic_that_moves_to_another_worker_finds_the_whole_rate_there() -> None:
    world = World(2)
    limited = key(rate=100)
    world.run(20, limited, [1, 0], 500)
    world.run(3, limited, [0, 1], 500)
    assert world.run(60, limited, [0, 1], 500) == pytest.approx(6_000, rel=0.05)


def test_what_is_below_the_rate_is_taken_whole() -> None:
    world = World(2)
    limited = key(rate=1_000)
    world.run(5, limited, [0.6, 0.4], 900)
    taken = world.run(60, limited, [0.6, 0.4], 900)
    assert taken == pytest.approx(54_000, rel=0.01)


def test_nobody_is_refused_more_while_postgresql_is_away() -> None:
    world = World(2)
    limited = key(rate=200)
    world.run(10, limited, [1, 0], 180)
    world.is_down = True
    assert world.run(60, limited, [1, 0], 180) == pytest.approx(10_800, rel=0.01)
    assert world.run(60, limited, [0.5, 0.5], 1_000) <= 2 * 12_400
    world.is_down = False
    taken = world.run(60, limited, [0.5, 0.5], 1_000)
    assert 11_000 < taken < 12_200  # all of it was said, and some paid off
    assert sum(world.totals.values()) >= 10_800 + taken


def test_a_batch_above_the_burst_is_taken_and_paid_off() -> None:
    world = World(1)
    limited = key(rate=100)
    (worker,) = world.workers
    worker.check(limited, 2_000)
    with pytest.raises(ProblemError) as refused:
        worker.check(limited, 1)
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    assert refused.value.retry_after == 20
    world.now += 20
    worker.check(limited, 1)


def test_a_quota_is_of_the_day_and_of_all_workers() -> None:
    world = World(2)
    limited = key(quota=1_000)
    first, second = world.workers
    first.check(limited, 600)
    world.synchronise(first)
    second.check(limited, 1)
    world.synchronise(second)
    with pytest.raises(ProblemError) as refused:
        second.check(limited, 400)
    assert (refused.value.status, refused.value.code) == (429, "quota_exceeded")
    assert refused.value.retry_after == 12 * 3600
    second.check(limited, 399)
    world.synchronise(second)
    world.now += 12 * 3600
    second.check(limited, 1_000)


def test_what_was_not_accepted_after_all_is_given_back() -> None:
    world = World(1)
    limited = key(rate=10, quota=10)
    (worker,) = world.workers
    worker.check(limited, 10)
    assert not admitted(worker, limited, 1)
    worker.refund(limited, 10)
    worker.check(limited, 10)


def test_an_answer_says_what_is_left() -> None:
    world = World(1)
    (worker,) = world.workers
    limited = key(rate=100, quota=1_000)
    worker.check(limited, 60)
    said = worker.headers(limited)
    assert said["ratelimit-policy"] == '"events";q=100;w=1, "day";q=1000;w=86400'
    assert said["ratelimit"] == '"events";r=40;t=1, "day";r=940;t=43200'
    assert re.fullmatch(r'"events";r=\d+;t=\d+', worker.headers(key(rate=5, name="b"))["ratelimit"])
    assert worker.headers(key(name="free")) == {}


def test_a_key_without_limits_is_counted_all_the_same() -> None:
    world = World(1)
    (worker,) = world.workers
    worker.check(key(), 7)
    world.synchronise(worker)
    assert list(world.totals.values()) == [7]
