"""The process: workers that share a port."""

from __future__ import annotations

from granian import Granian
from granian.constants import Interfaces, Loops

from millrace.api import counting
from millrace.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    settings = Settings()
    if settings.query_workers > 1:
        counting.count_together(settings.home / "query" / "metrics")
    Granian(
        "millrace.api.query.worker:app",
        address=settings.query_host,
        port=settings.port("query_api"),
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        workers=settings.query_workers,
        respawn_failed_workers=True,
        websockets=False,
        backlog=16384,
        log_access=False,
        process_name="millrace-query",
    ).serve()


if __name__ == "__main__":
    main()
