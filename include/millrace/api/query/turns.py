"""Whose turn it is: a few statements run at once, and who asks little does not wait for others."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from millrace.api.http import ProblemError

WAIT_SECONDS = 10.0
"""How long one waits for its turn."""
MOST_WAITING = 200
"""How many of one asker wait at most."""


class Turns:
    """Gives out ``at_once`` turns: one asker after another, in a circle."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._running: Counter[str] = Counter()
        self._most: dict[str, int] = {}
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def taken(self, asker: str, most: int) -> AsyncIterator[None]:
        """Wait for a turn and have it; one asker has at most ``most`` at once.

        Raises ``ProblemError`` (503) when it does not come in time, or too many wait already.
        """
        self._most[asker] = most
        if self._free and self._running[asker] < most:
            self._take(asker)
        else:
            await self._wait(asker)
        try:
            yield
        finally:
            self._free += 1
            self._running[asker] -= 1
            if not self._running[asker]:
                del self._running[asker]
            self._next()

    def _take(self, asker: str) -> None:
        self._free -= 1
        self._running[asker] += 1

    async def _wait(self, asker: str) -> None:
        queue = self._waiting.setdefault(asker, deque())
        if len(queue) >= MOST_WAITING:
            raise _busy()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it came in the same moment
                self._free += 1
                self._running[asker] -= 1
                self._next()
            elif turn in queue:
                queue.remove(turn)
            if isinstance(error, TimeoutError):
                raise _busy() from None
            raise

    def _next(self) -> None:
        """Give free turns to those who wait, one each before anybody has a second."""
        passed = 0
        while self._free and passed < len(self._waiting):
            asker, queue = next(iter(self._waiting.items()))
            self._waiting.move_to_end(asker)
            while queue and queue[0].done():
                queue.popleft()
            if not queue:
                del self._waiting[asker]
            elif self._running[asker] >= self._most[asker]:
                passed += 1
            else:
                self._take(asker)
                queue.popleft().set_result(None)
                passed = 0


def _busy() -> ProblemError:
    return ProblemError(503, "busy", "Too many questions wait for ClickHouse.", retry_after=2)
