"""What a worker does when things are not as it left them: replay, skip what is lost, or give up.

docs/exactly-once.md lists the cases.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pyarrow as pa
from confluent_kafka import KafkaException

from millrace.ingest import topics
from millrace.ingest.ledger import Position
from millrace.ingest.model import (
    Batch,
    Counts,
    LeaseLostError,
    PlanOutdatedError,
    Range,
    RepeatIncompleteError,
)
from millrace.ingest.reader import OffsetGoneError

if TYPE_CHECKING:
    from millrace.ingest.worker import Worker

log = logging.getLogger(__name__)


def check_ledger(worker: Worker) -> None:
    """Take the positions from the ledger, after seeing that it is the ledger this worker knows.

    Raises ``LeaseLostError`` when a partition has another owner, ``PlanOutdatedError`` when the
    ledger went back (it was restored) or the warehouse is ahead of it.
    """
    rows = {row["partition"]: row for row in worker.ledger.positions()}
    for partition, known in worker.positions.items():
        row = rows.get(partition)
        if row is None or row["next_offset"] < known.next_offset:
            raise PlanOutdatedError(
                f"partition {partition}: the ledger is behind this worker, so it was restored"
            )
        if row["owner"] != worker.ledger.owner or row["epoch"] != known.epoch:
            raise LeaseLostError(f"partition {partition} belongs to {row['owner']!r} now")
        worker.positions[partition] = Position(
            partition, known.epoch, row["next_offset"], row["topic_id"], row["topic_incarnation"]
        )
    if worker.warehouse.ahead(worker.positions.values()):
        raise PlanOutdatedError("raw_events holds offsets that the ledger has not claimed")


def check_topic(worker: Worker) -> Exception | None:
    """Raise ``PlanOutdatedError`` when the topic was made anew or has more partitions.

    Returns why Kafka could not be asked, or ``None``.
    """
    try:
        topic = topics.describe(worker.settings, worker.source.topic, timeout=3)
    except KafkaException as error:
        log.warning("could not ask Kafka for the topic: %s", error)
        return RuntimeError(f"Kafka does not answer: {error}")
    planned = next(iter(worker.positions.values())).topic_id
    if topic is None or topic.topic_id != planned:
        raise PlanOutdatedError(f"topic {worker.source.topic} was deleted or made anew")
    if len(topic.partitions) != len(worker.ledger.positions()):
        raise PlanOutdatedError(f"topic {worker.source.topic} has another number of partitions")
    return None


def left_open(worker: Worker) -> list[Batch]:
    """Return the open micro-batches that are this worker's to complete.

    Partitions that the topic no longer has are nobody's: a batch of which some are left goes with
    those, one of which none is left with the lowest partition that there is. Raises
    ``PlanOutdatedError`` when a batch spans other workers' shares, or the topic was made anew since
    the plan: its offsets would be read from another topic.
    """
    batches = worker.ledger.open_batches()
    if not batches:
        return []
    check_topic(worker)
    planned = {row["partition"] for row in worker.ledger.positions()}
    mine = []
    for batch in batches:
        concerned = batch.partitions & planned or {min(planned)}
        if concerned <= set(worker.partitions):
            mine.append(batch)
        elif concerned & set(worker.partitions):
            raise PlanOutdatedError(f"micro-batch {batch.batch_id} spans other tasks' shares")
    return mine


def replay(worker: Worker, batch: Batch, *, is_deleted: bool = False) -> None:
    """Load an open micro-batch again: the same ranges, gate, time and tokens.

    Kafka is not asked for the messages where the topic ``is_deleted``.
    """
    log.info("replaying micro-batch %d (%d ranges)", batch.batch_id, len(batch.ranges))
    batch = worker.ledger.retry(batch)
    messages = _messages_of(worker, batch, is_deleted=is_deleted)
    try:
        worker.load(batch, messages)
    except RepeatIncompleteError as missing:
        log.warning("%s; writing it under new tokens", missing)
        worker.load(worker.ledger.retry(batch, rewrite=True), messages)


def prove(worker: Worker, batch: Batch, counts: Counts) -> Counts:
    """After a repeat, see that everything is where it should be.

    Returns the counts, less what has expired since. Raises ``RepeatIncompleteError`` when rows
    are missing that tokens should have let in: a swap of partitions took them meanwhile.
    """
    present = worker.warehouse.find_present(batch)
    if present["event"] >= counts.events and present["rejected"] >= counts.rejected:
        return counts
    expired = worker.warehouse.count_expired(batch)
    is_whole = present["event"] + expired >= counts.events
    if batch.generation == 0 and not (is_whole and present["rejected"] >= counts.rejected):
        raise RepeatIncompleteError(f"micro-batch {batch.batch_id}: found only {present}")
    log.warning("micro-batch %d: %s remain, %d have expired", batch.batch_id, present, expired)
    return Counts(counts.messages, present["event"], present["rejected"])


def go_on_behind(worker: Worker, partition: int) -> None:
    """Record exactly which offsets Kafka lost before they were loaded, and go on after them.

    Raises ``PlanOutdatedError`` when it is not retention that took them.
    """
    low, high = worker.reader.watermarks(partition)
    position = worker.positions[partition]
    check_topic(worker)
    if position.next_offset > high:
        raise PlanOutdatedError(
            f"partition {partition} ends at {high}, before the position {position.next_offset}"
        )
    lost = Range(partition, position.next_offset, low)
    if len(lost) <= 0:
        return
    with worker.ledger.connection.transaction():
        if not worker.ledger.skip(
            lost, incarnation=position.incarnation, topic_id=position.topic_id
        ):
            raise LeaseLostError(f"partition {partition} belongs to another worker")
        worker.ledger.incident(
            "data_loss",
            lost,
            position.incarnation,
            "Kafka's retention removed these offsets before they were loaded",
        )
    log.error(
        "DATA LOSS: %s partition %d, offsets %d to %d were removed by Kafka's retention",
        worker.source.topic,
        partition,
        lost.first_offset,
        lost.next_offset - 1,
    )


def _messages_of(worker: Worker, batch: Batch, *, is_deleted: bool) -> pa.Table:
    """Return a batch's messages from Kafka, or from ``raw_events`` where Kafka lost them."""
    replaced = worker.ledger.run("replaced_logs", incarnation=batch.incarnation)
    gone = {row["partition"] for row in replaced}
    in_kafka = set() if is_deleted else batch.partitions & worker.positions.keys() - gone
    if in_kafka == batch.partitions:
        try:
            return worker.reader.read(batch.ranges, worker.is_over)
        except OffsetGoneError as gone:
            log.warning("%s; taking what raw_events kept", gone)
    parts, kept = [], worker.warehouse.kept_messages(batch.ranges, batch.incarnation)
    for span in batch.ranges:
        mine = kept.filter(pa.compute.equal(kept["partition"], span.partition))
        parts.append(mine)
        if mine.num_rows:
            continue  # a micro-batch is kept whole or not at all
        is_there = span.partition in in_kafka
        low = worker.reader.watermarks(span.partition)[0] if is_there else span.next_offset
        lost = Range(
            span.partition, span.first_offset, min(max(low, span.first_offset), span.next_offset)
        )
        if len(lost):
            worker.ledger.incident(
                "data_loss",
                lost,
                batch.incarnation,
                f"micro-batch {batch.batch_id} was claimed, but Kafka lost it before it was kept"
                + ("" if is_there else ": the topic was deleted"),
            )
            log.error("DATA LOSS: %s %s", worker.source.topic, lost)
        rest = Range(span.partition, lost.next_offset, span.next_offset)
        if len(rest):
            parts.append(worker.reader.read([rest], worker.is_over))
    return pa.concat_tables(parts)
