"""Embedded Redis: the hot cache, kept in memory only, least recently used first to go."""

from __future__ import annotations

from millrace.settings import Settings
from millrace.stack.server import Server, find_program
from millrace.stores import cache


def server(settings: Settings) -> Server:
    """Describe the embedded Redis."""
    folder = settings.home / "redis"
    command = [find_program("redis-server", package="redis-server")]
    command += ["--bind", "127.0.0.1", "--port", str(settings.port("redis")), "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "no"]
    command += ["--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]

    def check() -> None:
        cache.connect(settings).ping()

    return Server(
        name="redis",
        command=command,
        check=check,
        directory=folder,
        port=settings.port("redis"),
        addresses={"redis": f"redis://127.0.0.1:{settings.port('redis')}"},
        prepare=lambda: folder.mkdir(parents=True, exist_ok=True),
    )
