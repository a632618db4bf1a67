"""Answers that are kept: in the process, in Redis, and computed once for all who ask at once.

An answer holds while the content of its tables is as it was (``generations``), and no longer than
it is told to. It is never wrong because a cache is: what is not known to hold is computed.
"""

from __future__ import annotations

import asyncio
import logging
import operator
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from millrace.api.http import ProblemError
from millrace.api.query.cache import metrics
from millrace.api.query.cache.entries import Entry, ProcessCache, digest
from millrace.api.query.cache.flights import Flights
from millrace.api.query.cache.generations import Generation, Generations
from millrace.api.query.cache.shadow import Shadow
from millrace.api.query.cache.shared import LEASE_MILLISECONDS, SharedCache
from millrace.api.query.cache.wanted import Wanted
from millrace.api.query.warehouse import StatementError, WarehouseAwayError
from millrace.settings import Settings

log = logging.getLogger(__name__)

Layer = Literal["process", "redis", "computed", "stale"]
Compute = Callable[[Sequence[int]], Awaitable[Sequence[bytes]]]
"""Gives the answers with some numbers, of several that are asked for together."""
Same = Callable[[bytes, bytes], bool]

NONE_SECONDS = 2.0
"""How long it is kept at most that there is nothing."""
STALE_SECONDS = 24 * 3600.0
"""How long an answer that no longer holds is kept, for when ClickHouse is away."""
ROUNDED_SECONDS = 1e-6
"""By how much a moment may be rounded up."""
PAUSES = (0.005, 0.01, 0.02, 0.04)
"""Seconds between looks for what another process computes."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, where it was found, and when it was computed (by ClickHouse's clock).

    ``stale``: ClickHouse is away, and this is the last that was known; numbers may have changed.
    ``generation`` is that of the rows that it was computed from; it ``expires`` whether these
    change or not.
    """

    value: bytes
    layer: Layer
    computed_at: datetime
    generation: str
    expires: float = field(default=0.0, compare=False)


