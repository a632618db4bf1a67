"""Events on their way to Kafka, or to the spool while Kafka is away: what is delivered is durable.

A request's records share one count and one callback, served by the event loop while something is
in flight: a future for each would cost more than everything else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from millrace.api.http import ProblemError
from millrace.api.ingestion import producing
from millrace.api.ingestion.drain import Drainer
from millrace.api.ingestion.group_commit import GroupCommit
from millrace.api.ingestion.spool import Record as Record
from millrace.api.ingestion.spool import Spool, SpoolError
from millrace.settings import Settings
from millrace.stores import kafka

LARGEST_EVENT = kafka.LARGEST_MESSAGE_BYTES - (64 << 10)
"""The longest event that Kafka takes, with room for its key and headers."""
POLL_SECONDS = 0.002
"""How often delivery reports are looked for while something is in flight."""
LARGEST_UNDER_WAY = 64 << 20
"""Bytes under way to Kafka or to the disk from one process; more wait."""
ROOM_SECONDS = 2.0
"""How long a request waits for others to be delivered, before it is refused."""
PURGE_SECONDS = 5.0
"""How long a producer may take to say what it has not sent."""
AGAIN_SECONDS = 0.5
"""How long after a new producer could not be made it is tried again."""
HAND_BACK_BYTES = 1 << 20
HAND_BACK_SECONDS = 0.25
"""When so little waits in the spool, a request waits so long for it to become empty."""
PROGRESS_SECONDS = 1.0
"""How recently Kafka must have taken something from the spool to be there."""
FULL = 0.95
"""The share of the spool's size that is as good as full."""
RETRY_SECONDS = 5

log = logging.getLogger(__name__)


def unavailable(detail: str) -> ProblemError:
    """Return the refusal of a request whose events can be kept nowhere."""
    return ProblemError(503, "unavailable", detail, retry_after=RETRY_SECONDS)


class _Request:
    """The records of a request that are in flight."""

    __slots__ = ("began", "done", "failed", "left", "records", "refused", "size")

    def __init__(self, records: Sequence[Record], size: int) -> None:
        self.records = records
        self.left = len(records)
        self.size = size
        self.began = time.monotonic()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failed: Counter[tuple[str, bytes, bytes]] = Counter()
        self.refused: KafkaError | None = None

    def undelivered(self) -> list[Record]:
        """Return what Kafka has not acknowledged and may still take, in order."""
        if self.left:  # the producer has not told all; what it has sent is sent twice
            return list(self.records)
        failed = self.failed
        missing = []
        for record in self.records:
            if failed[record[:3]]:
                failed[record[:3]] -= 1
                missing.append(record)
        return missing


