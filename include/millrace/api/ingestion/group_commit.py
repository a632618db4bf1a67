"""Requests that wait for the disk are written and synchronised together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from millrace.api.ingestion.spool import Record, Spool, SpoolError

log = logging.getLogger(__name__)


class GroupCommit:
    """Appends to the spool what comes while the disk writes what came before.

    So a request waits for at most two synchronisations, and a busy disk makes larger groups. It
    belongs to the event loop that calls it.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._thread = ThreadPoolExecutor(1, "spool")
        self._waiting: list[tuple[Sequence[Record], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None
        self.trouble: str = ""
        """Why the last group could not be kept; empty when it was."""

    def append(self, records: Sequence[Record]) -> asyncio.Future[None]:
        """Append records behind everything appended before; done when the disk has them.

        The future raises ``SpoolError``.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append((records, future))
        if self._task is None:
            self._task = loop.create_task(self._write())
        return future

    async def close(self) -> None:
        """Wait until everything is on the disk."""
        if self._task:
            await self._task
        self._thread.shutdown()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting, []
            requests = [records for records, _ in group]
            error: SpoolError | None = None
            try:
                await loop.run_in_executor(self._thread, self._spool.append, requests)
            except SpoolError as raised:
                error = raised
            except Exception as raised:
                log.exception("the spool failed")
                error = SpoolError(f"The spool failed: {raised}.")
            self.trouble = str(error) if error else ""
            for _, future in group:
                if future.done():  # nobody waits any more
                    continue
                if error:
                    future.set_exception(error)
                else:
                    future.set_result(None)
        self._task = None
