"""The live view: what this process received lately, and what the gate said of what was loaded.

What was received is kept by the batch, at no cost until somebody looks; what was loaded is asked of
the ledger while somebody does. Both are redacted (``millrace.ingest.judged``).
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
from clickhouse_connect.driver.exceptions import Error

from millrace.api.ingestion.batches import Rejection
from millrace.contract.sources import Source
from millrace.ingest.judged import Judged, entry
from millrace.settings import Settings
from millrace.stores import clickhouse, postgres

MOST = 1_000
"""Events of a source that are kept, the last ones."""
MOST_BYTES = 16 << 20
"""Of what is kept of a source, but for the last batch."""

EVERY_SECONDS = 0.5
LOOK_BACK_SECONDS = 3_600.0
MOST_WATCHERS = 20

_Received = tuple[int, int, Sequence[bytes], Sequence[Rejection]]
"""A batch: its number, when it was received, its events, and what is said of them."""


class Live:
    """What a process shows of the events of each source."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._received: dict[str, deque[_Received]] = {}
        self._count: dict[str, int] = {}
        self._size: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self.watchers = 0

    def note(
        self, source_id: str, received_at: int, values: Sequence[bytes], found: Sequence[Rejection]
    ) -> None:
        """Keep a batch (received at ms since 1970) until newer ones take its place."""
        kept = self._received.setdefault(source_id, deque())
        kept.append((next(self._numbers), received_at, values, found))
        count = self._count.get(source_id, 0) + len(values)
        size = self._size.get(source_id, 0) + sum(map(len, values))
        while len(kept) > 1 and (count - len(kept[0][2]) >= MOST or size > MOST_BYTES):
            _, _, gone, _ = kept.popleft()
            count -= len(gone)
            size -= sum(map(len, gone))
        self._count[source_id], self._size[source_id] = count, size

    def newest(self, source: Source) -> int:
        """Return the number of a source's last batch; 0 where there is none."""
        kept = self._received.get(source.source_id)
        return kept[-1][0] if kept else 0

    def received(self, source: Source, after: int = 0) -> list[dict[str, Any]]:
        """Return what was noted of a source after the batch of a number, the oldest first.

        Not by when it was received: what is durable sooner is noted sooner.
        """
        shown = []
        for number, received_at, values, found in list(self._received.get(source.source_id, ())):
            if number <= after:
                continue
            against = {one.index: one for one in found}
            for index, value in enumerate(values):
                one = against.get(index)
                row = {
                    "received_at": datetime.fromtimestamp(received_at / 1000, UTC),
                    "value": value,
                    **{
                        name: getattr(one, name) if one else ""
                        for name in ("reason", "field", "rule", "detail")
                    },
                }
                shown.append(entry(source, row) | {"stage": "api"})
        return shown[-MOST:]

    async def debug(self, source: Source) -> dict[str, Any]:
        """Return the last events of a source: as received here, and as loaded."""
        looks = self._looks(source, follow=False)
        try:
            loaded = [one async for batch in looks for one in batch]
        except (psycopg.Error, Error, OSError) as error:
            return {"received": self.received(source), "loaded": [], "problem": str(error)}
        return {"received": self.received(source), "loaded": loaded}

    async def events(self, source: Source) -> AsyncIterator[bytes]:
        """Yield server-sent events: first what there is, then what comes."""
        seen = 0
        self.watchers += 1
        try:
            async for loaded in self._looks(source, follow=True):
                here = self.received(source, seen)
                seen = self.newest(source)
                for one in [*here, *loaded]:
                    yield b"event: " + one["stage"].encode() + b"\ndata: "
                    yield msgspec.json.encode(one, enc_hook=str) + b"\n\n"
                if not here and not loaded:
                    yield b": still here\n\n"
        finally:
            self.watchers -= 1

    async def _looks(self, source: Source, *, follow: bool) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield what was loaded lately, then what is loaded, look by look."""
        with ExitStack() as stack:

            def open_both() -> Judged:
                connection = stack.enter_context(postgres.connect(self._settings))
                client = stack.enter_context(clickhouse.connect(self._settings, "ingestion"))
                return Judged(connection, client, [source], source.source_id)

            judged = await asyncio.to_thread(open_both)
            yield await asyncio.to_thread(judged.look, LOOK_BACK_SECONDS)
            while follow:
                await asyncio.sleep(EVERY_SECONDS)
                yield await asyncio.to_thread(judged.look)
