"""Answers in Redis, which all processes share, and the leases by which one computes for all.

Keys are ``millrace:answer:<digest of the question's key>``, and ``millrace:lease:<the same>``; who
computes several answers by one statement holds one lease for all of them. Redis may be slow, full
or gone: whoever asks goes on without it, and after a few failures leaves it alone for a while.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import struct
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from millrace.api.query.cache import metrics
from millrace.api.query.cache.entries import CLOCK_SECONDS, Entry
from millrace.settings import Settings
from millrace.stores import cache

log = logging.getLogger(__name__)

MOST_BYTES = 4 << 20
"""A longer answer is not put into Redis."""
LEASE_MILLISECONDS = 3000
"""After this, others compute what a killed process did not."""
DROPPED_AT_ONCE = 500
AT_ONCE = 32
"""How many requests of a process Redis has at once."""
FAILURES = 3
AWAY_SECONDS = 1.0
"""After so many failures in a row Redis is left alone so long."""

# Keep an answer unless a later one is there. KEYS: answer.
# ARGV: answer, its moment, the latest moment that an answer can be of (ms), ms to live.
_PUT = """
local held = tonumber(redis.call('GETRANGE', KEYS[1], 0, 15))
if held and held > tonumber(ARGV[2]) and held <= tonumber(ARGV[3]) then return 0 end
local done = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
return (type(done) == 'table' and done.ok) and 1 or 0
"""
# Give a lease back, or hold it for longer: KEYS: lease. ARGV: token, ms (0: give it back).
_HOLD = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


class SharedCache:
    """Answers in Redis; nothing here raises when Redis fails."""

    def __init__(self, settings: Settings, at_once: int = AT_ONCE) -> None:
        self._settings = settings
        self._turns = asyncio.Semaphore(at_once)
        self._failures = 0
        self._away_until = 0.0

    async def start(self) -> None:
        """Begin; Redis need not answer yet."""
        self._redis = cache.connect_quickly(self._settings)
        self._put = self._redis.register_script(_PUT)
        self._hold = self._redis.register_script(_HOLD)

    async def stop(self) -> None:
        """End, whether Redis hears of it or not."""
        with suppress(RedisError, OSError):
            await self._redis.aclose()

    async def get(self, digests: Sequence[str]) -> list[Entry | None]:
        """Return what is kept of questions, whether it holds or not."""
        return _entries(digests, await self._tried(lambda: self._redis.mget(_answers(digests))))

    async def claim(
        self, lease: str, digests: Sequence[str]
    ) -> tuple[str | None, list[Entry | None]]:
        """Try to be the one who computes; return a token if so, and the answers that there are.

        Without Redis nobody else is known of: the token is empty.
        """
        token = secrets.token_hex(8)

        async def ask() -> list[Any]:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.set(_lease(lease), token, nx=True, px=LEASE_MILLISECONDS)
            pipeline.mget(_answers(digests))
            return await pipeline.execute()

        found = await self._tried(ask)
        if found is None:
            return "", _entries(digests, None)
        return (token if found[0] else None), _entries(digests, found[1])

    async def renew(self, lease: str, token: str) -> None:
        """Go on computing: hold the lease for longer."""
        await self._tried(
            lambda: self._hold(keys=[_lease(lease)], args=[token, LEASE_MILLISECONDS])
        )

    async def release(self, lease: str, token: str) -> None:
        """Let others compute."""
        if token:
            await self._tried(lambda: self._hold(keys=[_lease(lease)], args=[token, 0]))

    async def drop(self, digests: Sequence[str]) -> None:
        """Forget answers."""
        for first in range(0, len(digests), DROPPED_AT_ONCE):
            pipeline = self._redis.pipeline(transaction=False)
            for digest in digests[first : first + DROPPED_AT_ONCE]:
                pipeline.delete(_answer(digest))
            await self._tried(pipeline.execute)

    async def put(
        self, entries: Mapping[str, Entry], lease: str, token: str, now: float, kept_seconds: float
    ) -> None:
        """Keep answers, unless later ones are there, and give their lease back.

        They are kept for ``kept_seconds`` after they have expired.
        """
        latest = int((now + CLOCK_SECONDS) * 1000)

        async def tell() -> list[Any]:
            pipeline = self._redis.pipeline(transaction=False)
            for digest, entry in entries.items():
                content = entry.packed()
                lives = max(1, int((entry.expires - entry.as_of + kept_seconds) * 1000))
                if len(content) <= MOST_BYTES:
                    values: list[bytes | int] = [content, int(entry.as_of * 1000), latest, lives]
                    await self._put(keys=[_answer(digest)], args=values, client=pipeline)
            if token:
                await self._hold(keys=[_lease(lease)], args=[token, 0], client=pipeline)
            return await pipeline.execute()

        await self._tried(tell)

    async def _tried(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Return what Redis says, or ``None`` where it does not.

        That no turn came in time is no failure of Redis: this process has much to ask.
        """
        try:
            async with asyncio.timeout(cache.QUICK_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            return None
        try:
            return await self._said(work)
        finally:
            self._turns.release()

    async def _said(self, work: Callable[[], Awaitable[Any]]) -> Any:
        if time.monotonic() < self._away_until:
            return None
        try:
            said = await work()
        except (RedisError, OSError, TimeoutError) as error:
            metrics.REDIS_FAILURES.inc()
            self._failures += 1
            if self._failures >= FAILURES:
                self._away_until = time.monotonic() + AWAY_SECONDS
                log.warning("Redis is left alone for %s s: %s", AWAY_SECONDS, error)
            return None
        self._failures = 0
        return said


def _answer(digest: str) -> str:
    return f"millrace:answer:{digest}"


def _answers(digests: Sequence[str]) -> list[str]:
    return [_answer(digest) for digest in digests]


def _lease(digest: str) -> str:
    return f"millrace:lease:{digest}"


def _entries(digests: Sequence[str], contents: list[bytes | None] | None) -> list[Entry | None]:
    return [_entry(content) for content in contents or [None] * len(digests)]


def _entry(content: bytes | None) -> Entry | None:
    try:
        return Entry.unpacked(content) if content else None
    except (struct.error, ValueError):
        log.warning("Redis has an answer that is none of ours.")
        return None
