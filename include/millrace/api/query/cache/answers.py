"""Answers that are kept: in the process, in Redis, and computed once for all who ask at once.

An answer holds while the content of its tables is as it was (``generations``), and no longer than
it is told to. It is never wrong because a cache is: what is not known to hold is computed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import operator
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from millrace.api.http import ProblemError
from millrace.api.query.cache import metrics
from millrace.api.query.cache.entries import Entry, ProcessCache, digest
from millrace.api.query.cache.flights import Flights
from millrace.api.query.cache.generations import Generation, Generations
from millrace.api.query.cache.shadow import Shadow
from millrace.api.query.cache.shared import LEASE_MILLISECONDS, SharedCache
from millrace.api.query.warehouse import StatementError, WarehouseAwayError
from millrace.settings import Settings

log = logging.getLogger(__name__)

Layer = Literal["process", "redis", "computed", "stale"]
Compute = Callable[[], Awaitable[bytes]]
Same = Callable[[bytes, bytes], bool]

NONE_SECONDS = 2.0
"""How long it is kept at most that there is nothing."""
STALE_SECONDS = 24 * 3600.0
"""How long an answer that no longer holds is kept, for when ClickHouse is away."""
PAUSES = (0.005, 0.01, 0.02, 0.04)
"""Seconds between looks for what another process computes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, where it was found, and when it was computed (by ClickHouse's clock).

    ``stale``: ClickHouse is away, and this is the last that was known; numbers may have changed.
    """

    value: bytes
    layer: Layer
    computed_at: datetime


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for; ``name`` is the short form of its key."""

    key: str
    name: str
    generation: str
    compute: Compute
    seconds: float
    same: Same
    stale_seconds: float


class Answers:
    """A process's; it belongs to the event loop that starts it."""

    def __init__(self, settings: Settings, generations: Generations) -> None:
        self._generations = generations
        self._process = ProcessCache()
        self._shared = SharedCache(settings)
        self._flights: Flights[Kept] = Flights()
        self._shadow = Shadow(generations)
        self._background: set[asyncio.Task[None]] = set()
        self._computing: Counter[str] = Counter()
        self._forgotten: set[str] = set()

    async def start(self) -> None:
        """Begin; no server need answer yet."""
        await self._shared.start()

    async def stop(self) -> None:
        """End; what runs in the background is given up."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._shared.stop()

    async def get(
        self,
        key: str,
        generation: str,
        compute: Compute,
        *,
        seconds: float,
        same: Same = operator.eq,
        stale_seconds: float = STALE_SECONDS,
    ) -> Kept:
        """Return the answer to a question: a kept one if it holds, else what ``compute`` gives.

        Args:
            key: The question, with what else the answer depends on, such as the asker's rights.
            generation: As ``Generations.of`` gave it before this was called.
            compute: Asks ClickHouse. Its answer may be empty, which says that there is none, and is
                kept for 2 s at most. One call may serve many who ask, and may come after this has
                returned, to refresh an answer or to check it.
            seconds: How long the answer holds at most.
            same: Tells whether two answers say the same; members such as times may differ.
            stale_seconds: How long after that it may be given while ClickHouse is away, although it
                may hold no more; 0: not at all.

        Raises whatever ``compute`` does; ``WarehouseAwayError`` only where no answer is kept.
        """
        asked = _Asked(key, digest(key), generation, compute, seconds, same, stale_seconds)
        found = self._held(self._process.get(asked.name), generation)
        if found:
            self._look_after(asked, found)
            kept = _kept(found, "process")
        else:
            kept = await self._flights.join((asked.name, generation), lambda: self._fetch(asked))
        metrics.ANSWERS.labels(kept.layer).inc()
        return kept

    async def forget(self, keys: Iterable[str]) -> None:
        """Have answers recomputed, and no longer kept anywhere.

        Those that are being computed are given to who asked, and not kept.
        """
        names = [digest(key) for key in keys]
        for name in names:
            self._process.drop(name)
            if name in self._computing:
                self._forgotten.add(name)
        await self._shared.drop(names)

    def _held(self, entry: Entry | None, generation: str) -> Entry | None:
        """Return an answer if it is known to hold."""
        is_held = (
            entry is not None
            and self._generations.is_current
            and entry.holds(generation, _since(generation), self._generations.now())
        )
        return entry if is_held else None

    async def _fetch(self, asked: _Asked) -> Kept:
        """Return the answer from Redis, or compute it unless another process does."""
        if found := self._held(await self._shared.get(asked.name), asked.generation):
            self._process.put(asked.name, found, self._generations.now())
            self._look_after(asked, found)
            return _kept(found, "redis")
        looks = 0
        while True:
            token, entry = await self._shared.claim(asked.name)
            if found := self._held(entry, asked.generation):
                await self._shared.release(asked.name, token or "")
                self._process.put(asked.name, found, self._generations.now())
                return _kept(found, "redis")
            if token is not None:
                break
            await asyncio.sleep(PAUSES[min(looks, len(PAUSES) - 1)])
            looks += 1
        try:
            return _kept(await self._compute(asked, token), "computed")
        except WarehouseAwayError:
            last = self._process.get(asked.name) or entry
            oldest = self._generations.now() - asked.stale_seconds
            if last is None or not asked.stale_seconds or last.expires < oldest:
                raise
            return _kept(last, "stale")

    async def _compute(self, asked: _Asked, token: str) -> Entry:
        """Compute an answer under a lease, and keep it."""
        as_of, began = self._generations.now(), time.monotonic()
        renewal = asyncio.create_task(self._renew(asked.name, token)) if token else None
        self._computing[asked.name] += 1
        try:
            value = await asked.compute()
        except BaseException:
            await asyncio.shield(self._shared.release(asked.name, token))
            raise
        finally:
            is_forgotten = self._is_forgotten(asked.name)
            if renewal:
                renewal.cancel()
        cost = time.monotonic() - began
        lives = asked.seconds if value else min(asked.seconds, NONE_SECONDS)
        entry = Entry(value, str(asked.generation), as_of, as_of + lives, cost)
        if as_of and not is_forgotten:
            now = self._generations.now()
            self._process.put(asked.name, entry, now)
            await self._shared.put(asked.name, entry, token, now, lives + asked.stale_seconds)
        else:
            await self._shared.release(asked.name, token)
        return entry

    def _is_forgotten(self, name: str) -> bool:
        """Note that a computation is over; tell whether its answer was forgotten meanwhile."""
        is_forgotten = name in self._forgotten
        self._computing[name] -= 1
        if not self._computing[name]:
            del self._computing[name]
            self._forgotten.discard(name)
        return is_forgotten

    async def _renew(self, name: str, token: str) -> None:
        while True:
            await asyncio.sleep(LEASE_MILLISECONDS / 3000)
            await self._shared.renew(name, token)

    def _look_after(self, asked: _Asked, entry: Entry) -> None:
        """Have an answer that was kept refreshed before it expires, or checked, now and then."""
        if entry.is_due(self._generations.now()):
            self._later(self._refresh(asked))
        elif isinstance(asked.generation, Generation) and self._shadow.is_chosen(asked.generation):
            self._later(self._check(asked, asked.generation, entry.value))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _refresh(self, asked: _Asked) -> None:
        """Compute an answer before it expires, unless another process does or did."""
        token, entry = await self._shared.claim(asked.name)
        held = self._process.get(asked.name)
        if token is None:
            return
        if entry and held and entry.as_of > held.as_of:
            await self._shared.release(asked.name, token)
            self._process.put(asked.name, entry, self._generations.now())
            return
        try:
            await self._compute(asked, token)
        except (WarehouseAwayError, StatementError, ProblemError) as error:
            log.info("An answer could not be refreshed: %s", error)

    async def _check(self, asked: _Asked, generation: Generation, value: bytes) -> None:
        if await self._shadow.differs(asked.key, value, generation, asked.compute, asked.same):
            await self.forget([asked.key])


def _kept(entry: Entry, layer: Layer) -> Kept:
    return Kept(entry.value, layer, datetime.fromtimestamp(entry.as_of, UTC))


def _since(generation: str) -> float:
    """Return since when rows are as they are; of a text that does not say, never."""
    return generation.since if isinstance(generation, Generation) else math.inf