def found_at(kept: Kept) -> dict[str, str]:
    """Return the headers that say where an answer was found, and how old it is."""
    age = max(0, int((datetime.now(UTC) - kept.computed_at).total_seconds()))
    return {"x-cache": kept.layer, "age": str(age), "cache-control": "private, no-cache"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for together; ``names`` are the short forms of the keys."""

    wanted: tuple[Wanted, ...]
    names: tuple[str, ...]
    compute: Compute
    seconds: float
    same: Same
    stale_seconds: float

    @property
    def flight(self) -> tuple[tuple[object, ...], ...]:
        """What is the same for all whom one computation may serve.

        To who allows an age it does not matter which rows came since it began.
        """
        return tuple((one.key, one.max_age or one.generation, one.role) for one in self.wanted)

    @property
    def lease(self) -> str:
        """What is held while these are computed."""
        return self.names[0] if len(self.names) == 1 else digest(" ".join(self.names))

    def only(self, numbers: Sequence[int]) -> _Asked:
        """Return some of it."""

        async def compute(chosen: Sequence[int]) -> Sequence[bytes]:
            return await self.compute([numbers[number] for number in chosen])

        return replace(
            self,
            wanted=tuple(self.wanted[number] for number in numbers),
            names=tuple(self.names[number] for number in numbers),
            compute=compute,
        )


class Answers:
    """A process's; it belongs to the event loop that starts it."""

    def __init__(self, settings: Settings, generations: Generations) -> None:
        self._generations = generations
        self._process = ProcessCache()
        self._shared = SharedCache(settings)
        self._flights: Flights[list[Kept]] = Flights()
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
        wanted: Wanted,
        compute: Callable[[], Awaitable[bytes]],
        *,
        seconds: float,
        same: Same = operator.eq,
        stale_seconds: float = STALE_SECONDS,
    ) -> Kept:
        """Return one answer, as ``get_all`` does several."""

        async def compute_all(_numbers: Sequence[int]) -> Sequence[bytes]:
            return [await compute()]

        (found,) = await self.get_all(
            [wanted], compute_all, seconds=seconds, same=same, stale_seconds=stale_seconds
        )
        return found

    async def get_all(
        self,
        wanted: Sequence[Wanted],
        compute: Compute,
        *,
        seconds: float,
        same: Same = operator.eq,
        stale_seconds: float = STALE_SECONDS,
    ) -> list[Kept]:
        """Return answers: kept ones that hold, and what ``compute`` gives for the others.

        Args:
            wanted: What is asked for.
            compute: Asks ClickHouse. An answer may be empty, which says that there is none, and is
                kept for 2 s at most. One call may serve many who ask, and may come after this has
                returned, to refresh an answer or to check it.
            seconds: How long an answer holds at most.
            same: Tells whether two answers say the same; members such as times may differ.
            stale_seconds: How long after that it may be given while ClickHouse is away, although it
                may hold no more; 0: not at all.

        Raises whatever ``compute`` does; ``WarehouseAwayError`` only where an answer is not kept.
        """
        names = tuple(one.name for one in wanted)
        asked = _Asked(tuple(wanted), names, compute, seconds, same, stale_seconds)
        found: dict[int, Kept] = {}
        now = self._now()
        for number, (one, name) in enumerate(zip(wanted, names, strict=True)):
            if entry := _held(self._process.get(name), one, now):
                self._look_after(asked, number, entry)
                found[number] = _kept(entry, "process")
        if missing := [number for number in range(len(wanted)) if number not in found]:
            rest = asked if len(missing) == len(wanted) else asked.only(missing)
            fetched = await self._flights.join(rest.flight, lambda: self._fetch(rest))
            if not all(map(self._serves, fetched, rest.wanted)):
                fetched = await self._fetch(rest)
            found |= zip(missing, fetched, strict=True)
        for kept in found.values():
            metrics.ANSWERS.labels(kept.layer).inc()
        return [found[number] for number in range(len(wanted))]

    def generations_kept(self, wanted: Iterable[Wanted]) -> list[str]:
        """Return the generations of the answers that the process would give, or compute, now."""
        now = self._now()
        return [
            entry.generation
            if (entry := _held(self._process.get(one.name), one, now))
            else one.generation
            for one in wanted
        ]

    def is_kept(self, wanted: Wanted) -> bool:
        """Tell whether the process has an answer that holds."""
        return _held(self._process.get(wanted.name), wanted, self._now()) is not None

    def derive(self, wanted: Wanted, value: bytes, source: Kept) -> None:
        """Have the process keep an answer that was made of another, for as long as that holds."""
        as_of = source.computed_at.timestamp() - ROUNDED_SECONDS
        entry = Entry(value, source.generation, as_of, source.expires, 0.0)
        self._process.put(wanted.name, entry, self._generations.now())

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

    def _now(self) -> float | None:
        """Return the moment to judge answers by; ``None`` while none is known to hold."""
        return self._generations.now() if self._generations.is_current else None

    def _serves(self, kept: Kept, wanted: Wanted) -> bool:
        """Tell whether what was fetched for all is for who came when it was being computed."""
        return (
            not wanted.max_age
            or kept.layer == "stale"
            or kept.generation == wanted.generation
            or kept.computed_at.timestamp() >= wanted.since(self._generations.now())
        )

    async def _fetch(self, asked: _Asked) -> list[Kept]:
        """Return answers from Redis, or compute them unless another process does."""
        found = self._taken(asked, await self._shared.get(asked.names))
        looks = 0
        while True:
            missing = [number for number in range(len(asked.names)) if number not in found]
            if not missing:
                return [found[number] for number in range(len(asked.names))]
            rest = asked.only(missing)
            token, entries = await self._shared.claim(asked.lease, rest.names)
            taken = self._taken(rest, entries)
            found |= {missing[number]: kept for number, kept in taken.items()}
            if token is not None:
                break
            await asyncio.sleep(PAUSES[min(looks, len(PAUSES) - 1)])
            looks += 1
        if len(taken) == len(missing):
            await self._shared.release(asked.lease, token)
        else:
            absent = [number for number in range(len(missing)) if number not in taken]
            computed = await self._computed(
                rest.only(absent), asked.lease, token, [entries[number] for number in absent]
            )
            found |= zip((missing[number] for number in absent), computed, strict=True)
        return [found[number] for number in range(len(asked.names))]

    def _taken(self, asked: _Asked, entries: Sequence[Entry | None]) -> dict[int, Kept]:
        """Return which answers from Redis hold, and have the process keep them."""
        taken, now = {}, self._now()
        for number, entry in enumerate(entries):
            if now is not None and (entry := _held(entry, asked.wanted[number], now)):
                self._process.put(asked.names[number], entry, now)
                self._look_after(asked, number, entry)
                taken[number] = _kept(entry, "redis")
        return taken

    async def _computed(
        self, asked: _Asked, lease: str, token: str, shared: Sequence[Entry | None]
    ) -> list[Kept]:
        """Return answers computed, or while ClickHouse is away the last ones that are kept."""
        try:
            return [_kept(entry, "computed") for entry in await self._compute(asked, lease, token)]
        except WarehouseAwayError:
            oldest = self._generations.now() - asked.stale_seconds
            last = [
                self._process.get(name) or entry
                for name, entry in zip(asked.names, shared, strict=True)
            ]
            kept = [
                _kept(entry, "stale")
                for entry in last
                if entry is not None and asked.stale_seconds and entry.expires >= oldest
            ]
            if len(kept) < len(last):
                raise
            return kept

    async def _compute(self, asked: _Asked, lease: str, token: str) -> list[Entry]:
        """Compute answers under a lease, and keep them."""
        as_of, began = self._generations.now(), time.monotonic()
        renewal = asyncio.create_task(self._renew(lease, token)) if token else None
        self._computing.update(asked.names)
        try:
            values = await asked.compute(range(len(asked.names)))
        except BaseException:
            await asyncio.shield(self._shared.release(lease, token))
            raise
        finally:
            forgotten = {name for name in asked.names if self._is_forgotten(name)}
            if renewal:
                renewal.cancel()
        cost = time.monotonic() - began
        entries = []
        for wanted, value in zip(asked.wanted, values, strict=True):
            lives = asked.seconds if value else min(asked.seconds, NONE_SECONDS)
            entries.append(Entry(value, str(wanted.generation), as_of, as_of + lives, cost))
        now = self._generations.now()
        keep = {
            name: entry
            for name, entry in zip(asked.names, entries, strict=True)
            if as_of and name not in forgotten
        }
        for name, entry in keep.items():
            self._process.put(name, entry, now)
        await self._shared.put(keep, lease, token, now, asked.stale_seconds)
        return entries

    def _is_forgotten(self, name: str) -> bool:
        """Note that a computation is over; tell whether its answer was forgotten meanwhile."""
        is_forgotten = name in self._forgotten
        self._computing[name] -= 1
        if not self._computing[name]:
            del self._computing[name]
            self._forgotten.discard(name)
        return is_forgotten

    async def _renew(self, lease: str, token: str) -> None:
        while True:
            await asyncio.sleep(LEASE_MILLISECONDS / 3000)
            await self._shared.renew(lease, token)

    def _look_after(self, asked: _Asked, number: int, entry: Entry) -> None:
        """Have an answer that was kept refreshed before it expires, or checked, now and then."""
        wanted = asked.wanted[number]
        if entry.is_due(self._generations.now()):
            self._later(self._refresh(asked.only([number])))
        elif (
            isinstance(wanted.generation, Generation)
            and _is_exact(entry, wanted.generation)
            and self._shadow.is_chosen(wanted.generation)
        ):
            self._later(self._check(asked.only([number]), wanted.generation, entry.value))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _refresh(self, asked: _Asked) -> None:
        """Compute an answer before it expires, unless another process does or did."""
        (name,) = asked.names
        token, (entry,) = await self._shared.claim(asked.lease, asked.names)
        held = self._process.get(name)
        if token is None:
            return
        if entry and held and entry.as_of > held.as_of:
            await self._shared.release(asked.lease, token)
            self._process.put(name, entry, self._generations.now())
            return
        try:
            await self._compute(asked, asked.lease, token)
        except (WarehouseAwayError, StatementError, ProblemError) as error:
            log.info("An answer could not be refreshed: %s", error)

    async def _check(self, asked: _Asked, generation: Generation, value: bytes) -> None:
        async def compute() -> bytes:
            return (await asked.compute([0]))[0]

        (wanted,) = asked.wanted
        if await self._shadow.differs(wanted.key, value, generation, compute, asked.same):
            await self.forget([wanted.key])


def _held(entry: Entry | None, wanted: Wanted, now: float | None) -> Entry | None:
    """Return an answer if it is known to hold at a moment."""
    if entry is None or now is None:
        return None
    return entry if entry.holds(wanted.generation, wanted.since(now), now) else None


def _kept(entry: Entry, layer: Layer) -> Kept:
    computed_at = datetime.fromtimestamp(entry.as_of, UTC)
    return Kept(entry.value, layer, computed_at, entry.generation, entry.expires)


def _is_exact(entry: Entry, generation: Generation) -> bool:
    """Tell whether an answer is of the rows that there are now, none of which it lacks."""
    return entry.generation == generation or entry.as_of >= generation.since