class Delivery:
    """Delivers the records of one process's requests.

    An event that comes after another of the same user was acknowledged is stored behind it, in
    whichever processes: Kafka has the first, or the spool has, and then this one goes through the
    spool too. It belongs to the event loop that calls it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._requests: dict[_Request, None] = {}
        self._under_way = 0
        self._timer: asyncio.TimerHandle | None = None
        self._move: asyncio.Task[None] | None = None
        self._is_troubled = False
        self._producer: Producer
        self._spool: Spool
        self._group_commit: GroupCommit
        self._drainer: Drainer

    async def start(self) -> None:
        """Open the spool and make the producer; Kafka need not be there.

        Raises ``OSError`` or ``SpoolError`` when the spool can't be opened.
        """
        self._producer = producing.producer(self._settings)
        self._spool = Spool(self._settings)
        self._group_commit = GroupCommit(self._spool)
        self._drainer = Drainer(self._settings, self._spool)
        self._drainer.start()

    async def deliver(self, records: Sequence[Record]) -> None:
        """Return when every record is durable: every replica in sync has it, or the disk has.

        Raises ``ProblemError``: 503 when neither takes them, 413 when one is too large.
        """
        if not records:
            return
        sizes = [len(record[2]) for record in records]
        size = sum(sizes)
        if size > LARGEST_EVENT and max(sizes) > LARGEST_EVENT:
            raise _too_large(f"{LARGEST_EVENT:,} bytes are the most")
        if self._move or not self._spool.is_empty or self._under_way + size > LARGEST_UNDER_WAY:
            await self._wait_for_turn(size)
        self._under_way += size
        if self._spool.is_empty:
            await self._produce(_Request(records, size))
            return
        try:
            await asyncio.shield(self._keep(records, size))
        except SpoolError as error:
            raise unavailable(str(error)) from error

    def readiness(self) -> list[str]:
        """Say, a sentence each, what keeps events from being taken."""
        wrong = []
        share = self._spool.waiting_bytes / self._spool.limit
        if share > FULL:
            wrong.append(f"Kafka does not answer, and the spool is {share:.0%} full.")
        if self._group_commit.trouble and not self._spool.is_empty:
            wrong.append(self._group_commit.trouble)
        return wrong

    def warnings(self) -> list[str]:
        """Say, a sentence each, what somebody should look at although events are taken."""
        warnings = self._drainer.warnings()
        if not self._spool.is_empty and not self._is_draining():
            share = self._spool.waiting_bytes / self._spool.limit
            warnings.append(f"Kafka does not answer; the spool is {share:.0%} full.")
        return warnings

    async def close(self) -> None:
        """Wait until everything is durable."""
        while self._requests or self._move:
            await asyncio.sleep(POLL_SECONDS)
        await self._group_commit.close()
        await asyncio.to_thread(self._drainer.stop)
        self._spool.close()

    # Whose turn it is.

    async def _wait_for_turn(self, size: int) -> None:
        """Wait for what goes first; returns when the records can be produced or kept."""
        began = time.monotonic()
        while True:
            if self._move:
                await asyncio.wait([self._move])
            elif self._under_way and self._under_way + size > LARGEST_UNDER_WAY:
                if time.monotonic() - began > ROOM_SECONDS:
                    raise unavailable("Too many events wait to be kept; send this again later.")
                await asyncio.sleep(POLL_SECONDS)
            elif self._is_nearly_empty() and time.monotonic() - began < HAND_BACK_SECONDS:
                await asyncio.sleep(POLL_SECONDS)
            else:
                return

    def _is_nearly_empty(self) -> bool:
        """Tell whether the spool will soon be empty if nothing is added.

        Without a moment in which nothing is added it would never be, under load.
        """
        spool = self._spool
        return not spool.is_empty and (
            spool.waiting_bytes <= HAND_BACK_BYTES and self._is_draining()
        )

    def _is_draining(self) -> bool:
        return 0 <= time.monotonic() - self._spool.progressed_at < PROGRESS_SECONDS

    # To Kafka.

    async def _produce(self, request: _Request) -> None:
        self._requests[request] = None
        report = self._reporter(request)
        produce = self._producer.produce
        for topic, key, value, headers in request.records:
            try:
                # By position: of names, a call takes a third longer.
                produce(topic, value, key, -1, report, None, 0, headers)
            except (BufferError, KafkaException) as error:
                self._note(request, producing.cause(error), (topic, key, value))
                self._count(request)
        self._poll_soon()
        await request.done

    def _reporter(self, request: _Request) -> Callable[[KafkaError | None, Message], None]:
        """Return the callback of a request's records (called for each: it is kept short)."""

        def report(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                record = (message.topic(), message.key() or b"", message.value() or b"")
                self._note(request, error, record)
            request.left -= 1
            if not request.left:
                self._end(request)

        return report

    def _count(self, request: _Request) -> None:
        request.left -= 1
        if not request.left:
            self._end(request)

    def _note(self, request: _Request, error: KafkaError, record: tuple[str, bytes, bytes]) -> None:
        """Note that a record was not delivered."""
        if error.code() in producing.REFUSED:
            request.refused = error
        else:
            request.failed[record] += 1
            self._is_troubled = True

    def _end(self, request: _Request) -> None:
        """Answer a request that Kafka has, or refuses; one that failed is left to be moved."""
        if not request.failed:
            self._answer(request, None)

    def _answer(self, request: _Request, error: BaseException | None) -> None:
        del self._requests[request]
        self._under_way -= request.size
        if request.done.done():  # nobody waits any more
            return
        if request.refused is not None:
            error = _problem(request.refused)
        if error is None:
            request.done.set_result(None)
        else:
            request.done.set_exception(error)

    def _poll_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        self._timer = None
        if self._move:
            return
        self._producer.poll(0)
        oldest = next(iter(self._requests), None)
        if oldest is None:
            return
        age = time.monotonic() - oldest.began
        if self._is_troubled or age > self._settings.ingestion_kafka_seconds:
            self._move = asyncio.get_running_loop().create_task(self._move_to_spool())
        else:
            self._poll_soon()

    # To the disk.

    async def _keep(self, records: Sequence[Record], size: int) -> None:
        try:
            await self._group_commit.append(records)
        finally:
            self._under_way -= size

    async def _move_to_spool(self) -> None:
        """Put what is in flight into the spool, in order, and begin with a new producer.

        What Kafka has written without telling is sent again, and refused by the gate as
        ``duplicate_event_id``.
        """
        try:
            fresh = producing.producer(self._settings)
        except KafkaException as refusal:  # such as no thread to be had
            log.warning("no new producer, so what is in flight waits: %s", refusal)
            await asyncio.sleep(AGAIN_SECONDS)
            self._move = None
            self._poll_soon()
            return
        old, self._producer = self._producer, fresh
        old.purge()
        until = time.monotonic() + PURGE_SECONDS
        while any(request.left for request in self._requests) and time.monotonic() < until:
            old.poll(0)
            await asyncio.sleep(POLL_SECONDS)
        ended = [old]
        del old
        asyncio.get_running_loop().run_in_executor(None, ended.clear)  # it may take seconds
        kept = [
            (request, self._group_commit.append(request.undelivered()))
            for request in list(self._requests)
        ]
        for request, future in kept:
            error: BaseException | None = None
            try:
                await future
            except SpoolError as raised:
                error = unavailable(f"Kafka does not answer. {raised}")
            self._answer(request, error)
        self._is_troubled = False
        self._move = None


def _problem(error: KafkaError) -> ProblemError:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return _too_large(error.str())
    return unavailable(f"Kafka does not take the events: {error.str()}")


def _too_large(why: str) -> ProblemError:
    return ProblemError(413, "event_too_large", f"Kafka takes no event so large: {why}.")
