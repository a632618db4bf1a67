"""Traffic that is made before the clock starts, so that to send it costs the machine little.

A connection's requests are sent one after another, and all events of a user go through the same
one: what was acknowledged is a beginning of each connection's list, in every user's order.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import orjson

from bench.ingestion_api import answered
from millrace.lab.simulate import faults
from millrace.lab.simulate.acknowledged import Acknowledged
from millrace.lab.simulate.traffic import Traffic
from millrace.settings import Settings

BATCH = 100
CHUNK = 20_000
CONNECTIONS = 16
SEED = 11


@dataclass
class Flood:
    """Bodies by connection, and how many of each connection's were acknowledged."""

    made_at: datetime
    bodies: list[list[bytes]] = field(default_factory=lambda: [[] for _ in range(CONNECTIONS)])
    acknowledged: list[int] = field(default_factory=lambda: [0] * CONNECTIONS)

    async def send(self, url: str, key: str, seconds: float) -> None:
        """Send as fast as requests are taken until the time, or the traffic, is over."""
        until = time.monotonic() + seconds
        await asyncio.gather(
            *(self._send(url, key, number, until) for number in range(len(self.bodies)))
        )

    async def _send(self, url: str, key: str, number: int, until: float) -> None:
        place = urlsplit(url)
        head = (
            f"POST /v1/events HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {key}\r\ncontent-length: "
        ).encode()
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        for body in self.bodies[number]:
            if time.monotonic() > until:
                break
            writer.write(b"%s%d\r\n\r\n%s" % (head, len(body), body))
            await answered(reader)
            self.acknowledged[number] += 1
        writer.close()

    @property
    def events(self) -> int:
        """How many events were acknowledged."""
        return BATCH * sum(self.acknowledged)

    def manifest(self, settings: Settings, url: str) -> Acknowledged:
        """Return what was acknowledged, to be looked for."""
        users: dict[str, list[str]] = {}
        for bodies, count in zip(self.bodies, self.acknowledged, strict=True):
            for body in bodies[:count]:
                for event in orjson.loads(body):
                    users.setdefault(str(event["user_id"]), []).append(event["event_id"])
        return Acknowledged(
            run_id="flood",
            seed=SEED,
            topic=settings.events_topic,
            url=url,
            started_at=self.made_at.isoformat(),
            sent=self.events,
            users=users,
        )


def prepare(settings: Settings, events: int) -> Flood:
    """Make so many events, of the last ten minutes, in batches for each connection."""
    now = datetime.now(UTC)
    traffic = Traffic(
        SEED,
        now.isoformat(),
        faults.rates({}),
        message_max_bytes=settings.message_max_bytes,
        retention_days=settings.events_retention_days,
    )
    last, flood = int(now.timestamp() * 1000), Flood(now)
    waiting: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
    for made in range(0, events, CHUNK):
        chunk = traffic.chunk(last - 600_000, last, min(CHUNK, events - made), sent_at=now)
        for value in chunk.accepted():
            number = zlib.crc32(orjson.dumps(orjson.loads(value)["user_id"])) % CONNECTIONS
            waiting[number].append(value)
            if len(waiting[number]) == BATCH:
                flood.bodies[number].append(b"[%s]" % b",".join(waiting[number]))
                waiting[number].clear()
    return flood
