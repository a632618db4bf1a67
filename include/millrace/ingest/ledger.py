"""The ledger in PostgreSQL: who owns a partition, which ranges were claimed, which are loaded."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.rows import DictRow

from millrace.contract.sources import Source
from millrace.ingest.model import (
    Batch,
    Counts,
    LeaseLostError,
    PlanOutdatedError,
    Range,
    SupersededError,
)
from millrace.settings import Settings
from millrace.stores import postgres, sql

log = logging.getLogger(__name__)

WORKER = re.compile(r".+/[0-9]+/[0-9]+")


@dataclass(frozen=True)
class Position:
    """Where a partition stands, and the epoch that fences its owners."""

    partition: int
    epoch: int
    next_offset: int
    topic_id: str
    incarnation: int


def left_open(connection: Connection[DictRow]) -> set[str]:
    """Return the ids of the sources of which micro-batches are open, whether active or not."""
    return {row["source_id"] for row in connection.execute(_statement("sources_left_open"))}


def plan_time(connection: Connection[DictRow]) -> datetime:
    """Return the moment of a plan that is made now: later than that of every plan before."""
    row = connection.execute(_statement("plan_time")).fetchone()
    if row is None or not isinstance(row["planned_at"], datetime):
        raise TypeError("the ledger gave no time")
    return row["planned_at"]


def is_worker(owner: str) -> bool:
    """Tell whether an owner is a worker (``run/task/try``), rather than a plan or a restore."""
    return WORKER.fullmatch(owner) is not None


class Ledger:
    """One source's ledger as one owner sees it, over a connection of its own.

    ``owner`` is ``run/task/try``. Every change carries it and the partitions' epochs, so that what
    an owner that lost its lease still sends has no effect.
    """

    def __init__(self, settings: Settings, source: Source, owner: str) -> None:
        self.settings = settings
        self.source = source
        self.owner = owner
        self._connection: Connection[DictRow] | None = None
        self._gates: dict[int, str] = {}

    @property
    def connection(self) -> Connection[DictRow]:
        """The connection; opened again when it broke."""
        if self._connection is None or self._connection.closed or self._connection.broken:
            self._connection = postgres.connect(self.settings)
        return self._connection

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, name: str, **values: Any) -> list[DictRow]:
        """Run ``ingest/<name>.sql`` with the source and owner bound; return its rows."""
        bound: Mapping[str, Any] = {
            "source_id": self.source.source_id,
            "topic": self.source.topic,
            "owner": self.owner,
            "lease": self.settings.ingest_lease_seconds,
            **values,
        }
        cursor = self.connection.execute(_statement(name), bound)
        return cursor.fetchall() if cursor.description else []

    def acquire(
        self, partitions: Sequence[int], predecessors: Sequence[str], planned_at: datetime
    ) -> tuple[dict[int, Position], datetime] | None:
        """Take all of ``partitions``, or none of them and return ``None``.

        Free are those that no plan later than ``planned_at`` took and that were handed over, whose
        lease is over, or whose owner's name starts with one of ``predecessors``. Returns their
        positions and the end of the lease.
        """
        with self.connection.transaction() as transaction:
            rows = self.run(
                "acquire",
                partitions=list(partitions),
                predecessors=list(predecessors),
                planned_at=planned_at,
            )
            if len(rows) == len(partitions):
                positions = {r["partition"]: position_of(r) for r in rows}
                return positions, min(r["lease_until"] for r in rows)
            # All or nothing: a micro-batch may span them.
            raise_rollback(transaction)
        return None

    def request_handover(self, partitions: Sequence[int], planned_at: datetime) -> None:
        """Ask the workers of earlier plans that hold ``partitions`` to hand them over.

        Raises ``SupersededError`` when a later plan's workers have them or wait for them,
        ``PlanOutdatedError`` when a later plan took them and nobody has them now.
        """
        row = self.run("request_handover", partitions=list(partitions), planned_at=planned_at)[0]
        if row["is_superseded"]:
            raise SupersededError(f"a run that was planned after {planned_at} took over")
        if row["is_outdated"]:
            raise PlanOutdatedError(f"the partitions were taken after {planned_at}, and let go")

    def renew(self, held: int) -> tuple[datetime, bool, bool]:
        """Prolong the lease on the ``held`` partitions.

        Returns the lease's end, whether a later plan's worker waits for any of them, and whether a
        worker of the same plan let go of its own without being asked to.
        Raises ``LeaseLostError`` when any of them has another owner.
        """
        row = self.run("renew")[0]
        if row["held"] != held:
            raise LeaseLostError(f"{self.owner} lost {held - row['held']} of {held} partitions")
        return row["lease_until"], row["is_wanted"], row["is_deserted"]

    def release(self) -> None:
        """Hand the partitions over: whoever comes next need not wait for the lease to end."""
        self.run("release")

    def positions(self) -> list[DictRow]:
        """Return every partition's row of the source."""
        return self.run("positions")

    def open_batches(self) -> list[Batch]:
        """Return the micro-batches that were claimed and not completed, oldest first."""
        return self._batches("open_batches")

    def batches(self, batch_ids: Sequence[int]) -> list[Batch]:
        """Return micro-batches by their numbers."""
        return self._batches("batches", batch_ids=list(batch_ids))

    def _batches(self, name: str, **values: Any) -> list[Batch]:
        return [
            Batch(
                batch_id=r["batch_id"],
                gate_id=r["gate_id"],
                generation=r["generation"],
                attempts=r["attempts"],
                claimed_at=r["claimed_at"],
                incarnation=r["topic_incarnation"],
                ranges=tuple(map(Range, r["partitions"], r["firsts"], r["nexts"])),
                views=r["views"],
            )
            for r in self.run(name, **values)
        ]

    def claim(
        self,
        ranges: Sequence[Range],
        positions: Mapping[int, Position],
        reached: Mapping[int, datetime | None],
        views: str = "",
    ) -> Batch:
        """Claim ``ranges`` as one micro-batch, in one transaction; note the ``views`` last seen.

        Raises ``LeaseLostError`` when a range no longer starts where its partition stands.
        """
        columns = {
            "partitions": [r.partition for r in ranges],
            "firsts": [r.first_offset for r in ranges],
            "nexts": [r.next_offset for r in ranges],
        }
        epochs = [positions[r.partition].epoch for r in ranges]
        incarnation = positions[ranges[0].partition].incarnation
        with self.connection.transaction():
            moved = self.run(
                "advance",
                **columns,
                epochs=epochs,
                reached=[reached.get(r.partition) for r in ranges],
            )
            if len(moved) != len(ranges):
                raise LeaseLostError(f"{self.owner} no longer owns what it tried to claim")
            rows = self.run("claim", **columns, incarnation=incarnation, generation=0, views=views)
            if not rows:
                raise LookupError(no_gate(self.source))
        return Batch(
            batch_id=rows[0]["batch_id"],
            gate_id=rows[0]["gate_id"],
            generation=0,
            attempts=1,
            claimed_at=rows[0]["claimed_at"],
            incarnation=incarnation,
            ranges=tuple(ranges),
            views=views,
        )

    def note_views(self, batch: Batch, views: str) -> Batch:
        """Note which views the batch's inserts will meet, before the first of them.

        Raises ``LeaseLostError`` when another worker took it first.
        """
        if not self.run(
            "note_views", batch_id=batch.batch_id, attempts=batch.attempts, views=views
        ):
            raise LeaseLostError(f"another worker took micro-batch {batch.batch_id}")
        return replace(batch, views=views)

    def retry(self, batch: Batch, *, generation: int | None = None) -> Batch:
        """Take an open micro-batch to load it once more; another ``generation`` is new tokens.

        Raises ``LeaseLostError`` when another worker took it first.
        """
        rows = self.run(
            "retry_batch",
            batch_id=batch.batch_id,
            attempts=batch.attempts,
            generation=batch.generation if generation is None else generation,
        )
        if not rows:
            raise LeaseLostError(f"another worker took micro-batch {batch.batch_id}")
        return replace(batch, **rows[0])

    def complete(self, batch: Batch, counts: Counts, byte_count: int) -> None:
        """Record that a micro-batch is loaded.

        Raises ``LeaseLostError`` when it has meanwhile another owner.
        """
        rows = self.run(
            "complete",
            batch_id=batch.batch_id,
            attempts=batch.attempts,
            generation=batch.generation,
            message_count=counts.messages,
            event_count=counts.events,
            rejected_count=counts.rejected,
            byte_count=byte_count,
        )
        if not rows:
            raise LeaseLostError(f"another worker took micro-batch {batch.batch_id}")

    def has_gate(self) -> bool:
        """Tell whether the source's rules are compiled, so that its messages can be judged."""
        row = self.connection.execute(
            "SELECT FROM current_gates WHERE source_id = %s", [self.source.source_id]
        ).fetchone()
        return row is not None

    def gate(self, gate_id: int) -> str:
        """Return the statement of a gate."""
        if gate_id not in self._gates:
            row = self.connection.execute(
                "SELECT statement FROM gates WHERE gate_id = %s", [gate_id]
            ).fetchone()
            if row is None:
                raise LookupError(f"gate {gate_id} is gone from the table gates; restore it")
            self._gates[gate_id] = row["statement"]
        return self._gates[gate_id]

    def incident(self, kind: str, span: Range, incarnation: int, detail: str) -> None:
        """Record what a person must know of."""
        self.run(
            "incident",
            kind=kind,
            partition=span.partition,
            first_offset=span.first_offset,
            next_offset=span.next_offset,
            incarnation=incarnation,
            detail=detail,
        )

    def lose(self, position: Position, next_offset: int, detail: str) -> None:
        """Go on at ``next_offset``, and record exactly which offsets were lost on the way.

        Raises ``LeaseLostError`` when the partition belongs to another worker.
        """
        lost = Range(position.partition, position.next_offset, next_offset)
        with self.connection.transaction():
            if not self.skip(lost, incarnation=position.incarnation, topic_id=position.topic_id):
                raise LeaseLostError(f"partition {lost.partition} belongs to another worker")
            self.incident("data_loss", lost, position.incarnation, detail)
        log.error(
            "DATA LOSS: %s partition %d, offsets %d to %d: %s",
            self.source.topic,
            lost.partition,
            lost.first_offset,
            lost.next_offset - 1,
            detail,
        )

    def skip(self, span: Range, *, incarnation: int, topic_id: str) -> bool:
        """Move a position from ``span.first_offset`` to ``span.next_offset`` without claiming."""
        return bool(
            self.run(
                "skip",
                partition=span.partition,
                first_offset=span.first_offset,
                next_offset=span.next_offset,
                incarnation=incarnation,
                topic_id=topic_id,
            )
        )


def no_gate(source: Source) -> str:
    """Return what to tell when a source has no compiled gate."""
    return (
        f"source {source.source_id!r} has no gate in current_gates, so its messages can't be "
        "judged; compile the rules (./millrace rules compile)"
    )


def raise_rollback(transaction: Any) -> None:
    """Leave a psycopg transaction block and undo what it did."""
    from psycopg import Rollback

    raise Rollback(transaction)


def _statement(name: str) -> LiteralString:
    # Files of this repository are as trusted as its code.
    return sql.render(f"postgres/ingest/{name}.sql")


def position_of(row: DictRow) -> Position:
    """Return the position that a row of ``ingest_positions`` tells."""
    return Position(
        partition=row["partition"],
        epoch=row["epoch"],
        next_offset=row["next_offset"],
        topic_id=row["topic_id"],
        incarnation=row["topic_incarnation"],
    )
