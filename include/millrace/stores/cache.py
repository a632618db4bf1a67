"""Redis, the hot cache: it holds nothing that the warehouse lacks."""

from __future__ import annotations

import redis

from millrace.settings import Settings


def connect(settings: Settings) -> redis.Redis:
    """Return a client of ``settings.redis_url``."""
    return redis.Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=2)
