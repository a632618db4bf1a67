"""What a process keeps in step with a server beside its requests, and goes on without."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


class Polled:
    """Runs ``work`` every so many seconds, from ``start`` until ``stop``.

    What ``work`` raises is said once in the log when it begins, and once when it is over.
    """

    def __init__(self, name: str, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        self._name = name
        self._work = work
        self._seconds = seconds
        self._is_failing = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Run it once, whatever comes of it, and from now on."""
        await self._once()
        self.begin()

    def begin(self) -> None:
        """Run it from now on, for the first time when so many seconds are over."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            await self._once()

    async def _once(self) -> None:
        try:
            await self._work()
        except Exception:
            if not self._is_failing:
                log.warning(
                    "%s can't be read; it goes on with what it knows", self._name, exc_info=True
                )
            self._is_failing = True
        else:
            if self._is_failing:
                log.warning("%s can be read again", self._name)
            self._is_failing = False
