"""What happens to a batch, whichever way it came: names, verdicts, durability."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import repeat
from typing import Any

import msgspec

from millrace.access.keys import Key
from millrace.api.ingestion import metrics
from millrace.api.ingestion.batches import Batch, Outcome, renamed
from millrace.api.ingestion.certificate import Certificate
from millrace.api.ingestion.delivery import Delivery, Record, unavailable
from millrace.api.ingestion.keyring import KeyRing
from millrace.api.ingestion.limits import Limits
from millrace.api.ingestion.live import Live
from millrace.api.ingestion.names import Names
from millrace.api.ingestion.standing import Gates
from millrace.api.ingestion.verdict import Doubt, Verdicts
from millrace.settings import Settings

PROVENANCE = "millrace"
"""The header of a message that came by the API: key's id, request's id, time of receipt (ms)."""

_encode = msgspec.json.encode
_record: Callable[[tuple[str, bytes, bytes, list[tuple[str, bytes]]]], Record] = partial(
    tuple.__new__, Record
)


class Intake:
    """Takes batches for one process, from HTTP and gRPC alike."""

    def __init__(self, settings: Settings, workers: int = 1) -> None:
        self.ring = KeyRing(settings)
        self.limits = Limits(workers)
        self.delivery = Delivery(settings)
        self._gates = Gates(settings)
        self._verdicts = Verdicts(settings)
        self._names = Names(settings, self._gates)
        self.live = Live(settings)
        self._quotas = self.limits.background(settings)

    async def start(self) -> None:
        """Begin to know keys, gates and limits; no server need be there.

        Raises ``OSError`` or ``SpoolError`` when the spool can't be opened.
        """
        self.ring.start()
        self._gates.start()
        self._quotas.start()
        await self.delivery.start()

    async def close(self) -> None:
        """End when everything that was taken is durable."""
        await self.delivery.close()
        await self._verdicts.close()
        for background in (self.ring, self._gates):
            await asyncio.to_thread(background.close)
        await asyncio.to_thread(self._quotas.stop)

    def readiness(self) -> list[str]:
        """Say, a sentence each, why events can't be taken; nothing where they can."""
        wrong = self.delivery.readiness()
        if not self.ring.is_loaded:
            wrong.append("PostgreSQL has not told the keys yet.")
        return wrong

    async def take(self, key: Key, batch: Batch, request_id: str = "") -> Outcome:
        """Return what becomes of a batch, when all of it is durable.

        Raises ``ProblemError``: 429 beyond the key's limits, 503 where nothing can be kept.
        """
        count = len(batch.events)
        if not count:
            return Outcome(0)
        try:
            topic = self.ring.topic(key.source_id)
        except KeyError:
            raise unavailable(f"Source {key.source_id} is not known yet.") from None
        self.limits.check(key, count)
        try:
            if batch.names_are_foreign:
                await self._names.meet(self.ring.account(key), batch)
            outcome = await self._keep(key, topic, batch, request_id)
        except BaseException:
            self.limits.refund(key, count)
            raise
        metrics.events(key.source_id, "accepted").inc(outcome.accepted)
        if outcome.rejections:
            metrics.events(key.source_id, "rejected").inc(len(outcome.rejections))
        return outcome

    async def _keep(self, key: Key, topic: str, batch: Batch, request_id: str) -> Outcome:
        received_at = time.time_ns() // 1_000_000
        note = f"{key.key_id} {request_id} {received_at}".encode()
        headers = [(PROVENANCE, note)]
        events = renamed(batch.events, self.ring.sources[key.source_id].field_names)
        values = [one if isinstance(one, bytes) else _encode(one) for one in events]
        standing = await self._gates.known(key.source_id)
        if standing is None:
            records = [Record(topic, b"", value, headers) for value in values]
            await self.delivery.deliver(records)
            self.live.note(key.source_id, received_at, values, ())
            return Outcome(len(values))
        users, doubts = _sort(standing.certificate, events, values, received_at)
        records = list(
            map(_record, zip(repeat(topic), map(str.encode, users), values, repeat(headers)))
        )
        if not doubts:
            await self.delivery.deliver(records)
            self.live.note(key.source_id, received_at, values, ())
            return Outcome(len(values))
        found, _ = await asyncio.gather(
            self._verdicts.judge(standing.gate, doubts), self.delivery.deliver(records)
        )
        rejections = found or []
        self.live.note(key.source_id, received_at, values, rejections)
        return Outcome(len(values), rejections)


def _sort(
    certificate: Certificate,
    events: Sequence[bytes | Mapping[str, Any]],
    values: Sequence[bytes],
    received_at: int,
) -> tuple[list[str], list[Doubt]]:
    """Return each event's user, for its key, and the events that are not certain."""
    users = certificate.users(events, values, datetime.fromtimestamp(received_at / 1000, UTC))
    doubts = []
    if not all(users):
        for index, (user, value) in enumerate(zip(users, values, strict=True)):
            if not user:
                users[index] = certificate.user_of(value)
                doubts.append(Doubt(index, value, received_at))
    return users, doubts
