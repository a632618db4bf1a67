"""A worker: owns some partitions of a source and loads them, micro-batch after micro-batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import psycopg
import urllib3
from clickhouse_connect.driver.exceptions import ClickHouseError
from confluent_kafka import KafkaException

from millrace.contract.sources import Source
from millrace.ingest import recovery, topics, unreadable
from millrace.ingest.lease import Lease
from millrace.ingest.ledger import Ledger, Position
from millrace.ingest.loader import Loader
from millrace.ingest.model import (
    Batch,
    PlanOutdatedError,
    Range,
    RegisterLostError,
    RepeatIncompleteError,
    SessionLostError,
    StalledError,
    SupersededError,
)
from millrace.ingest.prefetch import Prefetcher
from millrace.ingest.progress import Progress, compact
from millrace.ingest.reader import OffsetGoneError, Reader, UnreadableError
from millrace.settings import Settings
from millrace.stores.errors import first_line

log = logging.getLogger(__name__)

PASSING_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    ClickHouseError,
    KafkaException,
    RegisterLostError,
    RepeatIncompleteError,
    SessionLostError,
    TimeoutError,
    urllib3.exceptions.HTTPError,
    OSError,
)
"""What a server that is down, full, slow or read-only raises. Waiting is the answer."""

LONGEST_PAUSE_SECONDS = 10.0
CHECK_TOPIC_SECONDS = 5.0
SHORTEST_RUN_SECONDS = 5.0
"""So long a run tries at least: the retry of one that ended in trouble must not pass by trying
nothing."""


@dataclass(frozen=True)
class Share:
    """What the plan gives one task: a source's partitions, and the task's number in the run.

    Of plans, the one made later (``planned_at``) has the partitions.
    """

    source: Source
    partitions: tuple[int, ...]
    task: int
    planned_at: datetime

    @property
    def label(self) -> str:
        """The share as people name it: ``events 0-2``."""
        return f"{self.source.source_id} {compact(self.partitions)}"

    def as_dict(self) -> dict[str, Any]:
        """Return the share as plain values, for Airflow to carry."""
        return {
            "name": self.label,
            "source": {**asdict(self.source), "config": dict(self.source.config)},
            "partitions": list(self.partitions),
            "task": self.task,
            "planned_at": self.planned_at.isoformat(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Share:
        """Return the share that ``as_dict`` made."""
        return cls(
            Source(**values["source"]),
            tuple(values["partitions"]),
            values["task"],
            datetime.fromisoformat(values["planned_at"]),
        )


class Worker:
    """Loads the partitions of a share until a later plan's worker wants them, or its time is up.

    It connects to everything first, and asks for the partitions then, so that whoever has them
    loads on meanwhile.

    ``run_id`` and ``attempt`` name its owner in the ledger: a later attempt of the same task, and
    any task of the same run's plan, may take its partitions over at once. ``on_step`` is called
    after each micro-batch, and where there is none to load, every moment.
    """

    def __init__(
        self,
        settings: Settings,
        share: Share,
        run_id: str,
        attempt: int = 1,
        on_step: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings = settings
        self.share = share
        self.source = share.source
        self.partitions = share.partitions
        task = f"{run_id}/{share.task}/"
        self.predecessors = [task, f"{run_id}/plan"]
        self.ledger = Ledger(settings, share.source, f"{task}{attempt}")
        self.progress = Progress(share.source.source_id, self.partitions)
        self.positions: dict[int, Position] = {}
        self.lease = Lease(settings, share.source, self.ledger.owner, len(self.partitions))
        self._identity = topics.Identity(settings, share.source.topic)
        self.loader = Loader(self.ledger, self.lease, self.progress)
        self.trouble: Exception | None = None  # what it waits for to pass
        self._on_step = on_step
        self._reader: Reader | None = None
        self._prefetcher: Prefetcher | None = None
        self._uncommitted: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._deadline = 0.0
        self._is_leaving = False
        self._topic_checked_at = 0.0
        self._unreachable: Exception | None = None

    def run(self, seconds: float) -> Progress:
        """Load for ``seconds`` at most, then hand over; return what was done.

        Raises ``LeaseLostError`` when another worker took the partitions, ``StalledError`` when
        the time ended while a server that it needs was down.
        """
        self._deadline = time.monotonic() + max(seconds, SHORTEST_RUN_SECONDS)
        try:
            self._load_until_over()
        except SupersededError as reason:
            self.progress.note = str(reason)
            log.info("ending: %s", reason)
        except PlanOutdatedError as reason:
            self.progress.note = str(reason)
            self.progress.is_outdated = True
            log.warning("ending the run early, to plan again: %s", reason)
        finally:
            self.lease.stop()
            self._close()
        self.progress.is_outdated |= self.lease.is_deserted
        self.progress.report()
        if self.trouble is not None:
            raise StalledError(f"the run ended in trouble: {self.trouble}") from self.trouble
        return self.progress

    def settle(self, seconds: float, *, is_deleted: bool) -> None:
        """Complete what is open, if nobody loads it; Kafka is not asked where it ``is_deleted``.

        Raises ``TimeoutError`` when Kafka does not deliver in so many ``seconds``.
        """
        self._deadline = time.monotonic() + seconds
        try:
            taken = self.ledger.acquire(self.partitions, self.predecessors, self.share.planned_at)
            if taken is None:
                return
            self.positions, lease_until = taken
            self.lease.start(lease_until)
            self.loader.ensure_register()
            for batch in self.ledger.open_batches():
                self._replay(batch, None if is_deleted else self.reader)
        finally:
            self.lease.stop()
            self._close()

    def stop(self) -> None:
        """End the run, once the micro-batch at hand is loaded."""
        self._deadline = 0.0

    def leave(self) -> None:
        """End the run early, as ``stop`` ends it; somebody has to plan for the partitions again."""
        self.progress.is_outdated = self._is_leaving = True

    def is_over(self) -> bool:
        """Tell whether the time is up, or a new plan waits for the partitions or is needed."""
        self.lease.check()
        is_awaited = self.lease.is_wanted or self.lease.is_deserted or self._is_leaving
        return is_awaited or time.monotonic() >= self._deadline

    def _load_until_over(self) -> None:
        pause = 0.1
        while not self.is_over():
            try:
                if not self.positions and not self._acquire():
                    time.sleep(0.05)  # a lease may end by time alone
                    continue
                self._resynchronise()
                self.trouble, pause = self._unreachable, 0.1
                while not self.is_over():
                    self._step()
                    self._on_step()
            except OffsetGoneError as gone:
                recovery.skip_lost(self.ledger, self.reader, self.positions[gone.partition])
            except UnreadableError as found:
                unreadable.skip(self.ledger, self.reader, self.positions[found.partition], found)
            except PASSING_ERRORS as error:
                self._wait_out(error, pause)
                pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
            else:
                return

    def _acquire(self) -> bool:
        if self._reader is None:
            self._connect()
        planned_at = self.share.planned_at
        taken = self.ledger.acquire(self.partitions, self.predecessors, planned_at)
        if taken is None:
            self.ledger.request_handover(self.partitions, planned_at)
            self.progress.waiting("the worker that holds the partitions to end, or its lease")
            return False
        self.positions, lease_until = taken
        self.lease.start(lease_until)
        return True

    def _connect(self) -> None:
        """Have Kafka fetch and a session opened already when the partitions are taken."""
        rows = [row for row in self.ledger.positions() if row["partition"] in self.partitions]
        if not rows:
            raise PlanOutdatedError("the ledger does not have the partitions: it was restored")
        self.loader.connect(rows[0]["topic_incarnation"])
        self.reader.seek({row["partition"]: row["next_offset"] for row in rows})

    def _wait_out(self, error: Exception, pause: float) -> None:
        """After a failure: let go of connections, wait, and take stock of the ledger again."""
        self.trouble = error
        log.warning("%s: %s; again in %.1f s", type(error).__name__, first_line(error), pause)
        self.loader.close()  # the next attempt begins with a session of its own
        if isinstance(error, RegisterLostError):
            self.loader.forget_register()
            return
        until = min(self._deadline, time.monotonic() + pause)
        self.lease.wait(until - time.monotonic())

    def _resynchronise(self) -> None:
        """Make the ledger, the warehouse and the reader agree, completing what was left open."""
        self.prefetcher.abandon()
        incarnation = next(iter(self.positions.values())).incarnation
        self.loader.use_incarnation(incarnation)
        self.positions = recovery.check_ledger(self.ledger, self.loader.warehouse, self.positions)
        self.loader.ensure_register()
        topic_id = next(iter(self.positions.values())).topic_id
        for batch in recovery.left_open(self.ledger, self.partitions, topic_id):
            self._replay(batch, self.reader)
        self.loader.use_incarnation(incarnation)
        self.reader.seek({p: position.next_offset for p, position in self.positions.items()})

    def _replay(self, batch: Batch, reader: Reader | None) -> None:
        """Load an open micro-batch again: the same ranges, gate, time and tokens."""
        log.info("replaying micro-batch %d (%d ranges)", batch.batch_id, len(batch.ranges))
        self.loader.use_incarnation(batch.incarnation)
        batch = self.ledger.retry(batch)
        messages = recovery.messages_of(
            batch, self.ledger, self.loader.warehouse, reader, self.positions, self.is_over
        )
        self.loader.repeat(batch, messages)

    def _step(self) -> None:
        """Gather one micro-batch and load it."""
        is_any = self.prefetcher.finish()
        self._commit_and_hear_ends()
        if not is_any:
            self.check_topic()
            self.trouble = self._unreachable  # a Kafka that is down looks like a quiet hour
            self.progress.tick(self._lag(), self.reader.trouble)
            return
        self._identity.demand(next(iter(self.positions.values())).topic_id)
        messages, reached_offsets, reached_at = self.reader.take()
        ranges = [
            Range(p, self.positions[p].next_offset, end)
            for p, end in sorted(reached_offsets.items())
            if end > self.positions[p].next_offset
        ]
        batch = self.ledger.claim(ranges, self.positions, reached_at, self.loader.views)
        self.positions = recovery.advanced(self.positions, ranges)
        self.prefetcher.begin()
        self.loader.load(batch, messages)
        self.trouble = self._unreachable = None
        self._uncommitted |= {r.partition: r.next_offset for r in ranges}
        self.progress.tick(self._lag(), "")
        self.check_topic()

    def _commit_and_hear_ends(self) -> None:
        """Commit what was loaded, and hear where partitions end.

        Only while nothing is gathered: a call beside ``consume`` may wait for ever.
        """
        self._ends = self.reader.ends()
        self._commit()

    def _commit(self) -> None:
        if self._uncommitted:
            self.reader.commit(self._uncommitted)
            self._uncommitted = {}

    def _lag(self) -> int:
        positions = self.positions
        return sum(max(0, end - positions[p].next_offset) for p, end in self._ends.items())

    def check_topic(self) -> None:
        """See, every few seconds, that the topic is still the one that was planned for."""
        if time.monotonic() - self._topic_checked_at < CHECK_TOPIC_SECONDS:
            return
        topic_id = next(iter(self.positions.values())).topic_id
        self._unreachable = recovery.check_topic(self.ledger, topic_id)
        self._topic_checked_at = time.monotonic()

    @property
    def reader(self) -> Reader:
        """The consumer; made when first asked for."""
        if self._reader is None:
            self._reader = Reader(self.settings, self.source)
        return self._reader

    @property
    def prefetcher(self) -> Prefetcher:
        """The thread that gathers; made when first asked for."""
        if self._prefetcher is None:
            self._prefetcher = Prefetcher(self.settings, self.reader)
        return self._prefetcher

    def _close(self) -> None:
        try:
            self.ledger.release()
            self.ledger.close()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            log.warning("could not hand the partitions over; their lease ends by itself: %s", error)
        self.loader.close()
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._commit()
        if self._reader is not None:
            self._reader.close()
