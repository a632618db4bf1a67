"""Answers in Redis, which all processes share, and the leases by which one computes for all.

Keys are ``millrace:answer:{<digest of the question's key>}`` and ``millrace:lease:{<the same>}``;
the braces put both on one node of a cluster. Redis may be slow, full or gone: whoever asks goes on
without it, and after a few failures leaves it alone for a while.
"""

from __future__ import annotations

import logging
import secrets
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
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
FAILURES = 3
AWAY_SECONDS = 1.0
"""After so many failures in a row Redis is left alone so long."""

# Keep an answer unless a later one is there, and give the lease back. KEYS: answer, lease.
# ARGV: answer, its moment, the latest moment that an answer can be of (ms), ms to live, token.
_PUT = """
local held = tonumber(redis.call('GETRANGE', KEYS[1], 0, 15))
local kept = 0
if not (held and held > tonumber(ARGV[2]) and held <= tonumber(ARGV[3])) then
  local done = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
  kept = (type(done) == 'table' and done.ok) and 1 or 0
end
if redis.call('GET', KEYS[2]) == ARGV[5] then redis.call('DEL', KEYS[2]) end
return kept
"""
# Give a lease back, or hold it for longer: KEYS: lease. ARGV: token, ms (0: give it back).
_HOLD = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""


class SharedCache:
    """Answers in Redis; nothing here raises when Redis fails."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
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

    async def get(self, digest: str) -> Entry | None:
        """Return what is kept of a question, whether it holds or not."""
        return _entry(await self._tried(lambda: self._redis.get(_answer(digest))))

    async def claim(self, digest: str) -> tuple[str | None, Entry | None]:
        """Try to be the one who computes; return a token if so, and the answer if there is one.

        Without Redis nobody else is known of: the token is empty.
        """
        token = secrets.token_hex(8)

        async def ask() -> list[Any]:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.set(_lease(digest), token, nx=True, px=LEASE_MILLISECONDS)
            pipeline.get(_answer(digest))
            return await pipeline.execute()

        found = await self._tried(ask)
        if found is None:
            return "", None
        return (token if found[0] else None), _entry(found[1])

    async def renew(self, digest: str, token: str) -> None:
        """Go on computing: hold the lease for longer."""
        await self._tried(
            lambda: self._hold(keys=[_lease(digest)], args=[token, LEASE_MILLISECONDS])
        )

    async def release(self, digest: str, token: str) -> None:
        """Let others compute."""
        if token:
            await self._tried(lambda: self._hold(keys=[_lease(digest)], args=[token, 0]))

    async def drop(self, digests: Sequence[str]) -> None:
        """Forget answers."""
        for first in range(0, len(digests), DROPPED_AT_ONCE):
            pipeline = self._redis.pipeline(transaction=False)
            for digest in digests[first : first + DROPPED_AT_ONCE]:
                pipeline.delete(_answer(digest))
            await self._tried(pipeline.execute)

    async def put(
        self, digest: str, entry: Entry, token: str, now: float, lives_seconds: float
    ) -> None:
        """Keep an answer unless a later one is there, and give the lease back."""
        content = entry.packed()
        if len(content) > MOST_BYTES:
            await self.release(digest, token)
            return
        moment = int(entry.as_of * 1000)
        latest = int((now + CLOCK_SECONDS) * 1000)
        lives = max(1, int(lives_seconds * 1000))
        await self._tried(
            lambda: self._put(
                keys=[_answer(digest), _lease(digest)],
                args=[content, moment, latest, lives, token],
            )
        )

    async def _tried(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Return what Redis says, or ``None`` where it does not."""
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
    return f"millrace:answer:{{{digest}}}"


def _lease(digest: str) -> str:
    return f"millrace:lease:{{{digest}}}"


def _entry(content: bytes | None) -> Entry | None:
    try:
        return Entry.unpacked(content) if content else None
    except (struct.error, ValueError):
        log.warning("Redis has an answer that is none of ours.")
        return None
