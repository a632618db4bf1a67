"""Redis, the hot cache: it holds nothing that the warehouse lacks."""

from __future__ import annotations

import redis
from redis import asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from millrace.settings import Settings

QUICK_SECONDS = 0.05
"""How long somebody waits for Redis who can do without it."""


def connect(settings: Settings) -> redis.Redis:
    """Return a client of ``settings.redis_url``."""
    return redis.Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=2)


def connect_quickly(settings: Settings) -> asyncio.Redis:
    """Return a client for an event loop, which gives up soon and tries nothing twice.

    It opens a connection for each command that is under way: its user has a bound for these.
    """
    return asyncio.Redis.from_url(
        settings.redis_url,
        socket_connect_timeout=QUICK_SECONDS,
        socket_timeout=QUICK_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )
