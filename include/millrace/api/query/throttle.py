"""Who asks too often: logins by account and address, requests by whoever sends them."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from dataclasses import dataclass

from limits import RateLimitItem, RateLimitItemPerMinute, aio
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from millrace.access.roles import Principal
from millrace.api.http import ProblemError
from millrace.settings import Settings

log = logging.getLogger(__name__)

OF_ACCOUNT = RateLimitItemPerMinute(10, 5, "login-account")
"""Logins that fail: ten in five minutes, whoever tries."""
OF_ADDRESS = RateLimitItemPerMinute(60, 5, "login-address")
"""Logins from one address: sixty in five minutes, whoever they name."""
AGAIN_SECONDS = 10.0
"""How long a Redis that did not answer is not asked."""


class LoginThrottle:
    """Counts logins in Redis, for all processes; without it each process counts by itself."""

    def __init__(self, settings: Settings) -> None:
        self._shared = MovingWindowRateLimiter(
            RedisStorage(
                settings.redis_url,
                wrap_exceptions=False,
                key_prefix="millrace:logins",
                socket_connect_timeout=0.5,
                socket_timeout=0.5,
            )
        )
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._away_until = 0.0

    def take(self, account: str, address: str) -> None:
        """Count an attempt. Raises ``ProblemError`` (429) when there were too many."""
        for item, who in ((OF_ADDRESS, _network(address)), (OF_ACCOUNT, account)):
            wait = self._hit(item, who)
            if wait is not None:
                raise ProblemError(
                    429,
                    "too_many_logins",
                    f"Too many logins; try again in {wait} s.",
                    retry_after=wait,
                )

    def forgive(self, account: str) -> None:
        """Forget the attempts for an account whose owner came in."""
        self._own.clear(OF_ACCOUNT, account)
        if time.monotonic() >= self._away_until:
            try:
                self._shared.clear(OF_ACCOUNT, account)
            except (RedisError, OSError) as error:
                self._miss(error)

    def _hit(self, item: RateLimitItem, who: str) -> int | None:
        """Count one; return in how many seconds to try again, if there were too many."""
        if time.monotonic() >= self._away_until:
            try:
                return self._hit_in(self._shared, item, who)
            except (RedisError, OSError) as error:
                self._miss(error)
        return self._hit_in(self._own, item, who)

    def _hit_in(
        self, limiter: MovingWindowRateLimiter, item: RateLimitItem, who: str
    ) -> int | None:
        if limiter.hit(item, who):
            return None
        return _seconds_until(limiter.get_window_stats(item, who).reset_time)

    def _miss(self, error: Exception) -> None:
        log.warning("Redis does not count logins, this process does: %s", error)
        self._away_until = time.monotonic() + AGAIN_SECONDS


@dataclass(frozen=True)
class Standing:
    """How much of a limit is left: requests, and seconds until there is more of it."""

    limit: int
    remaining: int
    seconds: int

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return it as draft-ietf-httpapi-ratelimit-headers has it, in ASGI's form."""
        return [
            (b"ratelimit-policy", b'"requests";q=%d;w=60' % self.limit),
            (b"ratelimit", b'"requests";r=%d;t=%d' % (self.remaining, self.seconds)),
        ]


class RequestThrottle:
    """Counts requests of each principal in a window that slides, in this process.

    Processes share nothing, so that a request pays microseconds: each lets its part through.
    """

    def __init__(self, settings: Settings) -> None:
        self._limit = max(settings.query_requests_per_minute // settings.query_workers, 1)
        self._item = RateLimitItemPerMinute(self._limit)
        # The library's other storage starts a thread, again and again, to forget what is over.
        self._limiter = aio.strategies.SlidingWindowCounterRateLimiter(aio.storage.MemoryStorage())

    async def take(self, principal: Principal) -> Standing:
        """Count a request. Raises ``ProblemError`` (429) when there were too many."""
        is_within = await self._limiter.hit(self._item, principal.name)
        stats = await self._limiter.get_window_stats(self._item, principal.name)
        seconds = _seconds_until(stats.reset_time)
        if not is_within:
            raise ProblemError(
                429,
                "too_many_requests",
                f"{principal.name} sent more than {self._limit} requests in a minute.",
                retry_after=seconds,
            )
        return Standing(self._limit, max(stats.remaining, 0), seconds)


def _seconds_until(moment: float) -> int:
    return max(math.ceil(moment - time.time()), 1)


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6, the /64 that one household has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False))
