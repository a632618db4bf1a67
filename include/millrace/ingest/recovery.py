"""What to do when things are not as a worker left them: replay, skip what is lost, or give up.

docs/exactly-once.md lists the cases.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence

import pyarrow as pa
from confluent_kafka import KafkaException

from millrace.ingest import topics, unreadable
from millrace.ingest.ledger import Ledger, Position
from millrace.ingest.model import Batch, LeaseLostError, PlanOutdatedError, Range
from millrace.ingest.reader import OffsetGoneError, Reader, UnreadableError
from millrace.ingest.warehouse import Warehouse

log = logging.getLogger(__name__)


def check_ledger(
    ledger: Ledger, warehouse: Warehouse, known: Mapping[int, Position]
) -> dict[int, Position]:
    """Return the positions that the ledger has, after seeing that it is the ledger that we know.

    Raises ``LeaseLostError`` when a partition has another owner, ``PlanOutdatedError`` when the
    ledger went back (it was restored) or the warehouse is ahead of it.
    """
    rows = {row["partition"]: row for row in ledger.positions()}
    positions = {}
    for partition, before in known.items():
        row = rows.get(partition)
        if row is None or row["next_offset"] < before.next_offset:
            raise PlanOutdatedError(
                f"partition {partition}: the ledger is behind this worker, so it was restored"
            )
        if row["owner"] != ledger.owner or row["epoch"] != before.epoch:
            raise LeaseLostError(f"partition {partition} belongs to {row['owner']!r} now")
        positions[partition] = Position(
            partition, before.epoch, row["next_offset"], row["topic_id"], row["topic_incarnation"]
        )
    if warehouse.stored_beyond(positions.values()):
        raise PlanOutdatedError("raw_events holds offsets that the ledger has not claimed")
    return positions


def check_topic(ledger: Ledger, planned_id: str) -> Exception | None:
    """Raise ``PlanOutdatedError`` when the topic was recreated or has more partitions.

    Returns why Kafka could not be asked, or ``None``.
    """
    name = ledger.source.topic
    try:
        topic = topics.describe(ledger.settings, name, timeout=3)
    except KafkaException as error:
        log.warning("could not ask Kafka for the topic: %s", error)
        return RuntimeError(f"Kafka does not answer: {error}")
    if topic is None or topic.topic_id != planned_id:
        raise PlanOutdatedError(f"topic {name} was deleted or recreated")
    if len(topic.partitions) != len(ledger.positions()):
        raise PlanOutdatedError(f"topic {name} has another number of partitions")
    return None


def left_open(ledger: Ledger, partitions: Collection[int], planned_id: str) -> list[Batch]:
    """Return the open micro-batches that the worker of ``partitions`` is to complete.

    Partitions that the topic no longer has are nobody's: a batch of which some are left goes with
    those, one of which none is left with the lowest partition that there is. Raises
    ``PlanOutdatedError`` when a batch spans other workers' shares, or the topic was recreated since
    the plan: its offsets would be read from another topic.
    """
    batches = ledger.open_batches()
    if not batches:
        return []
    check_topic(ledger, planned_id)
    planned = {row["partition"] for row in ledger.positions()}
    own = []
    for batch in batches:
        concerned = batch.partitions & planned or {min(planned)}
        if concerned <= set(partitions):
            own.append(batch)
        elif concerned & set(partitions):
            raise PlanOutdatedError(f"micro-batch {batch.batch_id} spans other tasks' shares")
    return own


def skip_lost(ledger: Ledger, reader: Reader, position: Position) -> None:
    """Record exactly which offsets Kafka lost before they were loaded, and go on after them.

    Raises ``PlanOutdatedError`` when it is not retention that took them.
    """
    partition = position.partition
    low, high = reader.watermarks(partition)
    check_topic(ledger, position.topic_id)
    if position.next_offset > high:
        raise PlanOutdatedError(
            f"partition {partition} ends at {high}, before the position {position.next_offset}"
        )
    if low <= position.next_offset:
        return  # it is there after all
    ledger.lose(position, low, "Kafka's retention removed these offsets before they were loaded")


def messages_of(
    batch: Batch,
    ledger: Ledger,
    warehouse: Warehouse,
    reader: Reader | None,
    partitions: Collection[int],
    is_over: Callable[[], bool],
) -> pa.Table:
    """Return a batch's messages from Kafka, or from ``raw_events`` where Kafka lost them.

    Args:
        batch: An open micro-batch.
        ledger: Gets an incident for what is in neither.
        warehouse: A session of the batch's source.
        reader: Kafka's side; none where the topic was deleted.
        partitions: Those that the reader may read.
        is_over: Ends the wait for Kafka, with ``TimeoutError``.
    """
    replaced = ledger.run("replaced_logs", incarnation=batch.incarnation)
    gone = {row["partition"] for row in replaced}
    in_kafka = batch.partitions & set(partitions) - gone if reader is not None else frozenset()
    if reader is not None and in_kafka == batch.partitions:
        try:
            return reader.read(batch.ranges, is_over)
        except (OffsetGoneError, UnreadableError) as lost:
            log.warning("%s; taking what raw_events kept", lost)
    kept = warehouse.kept_messages(batch.ranges, batch.incarnation)
    parts = []
    for span in batch.ranges:
        of_span = kept.filter(pa.compute.equal(kept["partition"], span.partition))
        parts.append(of_span)
        if of_span.num_rows:
            continue  # a micro-batch is kept whole or not at all
        available = reader if span.partition in in_kafka else None
        rest = _left_in_kafka(batch, ledger, span, available)
        if available is not None and len(rest):
            parts += _readable(batch, ledger, rest, available, is_over)
    return pa.concat_tables(parts)


def _left_in_kafka(batch: Batch, ledger: Ledger, span: Range, reader: Reader | None) -> Range:
    """Return what Kafka still has of a range; what it has lost becomes an incident."""
    low = reader.watermarks(span.partition)[0] if reader is not None else span.next_offset
    end = min(max(low, span.first_offset), span.next_offset)
    lost = Range(span.partition, span.first_offset, end)
    if len(lost):
        ledger.incident(
            "data_loss",
            lost,
            batch.incarnation,
            f"micro-batch {batch.batch_id} was claimed, but Kafka lost it before it was kept"
            + ("" if reader is not None else ": the topic was deleted"),
        )
        log.error("DATA LOSS: %s %s", ledger.source.topic, lost)
    return Range(span.partition, end, span.next_offset)


def _readable(
    batch: Batch, ledger: Ledger, span: Range, reader: Reader, is_over: Callable[[], bool]
) -> list[pa.Table]:
    """Return what of a range can be decoded; what can't becomes an incident."""
    parts: list[pa.Table] = []
    while len(span):
        try:
            parts.append(reader.read([span], is_over))
            break
        except UnreadableError as found:
            first = max(span.first_offset, found.offset)
            end = unreadable.end_of(found, reader, first)
            if end is None:
                continue
            before = Range(span.partition, span.first_offset, first)
            lost = Range(span.partition, first, min(end, span.next_offset))
            ledger.incident(
                "data_loss",
                lost,
                batch.incarnation,
                f"micro-batch {batch.batch_id} was claimed, but {unreadable.describe(found)}",
            )
            log.error("DATA LOSS: %s %s", ledger.source.topic, lost)
            if len(before):
                parts.append(reader.read([before], is_over))
            span = Range(span.partition, lost.next_offset, span.next_offset)
    return parts


def advanced(positions: Mapping[int, Position], ranges: Sequence[Range]) -> dict[int, Position]:
    """Return positions after ``ranges`` were claimed."""
    moved = dict(positions)
    for r in ranges:
        before = positions[r.partition]
        moved[r.partition] = Position(
            r.partition, before.epoch, r.next_offset, before.topic_id, before.incarnation
        )
    return moved
