"""Simulated traffic to the ingestion API, sent again until it is acknowledged."""

from __future__ import annotations

import queue
import threading
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime

import orjson

from millrace.lab.simulate.acknowledged import Acknowledged
from millrace.lab.simulate.faults import iso
from millrace.lab.simulate.send import Plan, interrupts, schedule
from millrace.lab.simulate.traffic import Traffic
from millrace.lab.simulate.ways import Http, RefusedError, Way
from millrace.settings import Settings

CONNECTIONS = 4
BATCH = 100
AGAIN_SECONDS = 0.2
GIVE_UP_SECONDS = 300.0
"""How long after the end of a run what is not acknowledged is still sent."""
WAITING_BATCHES = 200


class Connection(threading.Thread):
    """Sends batches one after the other, each until it is acknowledged.

    All events of a user go through the same connection, so their order is that of ``users``.
    """

    def __init__(self, way: Way) -> None:
        super().__init__(name="api", daemon=True)
        self._way = way
        self._batches: queue.Queue[list[bytes] | None] = queue.Queue(WAITING_BATCHES)
        self._gathered: list[bytes] = []
        self.given_up = threading.Event()
        self.users: dict[str, list[str]] = {}
        self.sent = self.bytes_sent = self.repeated = self.unconfirmed = 0
        self.refused = ""

    def add(self, value: bytes) -> None:
        """Take an event for a batch; waits while many batches wait."""
        self._gathered.append(value)
        if len(self._gathered) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand over what was gathered."""
        if self._gathered:
            self._batches.put(self._gathered)
            self._gathered = []

    def end(self) -> None:
        """Let it end when everything is acknowledged, or given up."""
        self.flush()
        self._batches.put(None)

    def run(self) -> None:
        """Send until told to end."""
        while (batch := self._batches.get()) is not None:
            if not self.refused and self._send(batch):
                self._note(batch)
            else:
                self.unconfirmed += len(batch)
        self._way.close()

    def _send(self, batch: list[bytes]) -> bool:
        """Send a request until it is acknowledged; return whether it was."""
        while not self.given_up.is_set():
            try:
                if self._way.send(batch):
                    self.bytes_sent += sum(map(len, batch))
                    return True
            except RefusedError as error:
                self.refused = str(error)
                return False
            self.repeated += 1
            self.given_up.wait(AGAIN_SECONDS)
        return False

    def _note(self, batch: list[bytes]) -> None:
        self.sent += len(batch)
        for value in batch:
            event = orjson.loads(value)
            self.users.setdefault(str(event["user_id"]), []).append(event["event_id"])


def run(
    plan: Plan,
    settings: Settings,
    *,
    url: str,
    key: str,
    way: Callable[[str, str], Way] = Http,
    on_progress: Callable[[int], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Acknowledged:
    """Send the sound events of a plan to the API; return what it acknowledged.

    ``url`` is an address of the kind that ``way`` takes. An interrupt, or ``stop``, ends the
    sending; what was handed over is still sent until it is acknowledged, for five minutes, or until
    a second interrupt. Raises ``ValueError`` for an impossible plan and ``RefusedError`` when the
    API refuses a request for good.
    """
    plan.check(settings)
    began = datetime.now(UTC)
    traffic = Traffic(
        plan.seed,
        iso(plan.start or began),
        plan.rates,
        message_max_bytes=settings.message_max_bytes,
        retention_days=settings.events_retention_days,
    )
    connections = [Connection(way(url, key)) for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.start()
    first, handed_over = time.monotonic(), 0
    with interrupts() as seen:
        for chunk in schedule(plan, traffic, began):
            if seen or (stop and stop.is_set()) or any(one.refused for one in connections):
                break
            if plan.rate:
                time.sleep(max(0.0, first + handed_over / plan.rate - time.monotonic()))
            for value in chunk.accepted():
                user = zlib.crc32(orjson.dumps(orjson.loads(value)["user_id"]))
                connections[user % CONNECTIONS].add(value)
            if plan.rate:
                for connection in connections:
                    connection.flush()
            handed_over += len(chunk.values)
            on_progress(sum(one.sent for one in connections))
        for connection in connections:
            connection.end()
        until = time.monotonic() + GIVE_UP_SECONDS
        while any(one.is_alive() for one in connections):
            if len(seen) > 1 or time.monotonic() > until:
                for connection in connections:
                    connection.given_up.set()
            connections[0].join(0.1)
            time.sleep(0.05)
    if refused := next((one.refused for one in connections if one.refused), ""):
        raise RefusedError(refused)
    return Acknowledged(
        run_id=f"{began:%Y%m%dT%H%M%S}-{plan.seed}-api",
        seed=plan.seed,
        topic=settings.events_topic,
        url=url,
        started_at=iso(began),
        finished_at=iso(datetime.now(UTC)),
        sent=sum(one.sent for one in connections),
        bytes_sent=sum(one.bytes_sent for one in connections),
        repeated=sum(one.repeated for one in connections),
        unconfirmed=sum(one.unconfirmed for one in connections),
        users={user: ids for one in connections for user, ids in one.users.items()},
    )
