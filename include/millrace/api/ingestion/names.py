"""Names of events that SDKs of others bring along, and what a source does with unseen ones.

``data_sources.config["ingestion"]["unseen_names"]`` says it: ``take`` registers the name and takes
its events (the default: an SDK works unchanged); ``hold`` registers it as inactive, so that it is
listed, and its events are rejected and wait for somebody to activate it and replay them;
``refuse`` leaves it unknown. ``./millrace event-types list`` has such names with the owner
``unreviewed`` and a description that says where they came from.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque

import psycopg

from millrace.api.ingestion.account import Account
from millrace.api.ingestion.batches import Batch
from millrace.api.ingestion.standing import Gates
from millrace.contract.errors import RuleError
from millrace.rules import event_types
from millrace.settings import Settings
from millrace.stores import sql
from millrace.usecases import gates

MOST_A_MINUTE = 30
"""New names a minute: a sender that makes one up for each event registers no more."""

PATIENCE_SECONDS = 5.0
"""For all names of a request."""

MOST_SETTLED = 10_000
LONGEST_SETTLED = 1_000
TAKE, HOLD = "take", "hold"
"""What a source does with unseen names; anything else refuses them."""

log = logging.getLogger(__name__)


class Names:
    """Registers unseen names, one at a time, for one process."""

    def __init__(self, settings: Settings, standing: Gates) -> None:
        self._settings = settings
        self._gates = standing
        self._lock = asyncio.Lock()
        self._recent: deque[float] = deque(maxlen=MOST_A_MINUTE)
        self._settled: set[str] = set()

    async def meet(self, account: Account, batch: Batch) -> None:
        """See to the names of a batch before it is sent; what can't be registered is held."""
        standing = await self._gates.known(account.source_id)
        policy = account.settings.get("unseen_names", TAKE)
        if standing is None or policy not in (TAKE, HOLD):
            return
        known = standing.certificate.event_types
        unseen = {
            name
            for event in batch.events
            if not isinstance(event, bytes)
            and isinstance(name := event.get("event"), str)
            and name not in known
            and name not in self._settled
        }
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                for name in sorted(unseen):
                    await self._register(account.source_id, name, is_active=policy == TAKE)
        except TimeoutError:
            log.warning("%s: unseen event types can't be registered in time", account.source_id)

    async def _register(self, source_id: str, name: str, *, is_active: bool) -> None:
        async with self._lock:
            standing = self._gates.of(source_id)
            if standing is not None and name in standing.certificate.event_types:
                return
            now = time.monotonic()
            if len(self._recent) == MOST_A_MINUTE and now - self._recent[0] < 60:
                return
            self._recent.append(now)
            try:
                await asyncio.to_thread(self._work, source_id, name, is_active)
                if not is_active:
                    self._settle(name)
            except (RuleError, psycopg.DataError) as error:
                self._settle(name)
                log.warning("event type %r is not registered: %s", name[:80], error)
            except (psycopg.Error, OSError) as error:
                log.warning("event type %r can't be registered now: %s", name[:80], error)

    def _settle(self, name: str) -> None:
        """Remember that there is nothing more to do about a name."""
        if len(self._settled) < MOST_SETTLED and len(name) <= LONGEST_SETTLED:
            self._settled.add(name)

    def _work(self, source_id: str, name: str, is_active: bool) -> None:
        def register(connection: psycopg.Connection[dict[str, object]]) -> None:
            event_types.check_name(connection, name)
            connection.execute(
                sql.render("postgres/rules/register_unseen_event_type.sql"),
                {
                    "event_type": name,
                    "description": f"Met by the ingestion API, source {source_id}",
                    "is_active": is_active,
                },
            )

        gates.change(self._settings, register)
        self._gates.refresh()
