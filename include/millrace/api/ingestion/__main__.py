"""The process: worker processes that share two ports, HTTP's and gRPC's."""

from __future__ import annotations

import resource

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops

from millrace.api import counting
from millrace.settings import Settings

AT_ONCE = 1 << 16
"""Requests at once in a worker. What bounds them is their bytes: slow senders have few, and fewer
places than senders would keep everybody else out."""


def main() -> None:
    """Serve until told to stop."""
    settings = Settings()
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    counting.count_together(settings.home / "ingestion" / "metrics")
    Granian(
        "millrace.api.ingestion.worker:app",
        address=settings.ingestion_host,
        port=settings.port("ingestion_api"),
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,  # to look for HTTP/2 takes half as much memory again
        workers=settings.ingestion_workers,
        respawn_failed_workers=True,
        websockets=False,
        backlog=4096,
        backpressure=AT_ONCE,
        log_access=False,
        process_name="millrace-ingestion",
    ).serve()


if __name__ == "__main__":
    main()
