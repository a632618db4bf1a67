"""The process: worker processes that share two ports, HTTP's and gRPC's."""

from __future__ import annotations

from granian import Granian
from granian.constants import Interfaces, Loops

from millrace.api import counting
from millrace.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    settings = Settings()
    counting.count_together(settings.home / "ingestion" / "metrics")
    Granian(
        "millrace.api.ingestion.worker:app",
        address=settings.ingestion_host,
        port=settings.port("ingestion_api"),
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        workers=settings.ingestion_workers,
        respawn_failed_workers=True,
        websockets=False,
        backlog=4096,
        log_access=False,
        process_name="millrace-ingestion",
    ).serve()


if __name__ == "__main__":
    main()
