"""Rates and quotas of keys, kept in each worker and brought in step beside the requests.

A worker's token bucket is that of the whole key: it fills at the key's rate, less what the other
workers are expected to take, as they did last; once a second it learns what they did take, and its
tokens are corrected by the difference. So nothing is asked while a request waits, one worker that
gets all of the traffic may spend all of the rate, and over time the sum is the rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock

import psycopg
from psycopg.rows import DictRow

from millrace.access import keys
from millrace.access.keys import Key
from millrace.api.http import ProblemError
from millrace.api.ingestion.background import Repeated
from millrace.settings import Settings

SYNCHRONISE_SECONDS = 1.0
BURST_SECONDS = 1
"""A bucket holds what its rate gives in this time."""

SMOOTHING = 0.3
"""The weight of the last second in what the others are expected to take; 1 would swing."""

DEBT_SECONDS = 5
"""What the others took beyond the rate while PostgreSQL was away stops nobody for longer."""

DAY = 86_400

Count = Callable[[str, int], tuple[str, int]]
"""Adds what was taken under a name; returns the day and all that was taken on it."""


@dataclass
class _Meter:
    """What a worker knows of what is sent under a name."""

    rate: int
    tokens: float
    filled_at: float
    learnt_at: float
    others_rate: float = 0
    expected: float = 0
    unsaid: int = 0
    day: str = ""
    total: int = 0

    def fill(self, now: float, workers: int) -> None:
        """Add what the time brought. The others get at most their share: each has one to spend."""
        elapsed, self.filled_at = max(0.0, now - self.filled_at), now
        others = min(self.others_rate, self.rate * (workers - 1) / workers)
        self.expected += others * elapsed
        brought = (self.rate - others) * elapsed
        self.tokens = min(self.rate * BURST_SECONDS, self.tokens + brought)

    def learn(self, now: float, said: int, day: str, total: int) -> None:
        """Correct what was expected of the others by what they took, as the total says it."""
        is_first = not self.day
        before = self.total if day == self.day else 0
        others = 0 if is_first else max(0, total - before - said)
        deepest = min(self.tokens, -self.rate * DEBT_SECONDS)
        self.tokens = max(self.tokens + self.expected - others, deepest)
        self.expected = 0
        rate = others / max(now - self.learnt_at, SYNCHRONISE_SECONDS / 2)
        self.others_rate += SMOOTHING * (rate - self.others_rate)
        self.learnt_at, self.day, self.total = now, day, total


class Limits:
    """The rates and quotas of all keys, as one of ``workers`` processes keeps them."""

    def __init__(
        self,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._workers = max(1, workers)
        self._clock = clock
        self._now = now
        self._meters: dict[str, _Meter] = {}
        self._lock = Lock()

    def background(self, settings: Settings) -> Repeated:
        """Return what brings the workers in step, to be started and stopped with the process."""

        def work(connection: psycopg.Connection[DictRow]) -> None:
            self.synchronise(partial(keys.count, connection))

        return Repeated(settings, "limits", work, SYNCHRONISE_SECONDS)

    def check(self, key: Key, count: int) -> None:
        """Take ``count`` events of a key, or raise ``ProblemError`` (429) saying when to come back.

        A batch above what a bucket holds is taken when the bucket is full, and paid off afterwards.
        """
        with self._lock:
            meter = self._meter(key)
            if key.rate_per_second is not None:
                self._check_rate(meter, count)
            if key.quota_per_day is not None:
                self._check_quota(meter, key.quota_per_day, count)
            meter.tokens -= count
            meter.unsaid += count

    def refund(self, key: Key, count: int) -> None:
        """Give back what was taken for events that were not accepted after all."""
        with self._lock:
            meter = self._meter(key)
            meter.tokens += count
            meter.unsaid -= count

    def headers(self, key: Key) -> dict[str, str]:
        """Return what the answer says of the limits (draft-ietf-httpapi-ratelimit-headers-10)."""
        rate, quota = key.rate_per_second, key.quota_per_day
        if rate is None and quota is None:
            return {}
        policies, states = [], []
        with self._lock:
            meter = self._meter(key)
            if rate is not None:
                meter.fill(self._clock(), self._workers)
                left = max(0, math.floor(meter.tokens))
                full_in = math.ceil((rate * BURST_SECONDS - meter.tokens) / rate)
                policies.append(f'"events";q={rate * BURST_SECONDS};w={BURST_SECONDS}')
                states.append(f'"events";r={left};t={full_in}')
            if quota is not None:
                left = max(0, quota - self._used(meter))
                policies.append(f'"day";q={quota};w={DAY}')
                states.append(f'"day";r={left};t={self._to_midnight()}')
        return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(states)}

    def synchronise(self, count: Count) -> None:
        """Say what was taken since the last time, and learn what the other workers took.

        What could not be said is said the next time.
        """
        with self._lock:
            meters = list(self._meters.items())
        for name, meter in meters:
            with self._lock:
                said, meter.unsaid = meter.unsaid, 0
            try:
                day, total = count(name, said)
            except BaseException:
                with self._lock:
                    meter.unsaid += said
                raise
            with self._lock:
                meter.learn(self._clock(), said, day, total)

    def _meter(self, key: Key) -> _Meter:
        rate = key.rate_per_second or 0
        meter = self._meters.get(key.name)
        if meter is None:
            now = self._clock()
            tokens = rate * BURST_SECONDS / self._workers
            meter = self._meters[key.name] = _Meter(rate, tokens, now, now)
        meter.rate = rate
        return meter

    def _check_rate(self, meter: _Meter, count: int) -> None:
        meter.fill(self._clock(), self._workers)
        rate = meter.rate
        needed = min(count, rate * BURST_SECONDS)
        if meter.tokens < needed:
            seconds = max(1, math.ceil((needed - meter.tokens) / rate))
            raise ProblemError(
                429,
                "rate_limited",
                f"This key may send {rate} events a second. Send the same again in {seconds} s.",
                retry_after=seconds,
            )

    def _check_quota(self, meter: _Meter, quota: int, count: int) -> None:
        if self._used(meter) + count > quota:
            raise ProblemError(
                429,
                "quota_exceeded",
                f"This key may send {quota} events a day, and there is no room for {count} more "
                "until midnight UTC.",
                retry_after=self._to_midnight(),
            )

    def _used(self, meter: _Meter) -> int:
        today = time.strftime("%Y-%m-%d", time.gmtime(self._now()))
        return meter.unsaid + (meter.total if meter.day == today else 0)

    def _to_midnight(self) -> int:
        return max(1, DAY - int(self._now()) % DAY)
