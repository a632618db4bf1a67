"""The ASGI application that a worker process loads: it begins and ends with the worker."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from millrace.api.ingestion.app import App
from millrace.api.ingestion.grpc_server import Server
from millrace.api.ingestion.intake import Intake
from millrace.settings import Settings

READINESS_SECONDS = 1.0

COLLECT_AFTER = (100_000, 20, 100)
"""How seldom Python looks for cycles of objects: a batch makes a thousand objects and no cycle, so
to look as often as it does by itself takes up to a fifth of all time."""

log = logging.getLogger(__name__)


class Worker:
    """The application, and what it needs for as long as the worker lives (ASGI's lifespan)."""

    def __init__(self) -> None:
        self._app: App | None = None

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        """Serve a request, or begin and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif self._app is not None:
            await self._app(scope, receive, send)

    async def _live(
        self,
        receive: Callable[[], Awaitable[Mapping[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        await receive()
        logging.basicConfig(
            level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        settings = Settings()
        intake = Intake(settings, settings.ingestion_workers)
        address = f"{settings.ingestion_host}:{settings.port('ingestion_grpc')}"
        grpc = Server(intake.ring, intake.take, address)
        try:
            await intake.start()
            await grpc.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        self._app = App(intake)
        gc.freeze()  # what there is stays
        gc.set_threshold(*COLLECT_AFTER)
        await send({"type": "lifespan.startup.complete"})
        told = asyncio.create_task(_tell_readiness(intake, grpc))
        await receive()
        told.cancel()
        await grpc.stop()
        await intake.close()
        await send({"type": "lifespan.shutdown.complete"})


async def _tell_readiness(intake: Intake, grpc: Server) -> None:
    """Keep gRPC's health service at what ``/readyz`` says, and end with the main process.

    One that was killed can't stop its workers; they would serve on beside those of the next.
    """
    main = os.getppid()
    while True:
        if os.getppid() != main:
            log.warning("the main process is gone; this worker ends")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        await grpc.set_ready(is_ready=not intake.readiness())
        await asyncio.sleep(READINESS_SECONDS)


app = Worker()
